"""Measures enhanced light fields: by view, by distance to the reference, and their consistency.

All means leave out the given views. Consistency has two measures: the PSNR of epipolar pictures
(column over x for fixed row and y, and row over y), and the difference of a view from its neighbour
warped onto it by the flow of the ground truth.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Set
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import cv2
import numpy as np
from numpy.typing import NDArray

from pipeline.errors import PairingError
from pipeline.lightfield.opening import open_light_field
from pipeline.lightfield.parallax import reduce_to_grey
from pipeline.lightfield.reader import ViewReader
from pipeline.lightfield.sidecar import read_given_views
from pipeline.pairing.given import list_given_moments, list_view_steps
from pipeline.pixels import match_deeper
from pipeline.schema.clip import Grid, LightField
from pipeline.schema.model import Model
from pipeline.schema.plan import Plan
from pipeline.schema.settings import GridSettings

# row and column -> grid steps to the reference, None for a given view
Places = Mapping[tuple[int, int], float | None]
NEIGHBOURS = 16  # pairs of neighbouring views for the warping error, spread over the grid
FLOW_TOLERANCE = 0.5  # pixels between the start and the end of the flow there and back


class ViewQuality(Model):
    """Means over the moments of one view: PSNR in dB, SSIM with data range 1."""

    row: int
    col: int
    steps: float | None
    """Distance to the reference in grid steps, or None if unknown."""
    psnr: float
    ssim: float
    psnr_y: float
    ssim_y: float


class DistanceQuality(Model):
    """Mean over the views at the same distance, rounded, from their reference."""

    steps: float
    views: int
    psnr: float


class LightFieldQuality(Model):
    """The fields of `evaluate --json` for light fields; means leave out the given views."""

    frames: int
    psnr: float
    ssim: float
    psnr_y: float
    ssim_y: float
    worst: ViewQuality
    given: tuple[tuple[int, int], ...]
    by_distance: tuple[DistanceQuality, ...]
    epi_psnr: float | None
    """Mean over horizontal and vertical epipolar pictures."""
    warp_error: float | None
    """Mean absolute difference (0..255) of neighbouring views warped onto each other."""
    warp_error_truth: float | None
    """The same difference for the ground truth, which flow and noise alone cause."""
    flicker: float | None
    """Largest change (0..255) of a channel's mean error between neighbouring views, given ones
    included: the flicker of a sweep through the views."""
    views: tuple[ViewQuality, ...]


@dataclass(frozen=True)
class _Pair:
    """A result and its ground truth, view by view."""

    result: LightField
    truth: LightField

    def grids(self) -> tuple[Grid, Grid]:
        return self.result.grid, self.truth.grid

    def check(self) -> None:
        """Raise PairingError if sizes differ, or if a view or frame has no partner."""
        result, truth = self.grids()
        if (self.result.width, self.result.height) != (self.truth.width, self.truth.height):
            raise PairingError(
                f"found a result of {self.result.width}x{self.result.height} and a ground truth "
                f"of {self.truth.width}x{self.truth.height}, expected the same size; "
                "pass the original of the input"
            )

        for view in result.views:
            there = truth.at(view.row, view.col)
            if there is None or truth.views[there].frames < view.frames:
                raise PairingError(
                    f"found no view ({view.row}, {view.col}) of {view.frames} frames in "
                    f"{self.truth.path}, expected all of {self.result.path}; "
                    "pass the original, cropped in the same way (--crop-grid)"
                )


def evaluate_light_field(
    views: LightField, ground_truth: str, plan: Plan | None, grid_settings: GridSettings
) -> LightFieldQuality:
    """Return the quality of a light field against the one at `ground_truth`.

    The plan, or else the sidecar, names the given views, which the means leave out.
    """
    truth = open_light_field(ground_truth, grid_settings)
    if truth is None:
        raise PairingError(
            f"found no light field in {ground_truth}, expected the one {views.path} was made from"
        )

    if plan is None:
        return evaluate_views(views, truth, read_given_views(Path(views.path)))
    return evaluate_views(views, truth, list_view_steps(plan), skipped=list_given_moments(plan))


def evaluate_views(
    result: LightField,
    truth: LightField,
    places: Places | None = None,
    *,
    skipped: Set[tuple[int, int, int]] = frozenset(),
    consistency: bool = True,
) -> LightFieldQuality:
    """Return the quality of the light field `result` against `truth`.

    `skipped` are row, column and moment of further frames that no mean includes.
    Raises PairingError if sizes differ, or if a view or frame has no partner.
    """
    pair = _Pair(result, truth)
    pair.check()
    places = places or {}

    given = tuple(place for place, steps in places.items() if steps is None)
    views = tuple(_measure_views(pair, places, frozenset(given), skipped))
    if not views:
        raise PairingError("found given views only, expected one to compare; leave --plan out")

    epi, warp, warp_truth = _measure_consistency(pair, given) if consistency else (None, None, None)

    return LightFieldQuality(
        frames=sum(
            (v.row, v.col, moment) not in skipped
            for v in pair.grids()[0].views
            if (v.row, v.col) not in given
            for moment in range(v.frames)
        ),
        psnr=_mean(views, "psnr"),
        ssim=_mean(views, "ssim"),
        psnr_y=_mean(views, "psnr_y"),
        ssim_y=_mean(views, "ssim_y"),
        worst=min(views, key=lambda view: view.psnr),
        given=given,
        by_distance=_group_by_distance(views),
        epi_psnr=epi,
        warp_error=warp,
        warp_error_truth=warp_truth,
        flicker=_measure_flicker(pair) if consistency else None,
        views=views,
    )


def _mean(views: tuple[ViewQuality, ...], name: str) -> float:
    return round(float(np.mean([getattr(view, name) for view in views])), 5)


def _measure_views(
    pair: _Pair,
    places: Places,
    given: frozenset[tuple[int, int]],
    skipped: Set[tuple[int, int, int]],
) -> Iterator[ViewQuality]:
    from crossnetpp.metrics import measure_quality  # imports torch

    grid, truth_grid = pair.grids()
    results = ViewReader(pair.result)
    truths = ViewReader(pair.truth)
    try:
        for position, view in enumerate(grid.views):
            if (view.row, view.col) in given:
                continue

            there = truth_grid.position(view.row, view.col)
            measured = [
                measure_quality(
                    *match_deeper(
                        results.get(grid.number(position, moment)),
                        truths.get(truth_grid.number(there, moment)),
                    )
                )
                for moment in range(view.frames)
                if (view.row, view.col, moment) not in skipped
            ]
            if not measured:
                continue

            psnr, ssim, psnr_y, ssim_y = np.mean(np.asarray(measured), axis=0)
            yield ViewQuality(
                row=view.row,
                col=view.col,
                steps=places.get((view.row, view.col)),
                psnr=round(float(psnr), 4),
                ssim=round(float(ssim), 5),
                psnr_y=round(float(psnr_y), 4),
                ssim_y=round(float(ssim_y), 5),
            )
    finally:
        results.close()
        truths.close()


def _group_by_distance(views: tuple[ViewQuality, ...]) -> tuple[DistanceQuality, ...]:
    near: dict[float, list[float]] = {}
    for view in views:
        if view.steps is not None:
            near.setdefault(float(round(view.steps)), []).append(view.psnr)

    return tuple(
        DistanceQuality(steps=steps, views=len(psnr), psnr=round(float(np.mean(psnr)), 3))
        for steps, psnr in sorted(near.items())
    )


def _measure_consistency(
    pair: _Pair, given: tuple[tuple[int, int], ...]
) -> tuple[float | None, float | None, float | None]:
    """Return the EPI PSNR, and the warping errors of result and truth, of the first moment."""
    grid, _ = pair.grids()
    epis: list[float] = []
    for along in ("row", "col"):
        for place in sorted({getattr(view, along) for view in grid.views}):
            line = [v for v in grid.views if getattr(v, along) == place]
            line = [v for v in line if (v.row, v.col) not in given]
            if len(line) > 1:
                epis += _measure_epi_psnr(
                    pair, [(v.row, v.col) for v in line], vertical=along == "col"
                )

    epi = round(float(np.mean(epis)), 4) if epis else None
    errors = [_measure_warp_errors(pair, a, b) for a, b in _choose_neighbours(grid)]
    if not errors:
        return epi, None, None

    result, truth = np.mean(np.asarray(errors), axis=0)
    return epi, round(float(result), 4), round(float(truth), 4)


def _read_views(
    pair: _Pair, places: list[tuple[int, int]]
) -> Iterator[tuple[NDArray[np.float32], NDArray[np.float32]]]:
    """Yield the views of result and truth at each place, H x W x 3, 0..255."""
    readers = ViewReader(pair.result), ViewReader(pair.truth)
    try:
        for row, col in places:
            found = []
            for grid, reader in zip(pair.grids(), readers, strict=True):
                position = grid.position(row, col)
                rgb = reader.get(grid.number(position, 0))
                found.append(rgb.astype(np.float32) * (255 / np.iinfo(rgb.dtype).max))
            yield found[0], found[1]
    finally:
        for reader in readers:
            reader.close()


def _measure_epi_psnr(pair: _Pair, places: list[tuple[int, int]], *, vertical: bool) -> list[float]:
    """Return the PSNR of each epipolar picture of a line of views, one for every y (or x)."""
    axis = 0 if vertical else 1
    total: Any = 0.0
    for result, truth in _read_views(pair, places):
        total = total + ((result - truth) ** 2).mean(axis=(axis, 2))

    error = np.maximum(np.asarray(total) / len(places), 1e-3)
    return [float(value) for value in 10 * np.log10(255**2 / error)]


def _measure_flicker(pair: _Pair) -> float | None:
    """Return the largest change of a channel's mean error between neighbours, 0..255."""
    grid, _ = pair.grids()
    places = [(view.row, view.col) for view in grid.views]
    means = {
        place: (result - truth).mean(axis=(0, 1))
        for place, (result, truth) in zip(places, _read_views(pair, places), strict=True)
    }

    steps = [
        float(np.abs(means[place] - means[beside]).max())
        for place in places
        for beside in ((place[0], place[1] + 1), (place[0] + 1, place[1]))
        if beside in means
    ]
    return round(max(steps), 4) if steps else None


