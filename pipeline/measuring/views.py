"""Measure enhanced light fields: by view, by distance to the reference, and by consistency.

Given views do not count towards the mean quality, unless the reference provides all views.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Set
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from pydantic import Field

from pipeline.errors import PairingError, count_items
from pipeline.lightfield.opening import open_light_field
from pipeline.lightfield.reader import ViewReader
from pipeline.lightfield.sidecar import read_given_views
from pipeline.measuring.bicubic import Upsampling, open_upsampling
from pipeline.measuring.consistency import ViewPair, measure_consistency, measure_flicker
from pipeline.measuring.means import (
    BicubicQuality,
    format_bicubic,
    mean_bicubic,
    mean_psnr,
    mean_ssim,
)
from pipeline.pairing.given import list_given_moments, list_view_steps
from pipeline.pixels import match_deeper
from pipeline.progress import SILENT, Reporter
from pipeline.schema.clip import LightField
from pipeline.schema.model import Model
from pipeline.schema.plan import Plan
from pipeline.schema.settings import GridSettings

if TYPE_CHECKING:
    from crossnetpp.metrics import Quality

# Maps (row, column) to the distance to the reference in grid steps, or to None for a given view.
Places = Mapping[tuple[int, int], float | None]


class ViewQuality(Model):
    """Means over the measured moments of one view: PSNR in dB, SSIM with data range 1."""

    row: int
    col: int
    steps: float | None
    """Distance to the reference in grid steps; None if it is unknown or the view is given."""
    psnr: float
    ssim: float
    psnr_y: float
    ssim_y: float


class DistanceQuality(Model):
    """The mean PSNR in dB of the views at the same (rounded) distance from their reference."""

    steps: float
    views: int
    psnr: float


class LightFieldQuality(Model):
    """The fields of `evaluate --json` for light fields.

    PSNR is in dB. Given views do not count towards the mean quality.
    """

    frames: int
    psnr: float
    ssim: float
    psnr_y: float
    ssim_y: float
    worst: ViewQuality
    given: tuple[tuple[int, int], ...]
    by_distance: tuple[DistanceQuality, ...]
    epi_psnr: float | None
    """Mean PSNR of the horizontal and vertical epipolar images."""
    warp_error: float | None
    """Mean absolute difference (0..255) between a view and a neighbour warped onto it."""
    warp_error_truth: float | None
    """Warping error of the ground truth itself: how much noise and flow errors contribute."""
    flicker: float | None
    """Largest change (0..255) of a channel's mean error between neighbouring views, including given
    ones: the flicker of a sweep through the views."""
    views: tuple[ViewQuality, ...]
    left_out: int = Field(default=0, exclude=True)
    """Number of frames excluded from the means, because the reference provides them."""
    bicubic: BicubicQuality | None = Field(default=None, exclude=True)
    """Quality of bicubic up-sampling; None without a plan, or if its input cannot be read."""


@dataclass(frozen=True)
class _MeasuredFrame:
    """The quality of one frame of the view at `place` (row, column)."""

    place: tuple[int, int]
    quality: Quality
    bicubic: BicubicQuality | None


@dataclass
class _MeasuredView:
    """The quality of each frame of one view, and of its bicubic up-sampling."""

    frames: list[Quality] = field(default_factory=list)
    bicubic: list[BicubicQuality | None] = field(default_factory=list)


def evaluate_light_field(
    views: LightField,
    ground_truth: str,
    plan: Plan | None,
    grid_settings: GridSettings,
    progress: Reporter = SILENT,
) -> LightFieldQuality:
    """Return the quality of a light field against the one at `ground_truth`.

    Views that were given do not count towards the mean quality. They are listed in the plan or,
    without a plan, in the sidecar. Raises PairingError if there is no light field at
    `ground_truth`, or if it does not match the views.
    """
    truth = open_light_field(ground_truth, grid_settings)
    if truth is None:
        raise PairingError(
            f"found no light field in {ground_truth}; expected the original of {views.path}; check "
            "the path, or try --layout and --grid"
        )

    if plan is None:
        return evaluate_views(views, truth, read_given_views(Path(views.path)), progress=progress)
    return evaluate_views(
        views,
        truth,
        list_view_steps(plan),
        skipped=list_given_moments(plan),
        plan=plan,
        progress=progress,
    )


def evaluate_views(
    result: LightField,
    truth: LightField,
    places: Places | None = None,
    *,
    skipped: Set[tuple[int, int, int]] = frozenset(),
    consistency: bool = True,
    plan: Plan | None = None,
    progress: Reporter = SILENT,
) -> LightFieldQuality:
    """Return the quality of the light field `result` against `truth`.

    `places` maps the (row, column) of views to their distances from the reference in grid steps, or
    to None for given views. `skipped` lists the (row, column, moment) of further frames that do not
    count towards the mean quality; if no frame would be left, all frames are measured. With the
    `plan` of the result, bicubic up-sampling is also measured. Raises PairingError if the sizes
    differ, or if the truth lacks a view or frame.
    """
    pair = ViewPair(result, truth)
    pair.check()
    places = places or {}

    given = tuple(place for place, steps in places.items() if steps is None)
    compared = _list_compared(result, frozenset(given), skipped)
    if not compared:
        given = ()
        compared = _list_compared(result, frozenset(), frozenset())

    with open_upsampling(plan) as upsampling, progress.step("measuring", len(compared)) as count:
        numbers = _number_moments(plan)
        found: dict[tuple[int, int], _MeasuredView] = {}
        for done, frame in enumerate(_measure_frames(pair, compared, upsampling, numbers), start=1):
            view = found.setdefault(frame.place, _MeasuredView())
            view.frames.append(frame.quality)
            view.bicubic.append(frame.bicubic)
            count(done)

    views = tuple(_summarise_view(place, view, places) for place, view in found.items())
    everything = [quality for view in found.values() for quality in view.frames]
    epi, warp, warp_truth = measure_consistency(pair, given) if consistency else (None, None, None)

    return LightFieldQuality(
        frames=len(compared),
        psnr=mean_psnr([quality.psnr for quality in everything]),
        ssim=mean_ssim([quality.ssim for quality in everything]),
        psnr_y=mean_psnr([quality.psnr_y for quality in everything]),
        ssim_y=mean_ssim([quality.ssim_y for quality in everything]),
        worst=min(views, key=lambda view: view.psnr),
        given=given,
        by_distance=_group_by_distance(views),
        epi_psnr=epi,
        warp_error=warp,
        warp_error_truth=warp_truth,
        flicker=measure_flicker(pair) if consistency else None,
        views=views,
        left_out=sum(view.frames for view in result.grid.views) - len(compared),
        bicubic=mean_bicubic([each for view in found.values() for each in view.bicubic]),
    )


def _list_compared(
    result: LightField, given: Set[tuple[int, int]], skipped: Set[tuple[int, int, int]]
) -> list[tuple[int, int, int]]:
    """Return the (row, column, moment) of the frames that count towards the mean quality."""
    return [
        (view.row, view.col, moment)
        for view in result.grid.views
        if (view.row, view.col) not in given
        for moment in range(view.frames)
        if (view.row, view.col, moment) not in skipped
    ]


def _number_moments(plan: Plan | None) -> dict[tuple[int, int, int], int]:
    """Map (row, column, moment) to the index of its entry in the plan's reference map."""
    choices = plan.reference_map if plan is not None else ()
    return {
        (choice.views.row, choice.views.col, choice.views.moment): number
        for number, choice in enumerate(choices)
        if choice.views is not None
    }


