"""Image quality: PSNR and SSIM of RGB and luma, with data range 1.

SSIM follows Wang et al. 2004: it uses an 11 x 11 Gaussian window with a sigma of 1.5, and is
averaged over the windows that are completely inside the image. Luma is BT.601 in limited range, as
in the light-field literature.
"""

from __future__ import annotations

from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

PSNR_OF_IDENTICAL = 100.0  # PSNR in dB of identical images, so that means stay finite
_WINDOW = 11
_LUMA_601 = np.array([65.481, 128.553, 24.966], np.float32) / 255

Pixels = NDArray[np.uint8] | NDArray[np.uint16]
Plane = NDArray[np.float32]


class Quality(NamedTuple):
    """PSNR in dB and SSIM of an image against its ground truth."""

    psnr: float
    ssim: float
    psnr_y: float
    ssim_y: float


def rgb_to_luma_601(rgb: Plane) -> Plane:
    """Return the BT.601 luma (H x W in 16/255..235/255) of `rgb` (H x W x 3 in 0..1)."""
    return np.asarray(rgb @ _LUMA_601 + np.float32(16 / 255), dtype=np.float32)


def psnr(image: Plane, truth: Plane) -> float:
    """Return the PSNR in dB between two arrays in 0..1, at most PSNR_OF_IDENTICAL."""
    error = float(np.mean(np.square(image - truth), dtype=np.float64))
    return min(PSNR_OF_IDENTICAL, -10 * float(np.log10(max(error, 1e-30))))


def ssim(image: Plane, truth: Plane) -> float:
    """Return the mean SSIM between two H x W or H x W x C arrays in 0..1.

    H and W are at least 11. The blurs are separable, which makes them faster on a CPU than the
    convolutions of torchmetrics.
    """
    half = _WINDOW // 2

    def mean(plane: Plane) -> Plane:
        blurred = np.asarray(cv2.GaussianBlur(plane, (_WINDOW, _WINDOW), 1.5), np.float32)
        return blurred[half:-half, half:-half]

    mu_x = mean(image)
    mu_y = mean(truth)
    xx = mu_x * mu_x
    yy = mu_y * mu_y
    xy = mu_x * mu_y

    var_x = mean(image * image) - xx
    var_y = mean(truth * truth) - yy
    covariance = mean(image * truth) - xy

    c1 = np.float32(0.01**2)
    c2 = np.float32(0.03**2)
    index = (2 * xy + c1) * (2 * covariance + c2) / ((xx + yy + c1) * (var_x + var_y + c2))
    return float(index.mean(dtype=np.float64))


def _to_plane(image: Pixels) -> Plane:
    """Return integer pixels as float32 in 0..1."""
    return np.asarray(image, np.float32) / np.float32(np.iinfo(image.dtype).max)


def measure_quality(image: Pixels, truth: Pixels) -> Quality:
    """Return PSNR and SSIM of `image` against `truth`, both uint8 or uint16 H x W x 3 RGB."""
    a = _to_plane(image)
    b = _to_plane(truth)
    a_luma = rgb_to_luma_601(a)
    b_luma = rgb_to_luma_601(b)
    return Quality(psnr(a, b), ssim(a, b), psnr(a_luma, b_luma), ssim(a_luma, b_luma))
