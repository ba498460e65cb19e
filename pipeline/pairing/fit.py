"""Fit a reference to the network's pixel grid, bit depth and colours."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from pipeline.pixels import Pixels, as_pixels, match_depth

Affine = tuple[float, float, float, float, float, float]

PATCH = (64, 36)  # width and height at which the colours of pictures are compared
# Correlation of the reduced pictures below which colours cannot be compared.
LEAST_AGREEMENT = 0.7
LEAST_SEEN = 64  # minimum number of pixels of the reduced picture that the reference must cover
LEAST_SHARE = 250  # of 255; mean of the mask above which a row or column counts as covered
# A reference stays unchanged if its contrast differs by less than LEAST_GAIN (natural logarithm)
# and its brightness by less than LEAST_SHIFT (of full scale), because motion alone can cause that.
LEAST_GAIN = 0.08
LEAST_SHIFT = 5 / 255


def prepare_reference(
    ref: Pixels,
    lr: Pixels,
    height: int,
    width: int,
    *,
    affine: Affine | None = None,
    match_colour: bool = True,
) -> Pixels:
    """Return `ref` (H' x W' x 3 RGB) as height x width x 3 with the bit depth and colours of `lr`.

    `affine` maps pixels of the result to reference pixels; None scales the reference. Where a pixel
    maps outside the reference, the result is the up-sampled `lr`, so that no false detail can be
    borrowed. A reference that already fits is returned unchanged. Colours are matched only if
    `match_colour` is true and the pictures show the same scene.
    """
    fitted, seen = fit_to_grid(match_depth(ref, lr), height, width, affine)
    if match_colour:
        fitted = _match_colour(fitted, lr, seen)
    if seen is None:
        return fitted
    plain = cv2.resize(lr, (width, height), interpolation=cv2.INTER_CUBIC)
    return _cast_pixels(np.where(seen[..., None] > 0, fitted, plain), fitted)


def fit_to_grid(
    ref: Pixels, height: int, width: int, affine: Affine | None
) -> tuple[Pixels, NDArray[np.uint8] | None]:
    """Return a reference (H' x W' x 3) on a height x width grid, and a mask of what it covers.

    `affine` maps pixels of the grid to reference pixels; None scales the reference to the grid. The
    mask (height x width) is 255 inside the reference, except for a border of 2 pixels, and 0
    elsewhere. It is None if the reference covers the whole grid.
    """
    if affine is None:
        if ref.shape[:2] == (height, width):
            return ref, None
        shrinks = ref.shape[0] >= height and ref.shape[1] >= width
        how = cv2.INTER_AREA if shrinks else cv2.INTER_CUBIC
        return _cast_pixels(cv2.resize(ref, (width, height), interpolation=how), ref), None

    matrix = np.asarray(affine, dtype=np.float64).reshape(2, 3)
    step = float(np.hypot(matrix[0, 0], matrix[1, 0]))
    source = ref
    if step > 1.5:
        # the grid is coarser than the reference, so reduce first, or fine detail would alias
        size = (round(ref.shape[1] / step), round(ref.shape[0] / step))
        scaling = np.diag([size[0] / ref.shape[1], size[1] / ref.shape[0]])
        source = _cast_pixels(cv2.resize(ref, size, interpolation=cv2.INTER_AREA), ref)
        # half-pixel centres: the centre of pixel (0, 0) is half a pixel inside the grid
        matrix = np.column_stack((scaling @ matrix[:, :2], scaling @ (matrix[:, 2] + 0.5) - 0.5))

    flags = cv2.INTER_CUBIC | cv2.WARP_INVERSE_MAP
    size = (width, height)
    moved = _cast_pixels(cv2.warpAffine(source, matrix, size, flags=flags), ref)
    inside = np.full(source.shape[:2], 255, np.uint8)
    seen = np.asarray(cv2.warpAffine(inside, matrix, size, flags=flags) >= 250, np.uint8)
    if seen.all():
        return moved, None
    return moved, np.asarray(cv2.erode(seen, np.ones((5, 5), np.uint8)) * 255, np.uint8)


def find_seen_part(
    seen: NDArray[np.uint8] | None, size: tuple[int, int]
) -> tuple[int, int, int, int] | None:
    """Return (top, left, bottom, right) of the part of a grid that a reference covers.

    Bottom and right are exclusive. `seen` is the mask from `fit_to_grid`, and `size` is the height
    and width of the grid. The result is None if no row or no column is covered.
    """
    if seen is None:
        return 0, 0, *size
    rows, columns = (np.flatnonzero(seen.mean(axis=axis) > LEAST_SHARE) for axis in (1, 0))
    if not len(rows) or not len(columns):
        return None
    return int(rows[0]), int(columns[0]), int(rows[-1]) + 1, int(columns[-1]) + 1


def _cast_pixels(array: object, like: Pixels) -> Pixels:
    return as_pixels(np.asarray(array, dtype=like.dtype))


def _match_colour(ref: Pixels, lr: Pixels, seen: NDArray[np.uint8] | None) -> Pixels:
    """Return `ref` with the mean and contrast of `lr` in each channel.

    The pictures are compared where `seen` is set, at a size so small that motion hardly matters. If
    they overlap too little, do not show the same scene, or differ no more than motion explains,
    `ref` is returned unchanged.
    """
    limit = float(np.iinfo(ref.dtype).max)
    small_ref, small_lr = (_shrink(image, limit) for image in (ref, lr))
    if seen is not None:
        whole = _shrink(seen, 255.0) > 0.99
        if whole.sum() < LEAST_SEEN:
            return ref
        small_ref, small_lr = small_ref[whole], small_lr[whole]
    lines = [_fit_line(small_ref[..., c].ravel(), small_lr[..., c].ravel()) for c in range(3)]
    if any(line is None for line in lines):
        return ref
    gains, shifts, brightness = np.array([line for line in lines if line is not None]).T
    if np.abs(np.log(gains)).max() < LEAST_GAIN and np.abs(brightness).max() < LEAST_SHIFT:
        return ref
    levels = np.arange(limit + 1)[:, None] * gains + shifts * limit
    table = np.clip(levels + 0.5, 0, limit).astype(ref.dtype)
    if ref.dtype == np.uint8:
        return _cast_pixels(cv2.LUT(ref, table[None]), ref)
    return _cast_pixels(np.stack([table[:, c][ref[..., c]] for c in range(3)], axis=-1), ref)


def _shrink(image: Pixels, limit: float) -> NDArray[np.float64]:
    small = cv2.resize(image, PATCH, interpolation=cv2.INTER_AREA)
    return np.asarray(small, np.float64) / limit


def _fit_line(
    ref: NDArray[np.float64], lr: NDArray[np.float64]
) -> tuple[float, float, float] | None:
    """Return (gain, shift, difference of means) from `ref` to `lr`; None if they correlate weakly.

    The gain is limited to 0.25..4. The fit is repeated twice, each time without the fifth of the
    pixels that fitted worst, where something probably moved.
    """
    spread = float(ref.std() * lr.std())
    if spread < 1e-5 or float(((ref - ref.mean()) * (lr - lr.mean())).mean()) < (
        LEAST_AGREEMENT * spread
    ):
        return None
    for _ in range(2):
        gain = float(np.clip(lr.std() / max(float(ref.std()), 1e-6), 0.25, 4))
        shift = float(lr.mean() - gain * ref.mean())
        misfit = np.abs(gain * ref + shift - lr)
        fits = misfit <= np.quantile(misfit, 0.8)
        kept_ref, kept_lr = ref[fits], lr[fits]
        if kept_ref.std() * kept_lr.std() < 1e-5:
            break
        ref, lr = kept_ref, kept_lr
    gain = float(np.clip(lr.std() / max(float(ref.std()), 1e-6), 0.25, 4))
    return gain, float(lr.mean() - gain * ref.mean()), float(lr.mean() - ref.mean())