def _measure_frames(
    pair: ViewPair,
    compared: list[tuple[int, int, int]],
    upsampling: Upsampling,
    numbers: Mapping[tuple[int, int, int], int],
) -> Iterator[_MeasuredFrame]:
    from crossnetpp.metrics import measure_quality  # imports torch

    grid, truth_grid = pair.grids()
    results = ViewReader(pair.result)
    truths = ViewReader(pair.truth)
    try:
        for row, col, moment in compared:
            made = results.get(grid.number(grid.position(row, col), moment))
            truth = truths.get(truth_grid.number(truth_grid.position(row, col), moment))
            quality = measure_quality(*match_deeper(made, truth))

            number = numbers.get((row, col, moment))
            enlarged = upsampling.get(number) if number is not None else None
            bicubic = None
            if enlarged is not None:
                plain = measure_quality(*match_deeper(enlarged, truth))
                bicubic = BicubicQuality(psnr=plain.psnr, ssim=plain.ssim)
            yield _MeasuredFrame((row, col), quality, bicubic)
    finally:
        results.close()
        truths.close()


def _summarise_view(place: tuple[int, int], view: _MeasuredView, places: Places) -> ViewQuality:
    """Return the means over the measured moments of one view."""
    row, col = place
    return ViewQuality(
        row=row,
        col=col,
        steps=places.get(place),
        psnr=mean_psnr([quality.psnr for quality in view.frames]),
        ssim=mean_ssim([quality.ssim for quality in view.frames]),
        psnr_y=mean_psnr([quality.psnr_y for quality in view.frames]),
        ssim_y=mean_ssim([quality.ssim_y for quality in view.frames]),
    )


def _group_by_distance(views: tuple[ViewQuality, ...]) -> tuple[DistanceQuality, ...]:
    near: dict[float, list[float]] = {}
    for view in views:
        if view.steps is not None:
            near.setdefault(float(round(view.steps)), []).append(view.psnr)

    return tuple(
        DistanceQuality(steps=steps, views=len(psnr), psnr=round(float(np.mean(psnr)), 3))
        for steps, psnr in sorted(near.items())
    )


def format_quality(found: LightFieldQuality) -> str:
    """Return the figures as text, with one kind of figure on each line."""
    worst = found.worst
    lines = [
        f"{count_items(len(found.views), 'view')}; not in the means: {len(found.given)} given",
        f"RGB   PSNR {found.psnr:.2f} dB   SSIM {found.ssim:.4f}",
        f"luma  PSNR {found.psnr_y:.2f} dB   SSIM {found.ssim_y:.4f}",
        f"worst view ({worst.row}, {worst.col}): {worst.psnr:.2f} dB",
    ]
    lines += [
        f"  {near.steps:4.0f} steps: {near.psnr:.2f} dB ({count_items(near.views, 'view')})"
        for near in found.by_distance
    ]

    if found.bicubic is not None:
        lines.insert(2, f"bicubic  {format_bicubic(found.bicubic)}")
    if found.epi_psnr is not None:
        lines.append(f"EPI   PSNR {found.epi_psnr:.2f} dB")
    if found.warp_error is not None and found.warp_error_truth is not None:
        lines.append(
            f"view-to-view error {found.warp_error:.2f} of 255 (ground truth "
            f"{found.warp_error_truth:.2f})"
        )
    if found.flicker is not None:
        lines.append(f"brightness error changes by up to {found.flicker:.2f} of 255 between views")
    return "\n".join(lines)
