"""References as they may come: faults from which nothing, or not everything, may be borrowed.

Every fault keeps the target. The flow stays where it is still true and is NaN elsewhere.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import cv2
import numpy as np
from numpy.typing import NDArray

from crossnetpp.data.sample import Pair

DISPLACEMENT = 64
"""Pixels by which a displaced reference is moved."""


def scale_light(image: NDArray[np.uint8], gain: NDArray[np.float64]) -> NDArray[np.uint8]:
    """Return `image` (uint8 H x W x 3) times `gain` (3), cut at white."""
    return np.asarray(np.clip(image * gain, 0, 255).round(), dtype=np.uint8)


def expose(rng: np.random.Generator, pair: Pair, other: Pair) -> Pair:
    """Return `pair` with a reference of another exposure, 0.4 to 1.8 times as bright."""
    gain = np.exp(rng.uniform(-0.9, 0.6))
    return replace(pair, reference=scale_light(pair.reference, np.full(3, gain)))


def colour(rng: np.random.Generator, pair: Pair, other: Pair) -> Pair:
    """Return `pair` with a reference of another white balance, channels up to 40 % apart."""
    gain = np.exp(rng.uniform(-0.17, 0.17, 3))
    return replace(pair, reference=scale_light(pair.reference, gain))


def blur(rng: np.random.Generator, pair: Pair, other: Pair) -> Pair:
    """Return `pair` with an unsharp reference: a Gaussian of 0.7 to 3 pixels."""
    blurred = cv2.GaussianBlur(pair.reference, (0, 0), float(rng.uniform(0.7, 3)))
    return replace(pair, reference=np.asarray(blurred, dtype=np.uint8))


def occlude(rng: np.random.Generator, pair: Pair, other: Pair) -> Pair:
    """Return `pair` with a sixth to a half of each side of the reference hidden by `other`'s."""
    height, width = pair.reference.shape[:2]
    top, left = (int(rng.integers(0, length // 2)) for length in (height, width))
    side = int(rng.integers(min(height, width) // 6, min(height, width) // 2))
    hidden = np.s_[top : top + side, left : left + side]
    reference = pair.reference.copy()
    reference[hidden] = other.reference[hidden]
    if pair.flow is None:
        return replace(pair, reference=reference)
    x, y = _places(pair.flow)
    # two pixels more: there a bicubically resampled reference mixes both
    behind = (x > left - 2) & (x < left + side + 1) & (y > top - 2) & (y < top + side + 1)
    return Pair(pair.target, reference, _unknown(pair.flow, behind))


def replace_wholly(rng: np.random.Generator, pair: Pair, other: Pair) -> Pair:
    """Return `pair` with the reference of another pair, to which no flow leads."""
    return replace(pair, reference=other.reference, flow=None)


def displace(rng: np.random.Generator, pair: Pair, other: Pair) -> Pair:
    """Return `pair` with the reference moved 64 pixels in some direction.

    The uncovered rim mirrors what is left. The flow follows; it is NaN for what left the reference.
    """
    angle = rng.uniform(0, 2 * np.pi)
    by_x, by_y = (round(DISPLACEMENT * part) for part in (np.cos(angle), np.sin(angle)))
    height, width = pair.reference.shape[:2]
    moved = cv2.warpAffine(
        pair.reference,
        np.array(((1, 0, by_x), (0, 1, by_y)), np.float32),
        (width, height),
        flags=cv2.INTER_NEAREST,
        borderMode=cv2.BORDER_REFLECT_101,
    )
    reference = np.asarray(moved, dtype=np.uint8)
    if pair.flow is None:
        return replace(pair, reference=reference)
    flow = pair.flow + np.array((by_x, by_y), np.float32)
    x, y = _places(flow)
    # what was mirrored in and what left are both no place to look
    rows, cols = (max(0, by_y), height - 1 + min(0, by_y)), (max(0, by_x), width - 1 + min(0, by_x))
    outside = (x < cols[0]) | (x > cols[1]) | (y < rows[0]) | (y > rows[1])
    return Pair(pair.target, reference, _unknown(flow, outside))


FAULTS: dict[str, Callable[[np.random.Generator, Pair, Pair], Pair]] = {
    "exposure": expose,
    "colour": colour,
    "blur": blur,
    "occluder": occlude,
    "unrelated": replace_wholly,
    "displaced": displace,
}
"""Name -> fault; each takes a generator, the pair, and another pair of the same size."""


def break_reference(rng: np.random.Generator, pair: Pair, other: Pair) -> Pair:
    """Return `pair` with one fault, each as likely as another."""
    return list(FAULTS.values())[int(rng.integers(len(FAULTS)))](rng, pair, other)


def _places(flow: NDArray[np.float32]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Return x and y (H x W pixels) where each target pixel lies in the reference."""
    y, x = np.mgrid[: flow.shape[0], : flow.shape[1]].astype(np.float32)
    return x + flow[..., 0], y + flow[..., 1]


def _unknown(flow: NDArray[np.float32], where: NDArray[np.bool_]) -> NDArray[np.float32]:
    return np.asarray(np.where(where[..., None], np.float32(np.nan), flow), dtype=np.float32)
