"""Image quality: PSNR and SSIM on RGB and on luma, always with data range 1.

SSIM is Wang et al. 2004 with an 11 x 11 Gaussian window of sigma 1.5 (torchmetrics). Luma is BT.601
limited range, as the light-field literature reports it.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torchmetrics.functional.image import structural_similarity_index_measure

PSNR_OF_IDENTICAL = 100.0
"""dB reported for identical images, so that means stay finite."""

Pixels = NDArray[np.uint8] | NDArray[np.uint16]


class Quality(NamedTuple):
    """PSNR in dB and SSIM of one image against its ground truth."""

    psnr: float
    ssim: float
    psnr_y: float
    ssim_y: float


def luma_601(rgb: Tensor) -> Tensor:
    """Return N x 1 x H x W luma in 16/255..235/255 of N x 3 x H x W RGB in 0..1."""
    weights = rgb.new_tensor([65.481, 128.553, 24.966]).view(1, 3, 1, 1)
    return ((rgb * weights).sum(1, keepdim=True) + 16) / 255


def psnr(image: Tensor, truth: Tensor) -> float:
    """Return the PSNR in dB of tensors in 0..1, at most PSNR_OF_IDENTICAL."""
    error = float((image.double() - truth.double()).square().mean())
    return min(PSNR_OF_IDENTICAL, -10 * float(np.log10(max(error, 1e-30))))


def ssim(image: Tensor, truth: Tensor) -> float:
    """Return the mean SSIM of N x C x H x W tensors in 0..1."""
    value = structural_similarity_index_measure(image, truth, data_range=1.0)
    assert isinstance(value, Tensor)
    return float(value)


def _planes(image: Pixels) -> Tensor:
    limit = float(np.iinfo(image.dtype).max)
    return torch.from_numpy(image.astype(np.float32)).permute(2, 0, 1)[None] / limit


def quality(image: Pixels, truth: Pixels) -> Quality:
    """Return PSNR and SSIM of `image` against `truth`, both uint8 or uint16 H x W x 3 RGB."""
    a, b = _planes(image), _planes(truth)
    a_luma, b_luma = luma_601(a), luma_601(b)
    return Quality(psnr(a, b), ssim(a, b), psnr(a_luma, b_luma), ssim(a_luma, b_luma))
