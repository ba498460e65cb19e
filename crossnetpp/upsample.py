"""LR to the output grid, and the reference to the LR's sharpness."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


def bicubic(lr: Tensor, scale: int) -> Tensor:
    """Return `lr` (N x C x h x w) up-sampled `scale` times by bicubic interpolation (a = -0.75)."""
    return F.interpolate(lr, scale_factor=float(scale), mode="bicubic", align_corners=False)


def _bicubic_kernel(scale: int) -> Tensor:
    """Return the 4 scale taps of an antialiased bicubic reduction (Keys, a = -0.5), sum 1."""
    distance = (torch.arange(4 * scale, dtype=torch.float64) + 0.5) / scale - 2
    d = distance.abs()
    near = 1.5 * d**3 - 2.5 * d**2 + 1
    far = -0.5 * d**3 + 2.5 * d**2 - 4 * d + 2
    kernel = torch.where(d <= 1, near, far)
    return (kernel / kernel.sum()).float()


def reduce_antialiased(image: Tensor, scale: int) -> Tensor:
    """Return `image` (N x C x H x W) reduced `scale` times by antialiased bicubic filtering.

    At the border the taps that lie inside are scaled to sum 1, as image libraries do: anything else
    looks like motion there. Two strided convolutions, which every engine format can express.
    """
    batch, channels, height, width = image.shape
    kernel = _bicubic_kernel(scale).to(image)
    # (4 scale taps - scale stride) / 2 on each side keep the grids centred on each other
    pad = 3 * scale // 2
    rows, columns = kernel.view(1, 1, -1, 1), kernel.view(1, 1, 1, -1)
    planes = image.reshape(batch * channels, 1, height, width)
    planes = F.conv2d(planes, rows, stride=(scale, 1), padding=(pad, 0))
    planes = F.conv2d(planes, columns, stride=(1, scale), padding=(0, pad))
    tall = F.conv2d(image.new_ones(1, 1, height, 1), rows, stride=(scale, 1), padding=(pad, 0))
    wide = F.conv2d(image.new_ones(1, 1, 1, width), columns, stride=(1, scale), padding=(0, pad))
    planes = planes / (tall * wide)
    return planes.reshape(batch, channels, height // scale, width // scale)


def as_unsharp(image: Tensor, scale: int) -> Tensor:
    """Return `image` (N x C x H x W) as unsharp as LR_up: reduced `scale` times and brought back.

    LR pixels alias, so this has to be done on the LR's own grid: of the warped image, not before.
    """
    return bicubic(reduce_antialiased(image, scale), scale)
