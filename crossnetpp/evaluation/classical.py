"""Baseline without training: detail warped by DIS flow, blended in where both pictures agree.

The constants were tuned on the training split (clips crystal and elf, lytro_flowers, aloe).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import cv2
import numpy as np
import torch
from torch import Tensor

from crossnetpp.evaluation.optical_flow import estimate_flow, warp_image
from crossnetpp.evaluation.scenes import Image
from crossnetpp.networks.resample import blur_like_lr, upsample_bicubic

SIGMA = 5.0  # pixels over which agreement is averaged
TOLERANCE = 0.4  # ratio of error to local contrast at which half of the detail is borrowed
PLAIN_SIGMA = 3.0
PLAIN_TOLERANCE = 0.04


class Borrowed(NamedTuple):
    """The result and the warped reference, each H x W x 3 in 0..1 and not clamped."""

    sr: Image
    warped: Image


def enhance_classical(lr: Image, reference: Image) -> Borrowed:
    """Return `lr` (h x w x 3), enlarged, with the detail of `reference` (H x W x 3); both in 0..1.

    The flow has one vector per half LR pixel. The warped reference is blurred on the LR's pixel
    grid, so that it aliases like LR_up.
    """
    scale = reference.shape[0] // lr.shape[0]
    lr_up = _apply_to_image(upsample_bicubic, lr, scale)

    # Align
    blurred_reference = _apply_to_image(blur_like_lr, reference, scale)
    flow = estimate_flow(lr_up, blurred_reference, finest=scale.bit_length() - 2)
    warped = warp_image(reference, flow)
    unsharp = _apply_to_image(blur_like_lr, warped, scale)

    # Blend
    error = _local_mean_square(unsharp - lr_up, SIGMA)
    contrast = _local_mean_square(lr_up - _blur(lr_up, 1.5 * scale), SIGMA)
    # 1e-6 is the square of a quarter of an 8-bit level, below which differences are noise
    confidence = 1 / (1 + error / (TOLERANCE * contrast + 1e-6))
    return Borrowed(lr_up + confidence[..., None] * (warped - unsharp), warped)


def enhance_classical_plain(lr: Image, reference: Image) -> Borrowed:
    """Return the result of the simplest variant of `enhance_classical`.

    It blurs before warping, and has one tolerance for all contrasts.
    """
    scale = reference.shape[0] // lr.shape[0]
    lr_up = _apply_to_image(upsample_bicubic, lr, scale)
    unsharp = _apply_to_image(blur_like_lr, reference, scale)

    flow = estimate_flow(lr_up, unsharp)
    warped = warp_image(reference, flow)
    unsharp = warp_image(unsharp, flow)

    error = _local_mean_square(unsharp - lr_up, PLAIN_SIGMA)
    confidence = np.exp(-error / PLAIN_TOLERANCE**2)
    return Borrowed(lr_up + confidence[..., None] * (warped - unsharp), warped)


def _apply_to_image(resample: Callable[[Tensor, int], Tensor], image: Image, scale: int) -> Image:
    """Apply a function of crossnetpp.networks.resample to an H x W x 3 image."""
    planes = torch.from_numpy(image).permute(2, 0, 1)[None]
    return np.ascontiguousarray(resample(planes, scale)[0].permute(1, 2, 0).numpy())


def _blur(image: Image, sigma: float) -> Image:
    return np.asarray(cv2.GaussianBlur(image, (0, 0), sigma), np.float32)


def _local_mean_square(difference: Image, sigma: float) -> Image:
    """Return the mean of squares over the channels and a Gaussian window at each pixel, H x W."""
    return _blur(np.square(difference).mean(axis=2), sigma)
