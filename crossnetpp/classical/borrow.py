"""Borrow the detail of a reference: warp it by DIS flow, and blend it in where the pictures agree.

The constants were tuned on the training split (clips crystal and elf, lytro_flowers, aloe).
ERROR_FLOOR and WINDOW were also tuned on the clips bedroom and friday.
"""

from __future__ import annotations

from typing import NamedTuple

import cv2
import numpy as np
import torch
from torch import Tensor

from crossnetpp.classical.optical_flow import Flow, Image, estimate_flow, warp_image
from crossnetpp.networks.resample import blur_like_lr, reduce_antialiased, upsample_bicubic
from crossnetpp.networks.taps import Taps

SIGMA = 5.0  # standard deviation in pixels of the window over which agreement is averaged
TOLERANCE = 0.4  # ratio of error to local contrast at which half of the detail is borrowed
WINDOW = 9  # LR pixels over which the error of a result is averaged
ERROR_FLOOR = 0.002  # smaller errors are treated as noise


class Borrowed(NamedTuple):
    """A result and the warped reference (both H x W x 3, not clamped to 0..1)."""

    sr: Image
    warped: Image
    confidence: Image
    """Share of the reference's detail in the result, H x W in 0..1."""


def borrow_detail(
    lr: Image, reference: Image, taps: Taps | None = None, flow: Flow | None = None
) -> Borrowed:
    """Return `lr` (h x w x 3) enlarged, with the detail of a reference (H x W x 3), both in 0..1.

    `flow` (H x W x 2) warps the reference. Without it, the flow is estimated between LR_up and the
    blurred reference, with two vectors per LR pixel along each axis. The reference is blurred after
    warping, on the LR pixel grid, so that it aliases like LR_up. `taps` is the kernel that reduced
    HR to LR; None means antialiased bicubic downscaling.
    """
    scale = reference.shape[0] // lr.shape[0]
    lr_up = upsample(lr, scale)

    # Align
    if flow is None:
        blurred_reference = blur(reference, scale, taps)
        flow = estimate_flow(lr_up, blurred_reference, finest=scale.bit_length() - 2)
    warped = warp_image(reference, flow)
    unsharp = blur(warped, scale, taps)

    # Blend
    error = local_mean_square(unsharp - lr_up, SIGMA)
    contrast = local_mean_square(lr_up - _blur_evenly(lr_up, 1.5 * scale), SIGMA)
    # 1e-6 is the square of a quarter of an 8-bit level, below which differences are noise
    confidence = np.asarray(1 / (1 + error / (TOLERANCE * contrast + 1e-6)), np.float32)
    sr = lr_up + confidence[..., None] * (warped - unsharp)
    return Borrowed(sr, warped, confidence)


def weigh_result(lr: Image, result: Image, taps: Taps | None = None) -> Image:
    """Return a weight for each LR pixel (h x w): the better a result explains `lr`, the larger.

    It is the inverse of the mean squared error between `lr` and the result (H x W x 3) reduced with
    `taps`, in a window around the pixel.
    """
    scale = result.shape[0] // lr.shape[0]
    reduced = reduce_antialiased(_to_planes(result), scale, _to_tensor(taps))
    error = np.square(_to_image(reduced) - lr).mean(axis=2)
    around = np.asarray(cv2.blur(error, (WINDOW, WINDOW)), np.float32)
    return np.asarray(1 / (around + np.float32(ERROR_FLOOR**2)), np.float32)


def upsample(lr: Image, scale: int) -> Image:
    """Return `lr` (h x w x 3) upsampled bicubically."""
    return _to_image(upsample_bicubic(_to_planes(lr), scale))


def blur(image: Image, scale: int, taps: Taps | None) -> Image:
    """Return an image reduced with `taps` and upsampled again, so that it is as sharp as LR_up."""
    return _to_image(blur_like_lr(_to_planes(image), scale, _to_tensor(taps)))


def local_mean_square(difference: Image, sigma: float) -> Image:
    """Return the mean square (H x W) over all channels and a Gaussian window around each pixel."""
    return _blur_evenly(np.square(difference).mean(axis=2), sigma)


def _blur_evenly(image: Image, sigma: float) -> Image:
    return np.asarray(cv2.GaussianBlur(image, (0, 0), sigma), np.float32)


def _to_planes(image: Image) -> Tensor:
    return torch.from_numpy(np.ascontiguousarray(image)).permute(2, 0, 1)[None]


def _to_image(planes: Tensor) -> Image:
    return np.ascontiguousarray(planes[0].permute(1, 2, 0).numpy())


def _to_tensor(taps: Taps | None) -> Tensor | None:
    return None if taps is None else torch.from_numpy(taps)
