"""Measure the disparity between views, and check that their grid is right.

In a correct grid, the picture shifts along x between neighbours in a row and along y between
neighbours in a column, by the same amount and with the same sign. If rows and columns are
exchanged, it shifts along the other axis; if rows are counted from the bottom, the signs differ.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal, cast

import cv2
import numpy as np
from numpy.typing import NDArray

from pipeline.lightfield.reader import ViewReader
from pipeline.pixels import Pixels, high_byte
from pipeline.schema.clip import LightField

LONG_SIDE = 512  # pixels; larger views are first reduced until their longer side has this length
LEAST_SIDE = 16  # pixels; a shorter side would leave too little of the picture inside the rims
PAIRS = 3  # maximum number of pairs of views that are compared in each direction
CLEAR_RATIO = 1.6  # minimum ratio between the shifts along x and along y for a verdict
LEAST_SHIFT = 0.05  # pixels per grid step; smaller shifts are too small for a verdict

Verdict = Literal["right", "transposed", "upside down", "unclear"]
Plane = NDArray[np.float32]


@dataclass(frozen=True)
class Parallax:
    """The disparity of a light field, and a verdict on its grid."""

    verdict: Verdict
    disparity: tuple[float, float] | None
    """2nd and 98th percentiles of the shift, in pixels per grid step; None if they are unknown.

    A shift is positive if a point moves left in the view to the right, or up in the view below.
    """
    advice: str = ""
    """What looks wrong with the grid, and what to try; "" if nothing does."""


def measure_parallax(clip: LightField) -> Parallax:
    """Measure the disparity between nearby views of moment 0, and judge the grid by it.

    The disparity is unknown if no row or column has two views, or if the views are too small, or
    too narrow once they are reduced.
    """
    shrink = max(1.0, max(clip.width, clip.height) / LONG_SIDE)
    if min(clip.width, clip.height) / shrink < LEAST_SIDE:
        return Parallax("unclear", None)

    reader = ViewReader(clip)
    try:
        across = [_measure_flow(reader, *pair) for pair in _choose_pairs(clip, along=1)]
        down = [_measure_flow(reader, *pair) for pair in _choose_pairs(clip, along=0)]
    finally:
        reader.close()

    sideways = _compare_axes(across)
    downward = _compare_axes(down)
    votes = [vote for vote in (sideways, -downward if downward else None) if vote is not None]
    if _is_only_numbered(clip):
        votes = []
    if not votes or abs(sum(votes)) < len(votes) * np.log(CLEAR_RATIO):
        return Parallax("unclear", _measure_spread(across, down, shrink))

    if sum(votes) < 0:
        turned = _measure_spread(
            [f[..., ::-1] for f in across], [f[..., ::-1] for f in down], shrink
        )
        return Parallax(
            "transposed",
            turned,
            "neighbours in a row shift along y, so rows and columns seem to be exchanged; "
            "try --order " + ("row,col" if clip.grid.order == "col,row" else "col,row"),
        )

    spread = _measure_spread(across, down, shrink)
    if _is_mirrored(across, down):
        return Parallax(
            "upside down",
            spread,
            "views in a column shift in the opposite direction to those in a row, so rows seem "
            "to be counted from the bottom (or the pictures are mirrored); rename the views from "
            "the top, or pass --layout quilt for a quilt",
        )
    return Parallax("right", spread)


def _is_only_numbered(clip: LightField) -> bool:
    """Return whether the views form one row only because their names contain a single index."""
    grid = clip.grid
    return grid.rows[1] == 1 and "{index" in grid.template


def _choose_pairs(clip: LightField, along: int) -> Iterator[tuple[int, int, int]]:
    """Yield the frame numbers of two views, and their distance, for each of up to `PAIRS` lines.

    Lines are rows if `along` is 1, and columns if it is 0. Distances are in grid steps.
    """
    grid = clip.grid
    lines: dict[int, list[tuple[int, int]]] = {}
    for position, view in enumerate(grid.views):
        place = (view.row, view.col)
        lines.setdefault(place[1 - along], []).append((place[along], position))

    usable = [sorted(line) for line in lines.values() if len(line) > 1]
    usable.sort(key=lambda line: -len(line))
    count = min(PAIRS, len(usable))
    # use lines from the middle, because those at the rim of a Lytro grid are vignetted
    middle = max(0, (len(usable) - count) // 2)
    for line in usable[middle : middle + count]:
        at = max(0, len(line) // 2 - 1)
        far = min(len(line) - 1, at + 2)
        steps = line[far][0] - line[at][0]
        yield grid.number(line[at][1], 0), grid.number(line[far][1], 0), steps


def reduce_to_grey(rgb: Pixels, long_side: int = LONG_SIDE) -> NDArray[np.uint8]:
    """Return a grey version (uint8 H x W) of a picture, with its contrast stretched to 0..255.

    The picture is reduced if its longer side exceeds `long_side` pixels.
    """
    plane = cv2.cvtColor(high_byte(rgb), cv2.COLOR_RGB2GRAY)
    shrink = max(plane.shape) / long_side
    if shrink > 1:
        size = (round(plane.shape[1] / shrink), round(plane.shape[0] / shrink))
        plane = cv2.resize(plane, size, interpolation=cv2.INTER_AREA)
    return cast(
        NDArray[np.uint8],
        cv2.normalize(plane, None, 0, 255, cv2.NORM_MINMAX),  # type: ignore[call-overload]
    )


def _measure_flow(reader: ViewReader, first: int, second: int, steps: int) -> Plane:
    """Return the x and y shift (H x W x 2) from one view to another.

    Shifts are in pixels of the reduced views per grid step, and NaN where there is too little
    texture. The rims of the views are left out.
    """
    a = reduce_to_grey(reader.get(first))
    b = reduce_to_grey(reader.get(second))
    dis: Any = cv2
    flow = dis.DISOpticalFlow_create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM).calc(a, b, None)

    rim = max(2, min(a.shape) // 16)
    inside = np.s_[rim:-rim, rim:-rim]
    edges = np.stack([cv2.Sobel(a, cv2.CV_32F, 1, 0), cv2.Sobel(a, cv2.CV_32F, 0, 1)])
    # a shift can be measured only where there is texture in both directions
    strength = cv2.blur(np.abs(edges[0]), (7, 7)) * cv2.blur(np.abs(edges[1]), (7, 7))
    strength = strength[inside]
    textured = strength >= np.quantile(strength, 0.6)

    shift = flow[inside] / np.float32(steps)
    shift[~textured] = np.nan
    return cast(Plane, shift)


def _compare_axes(flows: list[Plane]) -> float | None:
    """Return the logarithm of the ratio of the mean shifts along x and y, clipped to -3 to 3.

    The result is None if there are no flows, or if both mean shifts are below LEAST_SHIFT.
    """
    if not flows:
        return None
    x, y = (float(np.mean([np.nanmean(np.abs(f[..., i])) for f in flows])) for i in (0, 1))
    if max(x, y) < LEAST_SHIFT:
        return None
    return float(np.clip(np.log(max(x, 1e-3) / max(y, 1e-3)), -3, 3))


def _measure_spread(
    across: list[Plane], down: list[Plane], shrink: float
) -> tuple[float, float] | None:
    """Return the 2nd and 98th percentiles of the shift, in full-size pixels per grid step.

    `shrink` is the factor by which the views were reduced. The result is None if there are no
    flows.
    """
    parts = [-f[..., 0].ravel() for f in across] + [-f[..., 1].ravel() for f in down]
    if not parts:
        return None

    low, high = np.nanpercentile(np.concatenate(parts), [2, 98]) * shrink
    # adding zero turns -0.0 into 0.0
    return round(float(low), 2) + 0.0, round(float(high), 2) + 0.0


def _is_mirrored(across: list[Plane], down: list[Plane]) -> bool:
    """Return whether the shifts along rows and those along columns have opposite signs."""
    if not across or not down:
        return False

    x = np.nanmean(np.stack([_average_blocks(f[..., 0]) for f in across]), axis=0)
    y = np.nanmean(np.stack([_average_blocks(f[..., 1]) for f in down]), axis=0)
    agreement = float(np.nansum(x * y))
    size = float(np.sqrt(np.nansum(x * x) * np.nansum(y * y)))
    return size > 0 and agreement < -0.5 * size


def _average_blocks(plane: Plane) -> Plane:
    """Return the means of a plane's 6 x 8 blocks; 0 for a block with too little texture."""
    known = np.isfinite(plane).astype(np.float32)
    filled = np.nan_to_num(plane)
    total = cv2.resize(filled, (8, 6), interpolation=cv2.INTER_AREA)
    share = cv2.resize(known, (8, 6), interpolation=cv2.INTER_AREA)
    return cast(Plane, np.where(share > 0.02, total / np.maximum(share, 1e-3), 0))