def _choose_neighbours(grid: Grid) -> list[tuple[tuple[int, int], tuple[int, int]]]:
    """Return at most NEIGHBOURS pairs of adjacent views, spread over the grid."""
    pairs = []
    for view in grid.views:
        for row, col in ((view.row, view.col + 1), (view.row + 1, view.col)):
            if grid.at(row, col) is not None:
                pairs.append(((view.row, view.col), (row, col)))

    if not pairs:
        return []
    return [pairs[i] for i in np.unique(np.linspace(0, len(pairs) - 1, NEIGHBOURS).astype(int))]


def _measure_warp_errors(
    pair: _Pair, first: tuple[int, int], second: tuple[int, int]
) -> tuple[float, float]:
    """Return the warping errors of result and truth between two neighbours, 0..255.

    Both are warped by the flow of the truth.
    """
    (result_a, truth_a), (result_b, truth_b) = _read_views(pair, [first, second])
    planes = [reduce_to_grey(truth.astype(np.uint8), 1 << 16) for truth in (truth_a, truth_b)]

    opencv: Any = cv2
    dis = opencv.DISOpticalFlow_create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)
    there = dis.calc(planes[0], planes[1], None)
    back = dis.calc(planes[1], planes[0], None)

    # compare only pixels whose flow stays inside the picture and leads back to the start
    height, width = planes[0].shape
    grid = np.stack(np.meshgrid(np.arange(width), np.arange(height)), axis=-1).astype(np.float32)
    at = grid + there
    closes = np.linalg.norm(_sample(back, at) + there, axis=2) < FLOW_TOLERANCE
    inside = ((at >= 0) & (at <= [width - 1, height - 1])).all(axis=2) & closes
    if not inside.any():
        return 0.0, 0.0

    errors = [
        float(np.abs(_sample(b, at) - a)[inside].mean())
        for a, b in ((result_a, result_b), (truth_a, truth_b))
    ]
    return errors[0], errors[1]


