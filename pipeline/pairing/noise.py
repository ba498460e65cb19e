"""Measure the noise and grain of a reference, which must not be borrowed as detail.

Noise is contrast in the flattest areas of a reference that the LR picture does not show. Natural
texture has more contrast per pixel in the LR picture than in the reference, because contrast falls
with frequency. Noise has less contrast in the LR picture, because reduction averages it.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from pipeline.pairing.fit import Affine
from pipeline.pixels import Pixels

# Immerkaer, "Fast noise variance estimation", CVIU 64(2), 1996: this mask ignores edges and ramps.
_MASK = np.array([[1, -2, 1], [-2, 4, -2], [1, -2, 1]], np.float32)
_MASK_GAIN = math.sqrt(math.pi / 2) / 6

_BLOCK = 16  # pixels
_FLATTEST = 0.1  # quantile of the blocks' contrasts at which noise is measured
_FEWEST_BLOCKS = 12

# Photographs without noise may reach these values, in 8-bit levels (see tests/pipeline/pairing).
_LEAST_FINE = 2.0
_LEAST_COARSE = 3.0


@dataclass(frozen=True)
class Noise:
    """Standard deviations of noise in 8-bit levels, at the network's resolution."""

    fine: float
    """Standard deviation of white noise with the same contrast between neighbouring pixels."""
    coarse: float
    """Twice the standard deviation that is measured at half the size: equal to `fine` for white
    noise, and larger for grain."""


def find_step(affine: Affine | None, ref_height: int, height: int) -> float:
    """Return the distance, in reference pixels, between neighbouring pixels of the network's grid.

    `affine` maps the grid to reference pixels; None means that the reference, which has
    `ref_height` rows, is scaled to `height` rows.
    """
    return math.hypot(affine[0], affine[3]) if affine else ref_height / height


def measure_noise(ref: Pixels, step: float) -> Noise:
    """Return the contrast, from noise or texture, in the flattest areas of a reference.

    `ref` is uint8 or uint16 H x W x 3 RGB, and `step` is the result of `find_step`. A value that
    cannot be measured, because the reference is too small or too clipped, is 0.
    """
    luma = _read_luma(ref)
    if step != 1:
        size = (max(1, round(luma.shape[1] / step)), max(1, round(luma.shape[0] / step)))
        how = cv2.INTER_AREA if step > 1 else cv2.INTER_CUBIC
        luma = np.asarray(cv2.resize(luma, size, interpolation=how), np.float32)
    half = (max(1, luma.shape[1] // 2), max(1, luma.shape[0] // 2))
    reduced = np.asarray(cv2.resize(luma, half, interpolation=cv2.INTER_AREA), np.float32)
    return Noise(_measure_flattest(luma) or 0.0, 2 * (_measure_flattest(reduced) or 0.0))


def find_excess_noise(noise: Noise, lr: Pixels, scale: int) -> Noise | None:
    """Return the part of a reference's noise that the LR picture does not show.

    The result is None if that part is small, or if the LR picture is too small or too clipped to
    measure. `lr` is uint8 or uint16 h x w x 3 RGB; `scale` is the network's scale.
    """
    # most references have little noise, so the LR picture need not be measured
    if noise.fine < _LEAST_FINE and noise.coarse < _LEAST_COARSE:
        return None

    texture = _measure_flattest(_read_luma(lr))
    if texture is None:
        return None
    fine = math.sqrt(max(0.0, noise.fine**2 - texture**2))
    # at scale 2, the half-size reference has the resolution of LR, so a comparison proves nothing
    coarse = math.sqrt(max(0.0, noise.coarse**2 - (2 * texture) ** 2)) if scale > 2 else fine
    if fine < _LEAST_FINE and coarse < _LEAST_COARSE:
        return None
    return Noise(fine, max(fine, coarse))


def _read_luma(pixels: Pixels) -> NDArray[np.float32]:
    luma = cv2.cvtColor(pixels, cv2.COLOR_RGB2GRAY).astype(np.float32)
    return luma / np.float32(257) if pixels.dtype == np.uint16 else luma


def _measure_flattest(luma: NDArray[np.float32]) -> float | None:
    """Return the standard deviation of white noise that has the contrast of the flattest blocks.

    Clipped blocks are left out. The result is None if the picture has too few blocks, or if all of
    them are clipped.
    """
    response = np.abs(cv2.filter2D(luma, -1, _MASK))
    clipped = ((luma < 4) | (luma > 251)).astype(np.float32)
    rows, cols = luma.shape[0] // _BLOCK, luma.shape[1] // _BLOCK
    if rows * cols < _FEWEST_BLOCKS:
        return None

    means, shares = (
        part[: rows * _BLOCK, : cols * _BLOCK].reshape(rows, _BLOCK, cols, _BLOCK).mean(axis=(1, 3))
        for part in (response, clipped)
    )
    usable = means[shares < 0.05]
    return float(np.quantile(usable, _FLATTEST)) * _MASK_GAIN if usable.size else None
