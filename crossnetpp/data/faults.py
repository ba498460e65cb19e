"""Faulty references, which teach the network to borrow only some of the detail, or none.

Faults do not change the target. The flow remains the same where it is still valid, and becomes NaN
elsewhere.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import cv2
import numpy as np
from numpy.typing import NDArray

from crossnetpp.data.sample import Pair

DISPLACEMENT = 64  # pixels by which a displaced reference is shifted


def scale_light(image: NDArray[np.uint8], gain: NDArray[np.float64]) -> NDArray[np.uint8]:
    """Return `image` (uint8 H x W x 3) times `gain` (3, one per channel), rounded and clipped."""
    return np.asarray(np.clip(image * gain, 0, 255).round(), dtype=np.uint8)


def change_exposure(rng: np.random.Generator, pair: Pair, other: Pair) -> Pair:
    """Return `pair` with a reference at another exposure, 0.4 to 1.8 times as bright."""
    gain = np.exp(rng.uniform(-0.9, 0.6))
    return replace(pair, reference=scale_light(pair.reference, np.full(3, gain)))


def change_colour(rng: np.random.Generator, pair: Pair, other: Pair) -> Pair:
    """Return `pair` with another white balance in its reference.

    The gains of two channels differ by up to 40 %, and the brightness changes by up to 19 %.
    """
    gain = np.exp(rng.uniform(-0.17, 0.17, 3))
    return replace(pair, reference=scale_light(pair.reference, gain))


def blur_reference(rng: np.random.Generator, pair: Pair, other: Pair) -> Pair:
    """Return `pair` with its reference blurred by a Gaussian of sigma 0.7 to 3 pixels."""
    blurred = cv2.GaussianBlur(pair.reference, (0, 0), float(rng.uniform(0.7, 3)))
    return replace(pair, reference=np.asarray(blurred, dtype=np.uint8))


def hide_part(rng: np.random.Generator, pair: Pair, other: Pair) -> Pair:
    """Return `pair` with a square of its reference copied from the reference of `other`.

    The side of the square is a sixth to a half of the shorter side of the picture.
    """
    height, width = pair.reference.shape[:2]
    top, left = (int(rng.integers(0, length // 2)) for length in (height, width))
    side = int(rng.integers(min(height, width) // 6, min(height, width) // 2))
    hidden = np.s_[top : top + side, left : left + side]
    reference = pair.reference.copy()
    reference[hidden] = other.reference[hidden]
    if pair.flow is None:
        return replace(pair, reference=reference)

    x, y = _find_positions(pair.flow)
    # Two pixels wider, because bicubic resampling mixes the two surfaces at the square's border
    behind = (x > left - 2) & (x < left + side + 1) & (y > top - 2) & (y < top + side + 1)
    return Pair(pair.target, reference, _mask_flow(pair.flow, behind))


def sharpen_reference(rng: np.random.Generator, pair: Pair, other: Pair) -> Pair:
    """Return `pair` with invented detail in its reference, as in generated pictures.

    The detail comes from an unsharp mask with a sigma of 0.8 to 2.2 pixels and a strength of 0.4 to
    1.8, and from noise with a standard deviation of up to 8 levels.
    """
    sigma, strength, noise = rng.uniform((0.8, 0.4, 0), (2.2, 1.8, 8))
    soft = np.asarray(cv2.GaussianBlur(pair.reference, (0, 0), sigma), np.float32)
    sharp = pair.reference + np.float32(strength) * (pair.reference - soft)
    sharp += np.float32(noise) * rng.standard_normal(sharp.shape, dtype=np.float32)
    return replace(pair, reference=np.asarray(sharp.round().clip(0, 255), np.uint8))


def replace_reference(rng: np.random.Generator, pair: Pair, other: Pair) -> Pair:
    """Return `pair` with the unrelated reference of `other`, and without flow."""
    return replace(pair, reference=other.reference, flow=None)


def displace_reference(rng: np.random.Generator, pair: Pair, other: Pair) -> Pair:
    """Return `pair` with its reference shifted by DISPLACEMENT pixels in a random direction.

    Mirrored pixels fill the uncovered rim. The flow is adjusted to the shift, and is NaN for target
    pixels that the reference no longer shows.
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
    x, y = _find_positions(flow)
    # Neither the mirrored rim nor the area outside matches the target
    first_row = max(0, by_y)
    last_row = height - 1 + min(0, by_y)
    first_col = max(0, by_x)
    last_col = width - 1 + min(0, by_x)
    outside = (x < first_col) | (x > last_col) | (y < first_row) | (y > last_row)
    return Pair(pair.target, reference, _mask_flow(flow, outside))


# Name -> function that returns a pair with a faulty reference, given a random generator, the pair,
# and another pair of the same size
FAULTS: dict[str, Callable[[np.random.Generator, Pair, Pair], Pair]] = {
    "exposure": change_exposure,
    "colour": change_colour,
    "blur": blur_reference,
    "sharpened": sharpen_reference,
    "occluder": hide_part,
    "unrelated": replace_reference,
    "displaced": displace_reference,
}


def break_reference(rng: np.random.Generator, pair: Pair, other: Pair) -> Pair:
    """Return `pair` with one of the FAULTS, all of which are equally probable."""
    return list(FAULTS.values())[int(rng.integers(len(FAULTS)))](rng, pair, other)


def _find_positions(flow: NDArray[np.float32]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Return where the reference shows each target pixel: x and y in pixels, H x W each."""
    y, x = np.mgrid[: flow.shape[0], : flow.shape[1]].astype(np.float32)
    return x + flow[..., 0], y + flow[..., 1]


def _mask_flow(flow: NDArray[np.float32], where: NDArray[np.bool_]) -> NDArray[np.float32]:
    """Return `flow` (H x W x 2) with NaN at the pixels where `where` (H x W) is True."""
    return np.asarray(np.where(where[..., None], np.float32(np.nan), flow), dtype=np.float32)
