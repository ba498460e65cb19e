"""Bringing a reference onto the output grid and to the LR frame's colours."""

from __future__ import annotations

from typing import cast

import cv2
import numpy as np
from numpy.typing import NDArray

Pixels = NDArray[np.uint8] | NDArray[np.uint16]
Affine = tuple[float, float, float, float, float, float]

PATCH = (64, 36)
"""Width and height of the small pictures whose colours are compared."""
LEAST_AGREEMENT = 0.7
"""Correlation of the small pictures below which colours cannot be compared."""
LEAST_GAIN = 0.08
LEAST_SHIFT = 5 / 255
"""Mismatch of contrast or of brightness (full scale = 1) below which a reference is left as it is:
motion alone makes this much."""


def prepare_reference(
    ref: Pixels,
    lr: Pixels,
    height: int,
    width: int,
    *,
    affine: Affine | None = None,
    match_colour: bool = True,
) -> Pixels:
    """Return `ref` (H' x W' x 3 RGB) as height x width x 3 in the depth and colours of `lr`.

    `affine` maps output pixels to reference pixels; where that leaves the reference, the result is
    the up-sampled `lr`, so that nothing false can be borrowed. A reference that fits already is
    returned as it is.
    """
    ref = _same_depth(ref, lr)
    fitted = _fit(ref, lr, height, width, affine)
    return _match_colour(fitted, lr) if match_colour else fitted


def _same_depth(ref: Pixels, lr: Pixels) -> Pixels:
    if ref.dtype == lr.dtype:
        return ref
    if lr.dtype == np.uint16:
        return ref.astype(np.uint16) * 257
    return np.asarray((ref.astype(np.uint32) + 128) // 257, dtype=np.uint8)


def _fit(ref: Pixels, lr: Pixels, height: int, width: int, affine: Affine | None) -> Pixels:
    if affine is None:
        if ref.shape[:2] == (height, width):
            return ref
        shrinks = ref.shape[0] >= height and ref.shape[1] >= width
        how = cv2.INTER_AREA if shrinks else cv2.INTER_CUBIC
        return _pixels(cv2.resize(ref, (width, height), interpolation=how), ref)
    matrix = np.asarray(affine, dtype=np.float64).reshape(2, 3)
    step = float(np.hypot(matrix[0, 0], matrix[1, 0]))
    if step > 1.5:
        # the output is coarser than the reference: reduce first, or fine detail turns into noise
        size = (round(ref.shape[1] / step), round(ref.shape[0] / step))
        scaling = np.diag([size[0] / ref.shape[1], size[1] / ref.shape[0]])
        centre = matrix @ [0, 0, 1] + 0.5
        ref = _pixels(cv2.resize(ref, size, interpolation=cv2.INTER_AREA), ref)
        matrix = np.column_stack((scaling @ matrix[:, :2], scaling @ centre - 0.5))
    flags = cv2.INTER_CUBIC | cv2.WARP_INVERSE_MAP
    size = (width, height)
    moved = _pixels(cv2.warpAffine(ref, matrix, size, flags=flags), ref)
    whole = np.full(ref.shape[:2], 255, np.uint8)
    covered = np.asarray(cv2.warpAffine(whole, matrix, size, flags=flags) >= 250, np.uint8)
    seen = np.asarray(cv2.erode(covered, np.ones((5, 5), np.uint8)))
    plain = _pixels(cv2.resize(lr, size, interpolation=cv2.INTER_CUBIC), ref)
    return _pixels(np.where(seen[..., None] > 0, moved, plain), ref)


def _pixels(array: object, like: Pixels) -> Pixels:
    return cast(Pixels, np.asarray(array, dtype=like.dtype))


def _match_colour(ref: Pixels, lr: Pixels) -> Pixels:
    """Give each channel of `ref` the mean and contrast of `lr`, if they differ by more than motion.

    Compared are small pictures, in which motion hardly counts; when they do not show the same
    scene nothing is changed.
    """
    limit = float(np.iinfo(ref.dtype).max)
    small_ref, small_lr = (
        np.asarray(cv2.resize(image, PATCH, interpolation=cv2.INTER_AREA), np.float64) / limit
        for image in (ref, lr)
    )
    gains, shifts = [], []
    for channel in range(3):
        a, b = small_ref[..., channel], small_lr[..., channel]
        spread = float(a.std() * b.std())
        if (
            spread < 1e-5
            or float(((a - a.mean()) * (b - b.mean())).mean()) / spread < LEAST_AGREEMENT
        ):
            return ref
        gain = float(np.clip(b.std() / a.std(), 0.25, 4))
        gains.append(gain)
        shifts.append(float(b.mean() - gain * a.mean()))
    brightness = np.abs(small_lr.mean((0, 1)) - small_ref.mean((0, 1))).max()
    if np.abs(np.log(gains)).max() < LEAST_GAIN and brightness < LEAST_SHIFT:
        return ref
    gain_of, shift_of = (np.asarray(values, np.float32) for values in (gains, shifts))
    matched = np.asarray(ref, np.float32) * gain_of + shift_of * np.float32(limit)
    return _pixels(np.clip(matched + 0.5, 0, limit), ref)
