"""LR to the output grid, and the reference to the LR's sharpness."""

from __future__ import annotations

from functools import lru_cache

import torch
import torch.nn.functional as F
from torch import Tensor


def _keys(distance: Tensor, a: float) -> Tensor:
    """Return the cubic convolution kernel of Keys, 1981, at `distance` (pixels)."""
    d = distance.abs()
    near = (a + 2) * d**3 - (a + 3) * d**2 + 1
    far = a * (d**3 - 5 * d**2 + 8 * d - 4)
    return torch.where(d <= 1, near, torch.where(d < 2, far, torch.zeros_like(d)))


@lru_cache
def _phases(scale: int) -> Tensor:
    """Return scale^2 x 1 x 5 x 5: what each pixel of an enlarged LR pixel takes of 5 x 5 around."""
    place = (torch.arange(scale, dtype=torch.float64) + 0.5) / scale - 0.5
    taps = _keys(place[:, None] - torch.arange(-2, 3), a=-0.75)
    return torch.einsum("ik,jl->ijkl", taps, taps).reshape(-1, 1, 5, 5).float()


def bicubic(lr: Tensor, scale: int) -> Tensor:
    """Return `lr` (N x C x h x w) up-sampled `scale` times by bicubic interpolation (a = -0.75).

    A convolution that makes all phases of the output, then a shuffle: the same numbers as
    `F.interpolate` in a third of the time, and no engine format has to know about resizing.
    """
    batch, channels, height, width = lr.shape
    planes = F.pad(lr.reshape(batch * channels, 1, height, width), (2, 2, 2, 2), mode="replicate")
    planes = F.pixel_shuffle(F.conv2d(planes, _phases(scale).to(lr)), scale)
    return planes.reshape(batch, channels, height * scale, width * scale)


@lru_cache
def _bicubic_kernel(scale: int) -> Tensor:
    """Return the 4 scale taps of an antialiased bicubic reduction (Keys, a = -0.5), sum 1."""
    kernel = _keys((torch.arange(4 * scale, dtype=torch.float64) + 0.5) / scale - 2, a=-0.5)
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
