"""Measure how well the views of a light field fit each other, using its ground truth.

There are three measures: the PSNR of epipolar images (one line of pixels from every view in a row
or column of the grid), the difference between a view and a neighbour that is warped onto it with
the ground truth's optical flow, and the change of brightness errors from view to view (flicker).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, cast

import cv2
import numpy as np
from numpy.typing import NDArray

from pipeline.errors import PairingError, count_items
from pipeline.lightfield.parallax import reduce_to_grey
from pipeline.lightfield.reader import ViewReader
from pipeline.schema.clip import Grid, LightField

NEIGHBOURS = 16  # maximum number of pairs of neighbouring views for the warping error
FLOW_TOLERANCE = 0.5  # pixels; maximum error after following the flow there and back


@dataclass(frozen=True)
class ViewPair:
    """An enhanced light field and its ground truth."""

    result: LightField
    truth: LightField

    def grids(self) -> tuple[Grid, Grid]:
        """Return the grids of the result and of its ground truth."""
        return self.result.grid, self.truth.grid

    def check(self) -> None:
        """Raise PairingError if the sizes differ, or if the truth lacks a view or frame."""
        result, truth = self.grids()
        if (self.result.width, self.result.height) != (self.truth.width, self.truth.height):
            raise PairingError(
                f"the result is {self.result.width}x{self.result.height}, but the ground truth is "
                f"{self.truth.width}x{self.truth.height}; expected the same size; "
                "pass the original from which the input was made"
            )

        for view in result.views:
            there = truth.at(view.row, view.col)
            if there is None or truth.views[there].frames < view.frames:
                raise PairingError(
                    f"{self.truth.path} has no view ({view.row}, {view.col}) with at least "
                    f"{count_items(view.frames, 'frame')}; expected every view of "
                    f"{self.result.path}; "
                    "pass the original, cropped in the same way (--crop-grid)"
                )


def measure_consistency(
    pair: ViewPair, given: tuple[tuple[int, int], ...]
) -> tuple[float | None, float | None, float | None]:
    """Return the PSNR (dB) of epipolar images, and the warping errors (0..255) of result and truth.

    All three are means over views of the first moment. The epipolar images do not contain the views
    at the `given` places (row, column). A figure is None if there is nothing to measure.
    """
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
    pair: ViewPair, places: list[tuple[int, int]]
) -> Iterator[tuple[NDArray[np.float32], NDArray[np.float32]]]:
    """Yield the result and the truth of the view at each of the `places`, at the first moment.

    Places are (row, column). Both pictures are float32 H x W x 3 RGB in 0..255.
    """
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


def _measure_epi_psnr(
    pair: ViewPair, places: list[tuple[int, int]], *, vertical: bool
) -> list[float]:
    """Return the PSNR in dB of each epipolar image of a line of views.

    A `vertical` line of views has an image for each column of pixels, and a horizontal line has one
    for each row of pixels.
    """
    axis = 0 if vertical else 1
    total: Any = 0.0
    for result, truth in _read_views(pair, places):
        total = total + ((result - truth) ** 2).mean(axis=(axis, 2))

    error = np.maximum(np.asarray(total) / len(places), 1e-3)
    return [float(value) for value in 10 * np.log10(255**2 / error)]


def measure_flicker(pair: ViewPair) -> float | None:
    """Return the largest change (0..255) of a channel's mean error between neighbouring views.

    Only the first frame of each view is measured. The result is None if no views are neighbours.
    """
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
    pair: ViewPair, first: tuple[int, int], second: tuple[int, int]
) -> tuple[float, float]:
    """Return the warping errors (0..255) of result and truth between two neighbouring views.

    Result and truth are both warped with the optical flow between the two views of the truth. Both
    errors are 0 if the flow is unreliable at every pixel.
    """
    (result_a, truth_a), (result_b, truth_b) = _read_views(pair, [first, second])
    planes = [reduce_to_grey(truth.astype(np.uint8), 1 << 16) for truth in (truth_a, truth_b)]

    opencv: Any = cv2
    dis = opencv.DISOpticalFlow_create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)
    there = dis.calc(planes[0], planes[1], None)
    back = dis.calc(planes[1], planes[0], None)

    # compare only pixels whose flow stays inside the picture and returns to the start
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
