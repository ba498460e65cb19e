"""Rectified stereo pairs with true disparity, as Middlebury gives it: left x = right x + d."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from crossnetpp.data.sample import DataError, Pair, crop_pair, read_rgb, shrunk

Disparity = NDArray[np.float32]
"""H x W pixels, NaN where it is not known."""
TOLERANCE = 1.0
"""Pixels by which the disparity of one surface may differ between both pictures."""


def read_disparity(path: Path) -> Disparity:
    """Return the left picture's disparity from .npz, .npy, .pfm or a picture of whole pixels.

    What is infinite or not positive is unknown (NaN). Raises DataError for what cannot be read.
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
        found = "nothing readable" if values is None else f"an array of {values.shape}"
        raise DataError(f"found {found} at {path}, expected a disparity for each pixel, H x W")
    values = values.astype(np.float32)
    return np.where(np.isfinite(values) & (values > 0), values, np.float32(np.nan))


def true_flows(
    left: NDArray[np.uint8], right: NDArray[np.uint8], disparity: Disparity
) -> tuple[Pair, Pair]:
    """Return (left, right) and (right, left) as pairs of target and reference with true flow.

    `disparity` is the left picture's. The flow is NaN where the disparity is unknown or the place
    is hidden in the reference; it stays where the place is beyond the reference's border.
    """
    width = disparity.shape[1]
    x = np.arange(width, dtype=np.float32)[None]
    nearest = _nearest(disparity)
    place = x - disparity
    seen = np.isfinite(disparity)
    for edge in (np.floor, np.ceil):
        at = np.clip(np.nan_to_num(edge(place)), 0, width - 1).astype(int)
        # neither of the two pixels that a resampled reference mixes is a nearer surface
        seen &= np.take_along_axis(nearest, at, axis=1) < disparity + TOLERANCE
    seen |= (place < 0) | (place > width - 1)
    of_left = np.where(seen, disparity, np.float32(np.nan))
    return Pair(left, right, _along_x(-of_left)), Pair(right, left, _along_x(_of_right(disparity)))


def _nearest(left: Disparity) -> Disparity:
    """Return the largest disparity that falls on each right pixel or beside it, NaN if none."""
    height, width = left.shape
    rows, cols = np.nonzero(np.isfinite(left))
    disparities = left[rows, cols]
    found = np.full((height, width), -np.inf, np.float32)
    for edge in (np.floor, np.ceil):
        at = edge(cols - disparities).astype(int)
        inside = (at >= 0) & (at < width)
        np.maximum.at(found, (rows[inside], at[inside]), disparities[inside])
    return np.where(np.isfinite(found), found, np.float32(np.nan))


def _of_right(left: Disparity) -> Disparity:
    """Return the disparity of each right pixel: that of the nearest surface that is seen there."""
    nearest = _nearest(left)
    x = np.arange(left.shape[1], dtype=np.float32)[None]
    # Whole pixels were written; what the left picture holds at that very place is exact.
    exact = _between(left, x + _between(left, x + nearest))
    same = np.abs(exact - nearest) < TOLERANCE
    return np.where(same, exact, np.float32(np.nan))


def _between(field: Disparity, place: Disparity) -> Disparity:
    """Return `field` at `place` along its rows, linearly; NaN outside and beside the unknown."""
    last = field.shape[1] - 1
    inside = (place >= 0) & (place <= last)
    place = np.where(inside, place, np.float32(0))
    at = np.floor(place).astype(int)
    part = place - at
    before = np.take_along_axis(field, at, axis=1)
    after = np.take_along_axis(field, np.minimum(at + (part > 0), last), axis=1)
    return np.where(inside, before + part * (after - before), np.float32(np.nan))


def _along_x(displacement: Disparity) -> NDArray[np.float32]:
    across = np.where(np.isnan(displacement), np.float32(np.nan), np.float32(0))
    return np.stack((displacement, across), axis=-1)


def shrunk_pair(pair: Pair, factor: float) -> Pair:
    """Return `pair` with sides `factor` times as long, at most 1; its flow counts new pixels."""
    target, reference = shrunk(pair.target, factor), shrunk(pair.reference, factor)
    if pair.flow is None:
        return Pair(target, reference)
    (height, width), before = target.shape[:2], pair.flow.shape[:2]
    # the nearest value: a mean over an edge would be the flow of neither surface
    nearest = cv2.resize(pair.flow, (width, height), interpolation=cv2.INTER_NEAREST_EXACT)
    flow = nearest * np.array((width / before[1], height / before[0]), np.float32)
    return Pair(target, reference, np.asarray(flow, dtype=np.float32))


class Stereo:
    """Draw pairs from rectified stereo with true disparity, either picture the target."""

    def __init__(
        self, scenes: list[tuple[Path, Path, Path]], shrink: tuple[float, ...] = (1.0,)
    ) -> None:
        """Read left, right and disparity of each scene, once for each factor of `shrink`.

        Raises DataError for files that cannot be read or whose sizes differ.
        """
        self.pairs: list[tuple[Pair, Pair]] = []
        for scene in scenes:
            left, right = (read_rgb(path) for path in scene[:2])
            disparity = read_disparity(scene[2])
            if not left.shape[:2] == right.shape[:2] == disparity.shape:
                raise DataError(
                    f"found sizes {left.shape[:2]}, {right.shape[:2]} and {disparity.shape} of "
                    f"{scene[0].name}, {scene[1].name} and {scene[2].name}, expected one size"
                )
            flows = true_flows(left, right, disparity)
            self.pairs += [
                (shrunk_pair(flows[0], factor), shrunk_pair(flows[1], factor))
                for factor in shrink or (1.0,)
            ]
        if not self.pairs:
            raise DataError("found no stereo scene, expected left, right and disparity of one")

    def draw(self, rng: np.random.Generator, size: int, motion: float) -> Pair:
        """Return crops of both pictures at one place, with the flow between them."""
        pair = self.pairs[int(rng.integers(len(self.pairs)))][int(rng.integers(2))]
        return crop_pair(rng, pair, size)