def _sample(image: NDArray[np.float32], at: NDArray[np.float32]) -> NDArray[np.float32]:
    return cast(
        "NDArray[np.float32]",
        cv2.remap(image, at, None, cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE),  # type: ignore[call-overload]
    )


def format_quality(found: LightFieldQuality) -> str:
    """Return the figures as text, one line each."""
    worst = found.worst
    lines = [
        f"{len(found.views)} views, {len(found.given)} given ones left out of the means",
        f"RGB   PSNR {found.psnr:.2f} dB   SSIM {found.ssim:.4f}",
        f"luma  PSNR {found.psnr_y:.2f} dB   SSIM {found.ssim_y:.4f}",
        f"worst view ({worst.row}, {worst.col}): {worst.psnr:.2f} dB",
    ]
    lines += [
        f"  {near.steps:4.0f} steps: {near.psnr:.2f} dB ({near.views} views)"
        for near in found.by_distance
    ]

    if found.epi_psnr is not None:
        lines.append(f"EPI   PSNR {found.epi_psnr:.2f} dB")
    if found.warp_error is not None and found.warp_error_truth is not None:
        lines.append(
            f"view-to-view error {found.warp_error:.2f} of 255 (ground truth "
            f"{found.warp_error_truth:.2f})"
        )
    if found.flicker is not None:
        lines.append(f"brightness changes by at most {found.flicker:.2f} of 255 from view to view")
    return "\n".join(lines)
