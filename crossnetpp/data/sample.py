"""Pairs of an HR target and a reference, with the flow if it is known; cropping and rotation."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import cv2
import numpy as np
from numpy.typing import NDArray


class DataError(Exception):
    """Raised if training data cannot be used, with a one-line message."""


@dataclass(frozen=True)
class Pair:
    """An HR target and a reference of the same scene."""

    target: NDArray[np.uint8]
    """uint8 H x W x 3 RGB."""
    reference: NDArray[np.uint8]
    """uint8 H x W x 3 RGB."""
    flow: NDArray[np.float32] | None = None
    """H x W x 2 pixels such that reference(x + flow(x)) = target(x), NaN where unknown; None if no
    flow is known."""


class PairSource(Protocol):
    """A source of training pairs."""

    def draw(self, rng: np.random.Generator, size: int, motion: float) -> Pair:
        """Return a random pair of `size` x `size` pixels.

        `motion` (0..1) is the share of the full motion that the curriculum allows.
        """
        ...


def draw_crop_origin(
    rng: np.random.Generator, height: int, width: int, size: int
) -> tuple[int, int]:
    """Return a random (row, col) of a `size` x `size` window. Raises DataError if none fits."""
    if min(height, width) < size:
        raise DataError(
            f"found a picture of {width}x{height}, expected at least {size}x{size}; "
            "try smaller crops or leave small pictures out"
        )
    return int(rng.integers(0, height - size + 1)), int(rng.integers(0, width - size + 1))


def crop_pair(rng: np.random.Generator, pair: Pair, size: int) -> Pair:
    """Return a random `size` x `size` window of `pair`, randomly rotated and mirrored.

    The window is the same for the target, the reference and the flow. Raises DataError if a picture
    is smaller than the window.
    """
    height = min(pair.target.shape[0], pair.reference.shape[0])
    width = min(pair.target.shape[1], pair.reference.shape[1])
    row, col = draw_crop_origin(rng, height, width, size)
    window = np.s_[row : row + size, col : col + size]
    flow = None if pair.flow is None else pair.flow[window]
    cropped = Pair(pair.target[window], pair.reference[window], flow)
    return turn_pair(cropped, int(rng.integers(4)), mirror=bool(rng.random() < 0.5))


def turn_pair(pair: Pair, quarters: int, *, mirror: bool) -> Pair:
    """Return `pair` rotated anticlockwise by `quarters` times 90 degrees.

    If `mirror` is set, the result is then mirrored in x.
    """
    pictures = [np.rot90(picture, quarters) for picture in (pair.target, pair.reference)]
    flow = pair.flow
    if flow is not None:
        flow = np.rot90(flow, quarters)
        for _ in range(quarters % 4):
            # y points down, so an anticlockwise rotation maps +x to -y
            flow = np.stack((flow[..., 1], -flow[..., 0]), axis=-1)

    if mirror:
        pictures = [picture[:, ::-1] for picture in pictures]
        flow = None if flow is None else flow[:, ::-1] * np.array((-1, 1), np.float32)

    return Pair(
        np.ascontiguousarray(pictures[0]),
        np.ascontiguousarray(pictures[1]),
        None if flow is None else np.ascontiguousarray(flow),
    )


def shrink_picture(image: NDArray[np.uint8], factor: float) -> NDArray[np.uint8]:
    """Return `image` (uint8 H x W x 3) with its sides scaled by `factor` (at most 1)."""
    if factor == 1.0:
        return image
    height, width = (round(length * factor) for length in image.shape[:2])
    small = cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA)
    return np.asarray(small, dtype=np.uint8)


def read_rgb(path: Path) -> NDArray[np.uint8]:
    """Return a picture as uint8 H x W x 3 RGB. Raises DataError if it cannot be read."""
    image = cv2.imread(str(path), cv2.IMREAD_COLOR)
    if image is None:
        raise DataError(f"found no readable picture at {path}, expected a PNG, JPEG or similar")
    return np.asarray(cv2.cvtColor(image, cv2.COLOR_BGR2RGB), dtype=np.uint8)
