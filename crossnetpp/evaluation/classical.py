"""The baseline without training: DIS flow, warped detail, blended where both pictures agree.

Its constants were chosen on the training split (clips crystal and elf, lytro_flowers, aloe).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import cv2
import numpy as np
import torch
from torch import Tensor

from crossnetpp.evaluation.optical_flow import dis_flow, sample
from crossnetpp.evaluation.scenes import Image
from crossnetpp.networks.resample import as_unsharp, bicubic

SIGMA = 5.0
"""Pixels over which agreement is judged."""
TOLERANCE = 0.4
"""Share of the local contrast by which the two may differ until half of the detail is borrowed."""
PLAIN_SIGMA, PLAIN_TOLERANCE = 3.0, 0.04


class Borrowed(NamedTuple):
    """Images H x W x 3 in 0..1, not clamped."""

    sr: Image
    warped: Image


def classical(lr: Image, reference: Image) -> Borrowed:
    """Return `lr` (h x w x 3) with the detail of `reference` (H x W x 3), both in 0..1.

    Flow is searched no finer than twice the LR's pixels hold. The warped reference is made unsharp
    through the LR's own pixel grid, so that both alias alike.
    """
    scale = reference.shape[0] // lr.shape[0]
    lr_up = _on(lr, bicubic, scale)
    flow = dis_flow(lr_up, _on(reference, as_unsharp, scale), finest=scale.bit_length() - 2)
    warped = sample(reference, flow)
    unsharp = _on(warped, as_unsharp, scale)
    error = _local_mean_square(unsharp - lr_up, SIGMA)
    contrast = _local_mean_square(lr_up - _blurred(lr_up, 1.5 * scale), SIGMA)
    # 1e-6 is a quarter of an 8-bit level: below that nothing is known
    confidence = 1 / (1 + error / (TOLERANCE * contrast + 1e-6))
    return Borrowed(lr_up + confidence[..., None] * (warped - unsharp), warped)


def classical_plain(lr: Image, reference: Image) -> Borrowed:
    """Return the same by the plainest means: unsharp before it is warped, one tolerance for all."""
    scale = reference.shape[0] // lr.shape[0]
    lr_up, unsharp = _on(lr, bicubic, scale), _on(reference, as_unsharp, scale)
    flow = dis_flow(lr_up, unsharp)
    warped, unsharp = sample(reference, flow), sample(unsharp, flow)
    error = _local_mean_square(unsharp - lr_up, PLAIN_SIGMA)
    confidence = np.exp(-error / PLAIN_TOLERANCE**2)
    return Borrowed(lr_up + confidence[..., None] * (warped - unsharp), warped)


def _on(image: Image, resample: Callable[[Tensor, int], Tensor], scale: int) -> Image:
    """Return what a function of upsample.py makes of an H x W x 3 image."""
    planes = torch.from_numpy(image).permute(2, 0, 1)[None]
    return np.ascontiguousarray(resample(planes, scale)[0].permute(1, 2, 0).numpy())


def _blurred(image: Image, sigma: float) -> Image:
    return np.asarray(cv2.GaussianBlur(image, (0, 0), sigma), np.float32)


def _local_mean_square(difference: Image, sigma: float) -> Image:
    """Return H x W means over the channels and a Gaussian window of H x W x 3 squares."""
    return _blurred(np.square(difference).mean(axis=2), sigma)
