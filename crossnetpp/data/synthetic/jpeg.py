"""JPEG compression of tensors, which simulates only the loss by quantisation and encodes no bytes.

The quantisation tables are those of ISO/IEC 10918-1, annex K, scaled by quality as in libjpeg.
"""

from __future__ import annotations

import math

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

BLOCK = 8

_LUMA = np.array(
    (
        (16, 11, 10, 16, 24, 40, 51, 61),
        (12, 12, 14, 19, 26, 58, 60, 55),
        (14, 13, 16, 24, 40, 57, 69, 56),
        (14, 17, 22, 29, 51, 87, 80, 62),
        (18, 22, 37, 56, 68, 109, 103, 77),
        (24, 35, 55, 64, 81, 104, 113, 92),
        (49, 64, 78, 87, 103, 121, 120, 101),
        (72, 92, 95, 98, 112, 100, 103, 99),
    ),
    np.float64,
)
_CHROMA = np.full((BLOCK, BLOCK), 99.0)
_CHROMA[:4, :4] = ((17, 18, 24, 47), (18, 21, 26, 66), (24, 26, 56, 99), (47, 66, 99, 99))

# BT.601, full range: rows Y, Cb, Cr
_TO_YCC = np.array(
    (
        (0.299, 0.587, 0.114),
        (-0.168735892, -0.331264108, 0.5),
        (0.5, -0.418687589, -0.081312411),
    )
)


def compress_jpeg(images: Tensor, qualities: Tensor) -> Tensor:
    """Return `images` (N x 3 x H x W in 0..1) after JPEG compression with 4:2:0 chroma.

    `qualities` (N) are libjpeg's, 1..100. For the compression, the images are padded by replication
    to multiples of 16 pixels.
    """
    height, width = images.shape[-2:]
    pad = (0, -width % (2 * BLOCK), 0, -height % (2 * BLOCK))
    levels = F.pad(images * 255, pad, mode="replicate").round()
    to_ycc = images.new_tensor(_TO_YCC)
    ycc = torch.einsum("ij,njhw->nihw", to_ycc, levels)

    luma = _quantise(ycc[:, :1] - 128, _scale_tables(_LUMA, qualities)) + 128
    small = _quantise(F.avg_pool2d(ycc[:, 1:], 2), _scale_tables(_CHROMA, qualities))
    chroma = F.interpolate(small, scale_factor=2.0, mode="bilinear", align_corners=False)

    whole = torch.cat((luma, chroma), dim=1)
    rgb = torch.einsum("ij,njhw->nihw", torch.linalg.inv(to_ycc), whole)
    return rgb[..., :height, :width].round().clamp(0, 255).div(255)


def _scale_tables(table: NDArray[np.float64], qualities: Tensor) -> Tensor:
    """Return the quantisation steps for each quality, N x 8 x 8."""
    percent = torch.where(qualities < 50, 5000 / qualities, 200 - 2 * qualities)
    steps = (qualities.new_tensor(table) * percent.view(-1, 1, 1) + 50) / 100
    return steps.floor().clamp(1, 255)


def _quantise(planes: Tensor, steps: Tensor) -> Tensor:
    """Return `planes` (N x C x H x W levels) after quantisation of each block's cosine transform.

    `steps` (N x 8 x 8) are the quantisation steps.
    """
    batch, channels, height, width = planes.shape
    transform = planes.new_tensor(_make_cosine_transform())
    blocks = planes.view(batch, channels, height // BLOCK, BLOCK, width // BLOCK, BLOCK)
    coefficients = torch.einsum("ui,nchiwj,vj->nchwuv", transform, blocks, transform)
    steps = steps.view(batch, 1, 1, 1, BLOCK, BLOCK)
    rounded = (coefficients / steps).round() * steps
    restored = torch.einsum("ui,nchwuv,vj->nchiwj", transform, rounded, transform)
    return restored.reshape(planes.shape)


def _make_cosine_transform() -> NDArray[np.float64]:
    """Return the matrix of the orthonormal cosine transform of 8 values, 8 x 8."""
    frequency, place = np.mgrid[:BLOCK, :BLOCK]
    waves = np.cos((2 * place + 1) * frequency * math.pi / (2 * BLOCK)) * math.sqrt(2 / BLOCK)
    waves[0] /= math.sqrt(2)
    return np.asarray(waves)
