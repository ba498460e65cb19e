"""Remove the noise of a reference from the detail that was borrowed from it."""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache

import cv2
import numpy as np
from numpy.typing import NDArray

from pipeline.pairing.noise import Noise
from pipeline.pixels import Pixels, as_pixels

# Standard deviations in pixels of the Gaussians that separate the bands of detail.
_SIGMAS = (0.8, 1.6, 3.2)
_WINDOW = (7, 7)  # pixels; size of the windows in which the energy of a band is measured
_TINY = 1e-6

Detail = NDArray[np.float32]


def remove_noise(sr: Pixels, plain: Pixels, noise: Noise) -> Pixels:
    """Return `sr` with each band of its detail reduced by the share that noise explains.

    `sr`, and `plain`, the same frame without a reference, are uint8 or uint16 H x W x 3 RGB. The
    factor is Wiener's, 1 - noise / energy, in windows of 7 x 7 pixels. Edges that are stronger than
    the noise remain; where there is only noise, the result is the plain frame.
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


def _split_bands(detail: Detail) -> Iterator[Detail]:
    """Yield the bands of a picture, from fine to coarse, whose sum is the picture."""
    finer = detail
    for sigma in _SIGMAS:
        coarser = np.asarray(cv2.GaussianBlur(detail, (0, 0), sigma), np.float32)
        yield finer - coarser
        finer = coarser
    yield finer


@lru_cache(maxsize=1)
def _band_gains() -> tuple[float, ...]:
    """Return the energy that white noise of unit energy has in each band."""
    impulse = np.zeros((65, 65), np.float32)
    impulse[32, 32] = 1
    return tuple(float(np.square(band).sum()) for band in _split_bands(impulse))
