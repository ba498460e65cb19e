"""LR to the output grid, and the reference to the LR's sharpness."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from crossnetpp.networks.kernels import Kernel, constant


def _keys(distance: NDArray[np.float64], a: float) -> NDArray[np.float64]:
    """Return the cubic convolution kernel of Keys, 1981, at `distance` (pixels)."""
    d = np.abs(distance)
    near = (a + 2) * d**3 - (a + 3) * d**2 + 1
    far = a * (d**3 - 5 * d**2 + 8 * d - 4)
    kernel: NDArray[np.float64] = np.where(d <= 1, near, np.where(d < 2, far, 0.0))
    return kernel


@lru_cache
def _phases(scale: int) -> Kernel:
    """Return scale x 5: what each part of an enlarged LR pixel takes of the 5 LR pixels around."""
    place = (np.arange(scale) + 0.5) / scale - 0.5
    taps: Kernel = _keys(place[:, None] - np.arange(-2, 3), a=-0.75).astype(np.float32)
    return taps


def bicubic(lr: Tensor, scale: int) -> Tensor:
    """Return `lr` (N x C x h x w) up-sampled `scale` times by bicubic interpolation (a = -0.75).

    Two convolutions that make all phases of a row and of a column, then a shuffle: the numbers of
    `F.interpolate` in half its time, and no engine format has to know about resizing.
    """
    batch, channels, height, width = lr.shape
    taps = constant(_phases(scale), lr)
    planes = F.pad(lr.reshape(batch * channels, 1, height, width), (2, 2, 2, 2), mode="replicate")
    planes = F.conv2d(planes, taps.view(scale, 1, 1, 5))
    # each of these to `scale` rows: phase of the row first, as pixel_shuffle wants it
    columns = taps.view(scale, 1, 5, 1).repeat(scale, 1, 1, 1)
    planes = F.conv2d(planes, columns, groups=scale)
    planes = planes.reshape(-1, scale, scale, height, width).transpose(1, 2).flatten(1, 2)
    return F.pixel_shuffle(planes, scale).reshape(batch, channels, height * scale, width * scale)


@lru_cache
def _bicubic_kernel(scale: int) -> Kernel:
    """Return the 4 scale taps of an antialiased bicubic reduction (Keys, a = -0.5), sum 1."""
    taps = _keys((np.arange(4 * scale) + 0.5) / scale - 2, a=-0.5)
    kernel: Kernel = (taps / taps.sum()).astype(np.float32)
    return kernel


def reduce_antialiased(image: Tensor, scale: int) -> Tensor:
    """Return `image` (N x C x H x W) reduced `scale` times by antialiased bicubic filtering.

    At the border the taps that lie inside are scaled to sum 1, as image libraries do: anything else
    looks like motion there. Two strided convolutions, which every engine format can express.
    """
    batch, channels, height, width = image.shape
    kernel = constant(_bicubic_kernel(scale), image)
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
