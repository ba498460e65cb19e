"""Remove ghosts, which the LR frame contradicts, and references' noise from borrowed detail."""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache

import cv2
import numpy as np
from numpy.typing import NDArray

from pipeline.pairing.noise import Noise
from pipeline.pairing.upsample import upsample
from pipeline.pixels import Pixels, as_pixels

# Standard deviations, in pixels, of the Gaussians that separate the bands of detail.
_SIGMAS = (0.8, 1.6, 3.2)
_WINDOW = (7, 7)  # pixels; size of the windows in which the energy of a band is measured
_TINY = 1e-6

# An LR frame is uniform around a pixel if no channel varies by more than one 8-bit level within
# 15 x 15 LR pixels. Compressed recordings of real scenes have few such areas, and those have little
# detail.
_UNIFORM_LEVELS = 1.0
_UNIFORM_SIDE = 15
_GHOST_SIDE = 7  # LR pixels; side of the windows in which energies are compared
_ROUNDING = 0.35  # energy of the rounding errors of a reduced frame, in squared 8-bit levels
# Share of a ghost's energy that remains when it is reduced to the LR size: the lowest share that
# was measured with unrelated photographs, text, stripes and noise at x2, x4 and x8.
_REDUCED_SHARE = 0.015

Detail = NDArray[np.float32]


def remove_noise(sr: Pixels, plain: Pixels, noise: Noise) -> Pixels:
    """Return `sr` with each band of its detail reduced by the share that noise explains.

    `sr` and `plain` (the bicubic up-sampling of the same frame) are uint8 or uint16 H x W x 3 RGB.
    Each band is multiplied by a Wiener filter's factor, 1 - noise / energy, in windows of 7 x 7
    pixels. Edges that are stronger than the noise remain; where there is only noise, the result is
    `plain`.
    """
    top = float(np.iinfo(sr.dtype).max)
    detail = sr.astype(np.float32) - plain.astype(np.float32)

    kept = np.zeros_like(detail)
    for number, (band, gain) in enumerate(zip(_split_bands(detail), _band_gains(), strict=True)):
        level = (noise.fine if number == 0 else noise.coarse) * top / 255
        energy = cv2.blur(np.mean(band * band, axis=2), _WINDOW)
        share = 1 - level * level * gain / np.maximum(energy, _TINY)
        kept += band * np.maximum(share, 0)[..., None].astype(np.float32)

    return as_pixels(np.clip(np.rint(plain + kept), 0, top).astype(sr.dtype))


def remove_ghosts(sr: Pixels, lr: Pixels) -> Pixels:
    """Return `sr` without the detail that contradicts uniform areas of the LR frame.

    `sr` (H x W) and `lr` (h x w) are uint8 or uint16 RGB. Where the LR frame is uniform, true
    detail, such as a fine texture, leaves no trace when it is reduced. Detail that does leave a
    trace there is a ghost: it comes from something that the LR frame does not show. By chance, a
    ghost may leave none on the LR grid, so grids shifted by half an LR pixel count, too. The
    detail is multiplied by 1 - ghosts / detail, where both are energies in windows of 7 x 7 LR
    pixels. A ghost is assumed to have 1 / 0.015 times the energy of its trace. Other parts of the
    frame remain unchanged.
    """
    level = float(np.iinfo(sr.dtype).max) / 255
    uniform = _find_uniform(lr, level)
    if not uniform.any():
        return sr

    height, width = lr.shape[:2]
    plain = upsample(lr, *sr.shape[:2])
    detail = sr.astype(np.float32) - plain
    reduced = cv2.resize(sr.astype(np.float32), (width, height), interpolation=cv2.INTER_AREA)
    traces = _measure_energy((reduced - lr) / level)
    for shifted in _reduce_on_shifted_grids(detail, width, height):
        traces = np.maximum(traces, _measure_energy(shifted / level))
    squared = cv2.resize((detail / level) ** 2, (width, height), interpolation=cv2.INTER_AREA)
    energy = cv2.blur(squared.mean(axis=2), (_GHOST_SIDE, _GHOST_SIDE))

    ghosts = np.maximum(traces - _ROUNDING, 0) / _REDUCED_SHARE
    share = np.clip(1 - ghosts / np.maximum(energy, _TINY), 0, 1)
    factor = np.where(uniform, share, 1).astype(np.float32)
    if factor.min() == 1:
        return sr

    large = cv2.resize(factor, sr.shape[1::-1], interpolation=cv2.INTER_LINEAR)[..., None]
    top = np.iinfo(sr.dtype).max
    return as_pixels(np.clip(np.rint(plain + detail * large), 0, top).astype(sr.dtype))


def _find_uniform(lr: Pixels, level: float) -> NDArray[np.bool_]:
    """Return a mask (h x w) of the pixels around which a frame is uniform.

    `level` is the size of an 8-bit level in units of the frame's data type.
    """
    window = np.ones((_UNIFORM_SIDE, _UNIFORM_SIDE), np.uint8)
    span = cv2.dilate(lr, window).astype(np.int32) - cv2.erode(lr, window)
    uniform: NDArray[np.bool_] = span.max(axis=2) <= _UNIFORM_LEVELS * level
    return uniform


def _reduce_on_shifted_grids(detail: Detail, width: int, height: int) -> Iterator[Detail]:
    """Yield `detail` reduced to LR size on grids shifted by half an LR pixel in x, y and both."""
    rows, cols = detail.shape[:2]
    down, right = rows // height // 2, cols // width // 2
    padded = cv2.copyMakeBorder(detail, 0, down, 0, right, cv2.BORDER_REFLECT_101)
    for top, left in ((0, right), (down, 0), (down, right)):
        shifted = padded[top : top + rows, left : left + cols]
        yield np.asarray(cv2.resize(shifted, (width, height), interpolation=cv2.INTER_AREA))


def _measure_energy(difference: Detail) -> Detail:
    """Return the mean square (h x w) of an h x w x 3 difference in the window around each pixel."""
    squared = np.mean(difference * difference, axis=2)
    return np.asarray(cv2.blur(squared, (_GHOST_SIDE, _GHOST_SIDE)), np.float32)


def _split_bands(detail: Detail) -> Iterator[Detail]:
    """Yield the frequency bands of a picture from fine to coarse; their sum is the picture."""
    finer = detail
    for sigma in _SIGMAS:
        coarser = np.asarray(cv2.GaussianBlur(detail, (0, 0), sigma), np.float32)
        yield finer - coarser
        finer = coarser
    yield finer


@lru_cache(maxsize=1)
def _band_gains() -> tuple[float, ...]:
    """Return the variance in each band of white noise with a variance of 1."""
    impulse = np.zeros((65, 65), np.float32)
    impulse[32, 32] = 1
    return tuple(float(np.square(band).sum()) for band in _split_bands(impulse))
