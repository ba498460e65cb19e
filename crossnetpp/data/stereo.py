"""Rectified stereo pairs with true disparity d, where left x = right x + d as in Middlebury."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from crossnetpp.data.sample import DataError, Pair, crop_pair, read_rgb, shrink_picture

Disparity = NDArray[np.float32]  # H x W pixels, NaN where unknown

# Pixels by which the disparities of one surface may differ between the two pictures
TOLERANCE = 1.0


def read_disparity(path: Path) -> Disparity:
    """Return the left picture's disparity, read from a .npz, .npy or .pfm file or from a picture.

    Infinite, zero and negative values become NaN. Raises DataError if the file cannot be read or
    does not contain H x W values.
    """
    try:
        if path.suffix in (".npz", ".npy"):
            loaded = np.load(path)
            values = loaded[loaded.files[0]] if path.suffix == ".npz" else loaded
        else:
            values = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
    except (OSError, ValueError) as error:
        raise DataError(f"found no readable disparity at {path}: {error}") from error

    if values is None or values.ndim != 2:
        found = "nothing readable" if values is None else f"an array of shape {values.shape}"
        raise DataError(f"found {found} at {path}, expected a disparity for each pixel, H x W")
    values = values.astype(np.float32)
    return np.where(np.isfinite(values) & (values > 0), values, np.float32(np.nan))


def make_flow_pairs(
    left: NDArray[np.uint8], right: NDArray[np.uint8], disparity: Disparity
) -> tuple[Pair, Pair]:
    """Return two pairs with true flow, whose targets are the left and the right picture.

    `disparity` belongs to the left picture. The flow is NaN where the disparity is unknown, and
    where a nearer surface hides the pixel in the reference. In the first pair, flow that points
    beyond the reference's border is kept.
    """
    width = disparity.shape[1]
    x = np.arange(width, dtype=np.float32)[None]
    nearest = _find_nearest(disparity)
    position = x - disparity

    # A pixel is visible unless one of the two pixels that resampling mixes shows a nearer surface
    visible = np.isfinite(disparity)
    for rounding in (np.floor, np.ceil):
        at = np.clip(np.nan_to_num(rounding(position)), 0, width - 1).astype(int)
        visible &= np.take_along_axis(nearest, at, axis=1) < disparity + TOLERANCE
    visible |= (position < 0) | (position > width - 1)

    left_disparity = np.where(visible, disparity, np.float32(np.nan))
    left_pair = Pair(left, right, _make_horizontal_flow(-left_disparity))
    right_pair = Pair(right, left, _make_horizontal_flow(_compute_right_disparity(disparity)))
    return left_pair, right_pair


def _find_nearest(left: Disparity) -> Disparity:
    """Return, for each right pixel, the largest disparity of the left pixels that map to it.

    A left pixel that maps to a position between two right pixels counts for both. The result is NaN
    where no left pixel maps.
    """
    height, width = left.shape
    rows, cols = np.nonzero(np.isfinite(left))
    disparities = left[rows, cols]
    found = np.full((height, width), -np.inf, np.float32)
    for rounding in (np.floor, np.ceil):
        at = rounding(cols - disparities).astype(int)
        inside = (at >= 0) & (at < width)
        np.maximum.at(found, (rows[inside], at[inside]), disparities[inside])
    return np.where(np.isfinite(found), found, np.float32(np.nan))


def _compute_right_disparity(left: Disparity) -> Disparity:
    """Return the disparity of the nearest surface at each right pixel, NaN where uncertain."""
    nearest = _find_nearest(left)
    x = np.arange(left.shape[1], dtype=np.float32)[None]
    # `nearest` is accurate only to a pixel; interpolating in the left picture is exact
    exact = _interpolate_rows(left, x + _interpolate_rows(left, x + nearest))
    same = np.abs(exact - nearest) < TOLERANCE
    return np.where(same, exact, np.float32(np.nan))


def _interpolate_rows(field: Disparity, position: Disparity) -> Disparity:
    """Return `field` at the columns `position`, interpolated linearly; NaN outside or next to NaN.

    Both are H x W.
    """
    last = field.shape[1] - 1
    inside = (position >= 0) & (position <= last)
    position = np.where(inside, position, np.float32(0))
    at = np.floor(position).astype(int)
    part = position - at
    before = np.take_along_axis(field, at, axis=1)
    after = np.take_along_axis(field, np.minimum(at + (part > 0), last), axis=1)
    return np.where(inside, before + part * (after - before), np.float32(np.nan))


def _make_horizontal_flow(displacement: Disparity) -> NDArray[np.float32]:
    """Return a flow along x (H x W x 2); both channels are NaN where `displacement` is NaN."""
    vertical = np.where(np.isnan(displacement), np.float32(np.nan), np.float32(0))
    return np.stack((displacement, vertical), axis=-1)


def shrink_pair(pair: Pair, factor: float) -> Pair:
    """Return `pair` with its sides and its flow scaled by `factor`, which is at most 1."""
    target = shrink_picture(pair.target, factor)
    reference = shrink_picture(pair.reference, factor)
    if pair.flow is None:
        return Pair(target, reference)

    height, width = target.shape[:2]
    before = pair.flow.shape[:2]
    # Nearest neighbour, because a mean across an edge would be the flow of neither surface
    nearest = cv2.resize(pair.flow, (width, height), interpolation=cv2.INTER_NEAREST_EXACT)
    flow = nearest * np.array((width / before[1], height / before[0]), np.float32)
    return Pair(target, reference, np.asarray(flow, dtype=np.float32))


class Stereo:
    """Source of pairs from rectified stereo with true disparity; either picture is the target."""

    def __init__(
        self, scenes: list[tuple[Path, Path, Path]], shrink: tuple[float, ...] = (1.0,)
    ) -> None:
        """Read the left picture, the right picture and the disparity of each scene.

        Each scene is scaled by every factor in `shrink`. Raises DataError if there is no scene, or
        if the files of a scene cannot be read or differ in size.
        """
        self.pairs: list[tuple[Pair, Pair]] = []
        for scene in scenes:
            left, right = (read_rgb(path) for path in scene[:2])
            disparity = read_disparity(scene[2])
            if not left.shape[:2] == right.shape[:2] == disparity.shape:
                raise DataError(
                    f"found {scene[0].name}, {scene[1].name} and {scene[2].name} with the sizes "
                    f"{left.shape[:2]}, {right.shape[:2]} and {disparity.shape} (rows, columns), "
                    "expected equal sizes; resize or crop them"
                )
            left_pair, right_pair = make_flow_pairs(left, right, disparity)
            self.pairs += [
                (shrink_pair(left_pair, factor), shrink_pair(right_pair, factor))
                for factor in shrink or (1.0,)
            ]
        if not self.pairs:
            raise DataError(
                "found no stereo scene, expected the left picture, the right picture and the "
                "disparity of at least one"
            )

    def draw(self, rng: np.random.Generator, size: int, motion: float) -> Pair:
        """Return the same crop of both pictures of a scene, with the flow between them."""
        pair = self.pairs[int(rng.integers(len(self.pairs)))][int(rng.integers(2))]
        return crop_pair(rng, pair, size)
