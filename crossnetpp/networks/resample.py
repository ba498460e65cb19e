"""Resampling between the LR grid and the output grid, with convolutions alone."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from crossnetpp.networks.kernels import Kernel, constant_like


def _evaluate_keys(distance: NDArray[np.float64], a: float) -> NDArray[np.float64]:
    """Return the cubic convolution kernel of Keys, 1981, at `distance` (pixels)."""
    d = np.abs(distance)
    near = (a + 2) * d**3 - (a + 3) * d**2 + 1
    far = a * (d**3 - 5 * d**2 + 8 * d - 4)
    kernel: NDArray[np.float64] = np.where(d <= 1, near, np.where(d < 2, far, 0.0))
    return kernel


@lru_cache
def _make_upsampling_taps(scale: int) -> Kernel:
    """Return the weights of the 5 nearest LR pixels for each of the `scale` phases, scale x 5."""
    position = (np.arange(scale) + 0.5) / scale - 0.5
    distance = position[:, None] - np.arange(-2, 3)
    taps: Kernel = _evaluate_keys(distance, a=-0.75).astype(np.float32)
    return taps


def upsample_bicubic(lr: Tensor, scale: int) -> Tensor:
    """Return `lr` (N x C x h x w) upsampled `scale` times by bicubic interpolation (a = -0.75).

    Two convolutions compute all phases along columns and rows, and a shuffle interleaves them. The
    result equals that of `F.interpolate`, and exported graphs need no resize operation.
    """
    batch, channels, height, width = lr.shape
    taps = constant_like(_make_upsampling_taps(scale), lr)
    planes = F.pad(lr.reshape(batch * channels, 1, height, width), (2, 2, 2, 2), mode="replicate")
    planes = F.conv2d(planes, taps.view(scale, 1, 1, 5))

    # Each column phase becomes `scale` rows; pixel_shuffle expects the row phase first
    columns = taps.view(scale, 1, 5, 1).repeat(scale, 1, 1, 1)
    planes = F.conv2d(planes, columns, groups=scale)
    planes = planes.reshape(-1, scale, scale, height, width).transpose(1, 2).flatten(1, 2)
    return F.pixel_shuffle(planes, scale).reshape(batch, channels, height * scale, width * scale)


@lru_cache
def _make_reduction_kernel(scale: int) -> Kernel:
    """Return the 4 x scale taps, of sum 1, of an antialiased bicubic reduction (Keys, a = -0.5)."""
    taps = _evaluate_keys((np.arange(4 * scale) + 0.5) / scale - 2, a=-0.5)
    kernel: Kernel = (taps / taps.sum()).astype(np.float32)
    return kernel


def reduce_antialiased(image: Tensor, scale: int) -> Tensor:
    """Return `image` (N x C x H x W) reduced `scale` times by antialiased bicubic filtering.

    At the border, the taps inside the image are renormalised, as in image libraries; anything else
    would look like motion. The filter is two strided convolutions, which every export format
    supports.
    """
    batch, channels, height, width = image.shape
    kernel = constant_like(_make_reduction_kernel(scale), image)
    rows = kernel.view(1, 1, -1, 1)
    columns = kernel.view(1, 1, 1, -1)

    # (4 scale taps - stride of scale) / 2 on each side aligns the centres of both grids
    pad = 3 * scale // 2
    planes = image.reshape(batch * channels, 1, height, width)
    planes = F.conv2d(planes, rows, stride=(scale, 1), padding=(pad, 0))
    planes = F.conv2d(planes, columns, stride=(1, scale), padding=(0, pad))

    # Sum of the taps inside the image
    tall = F.conv2d(image.new_ones(1, 1, height, 1), rows, stride=(scale, 1), padding=(pad, 0))
    wide = F.conv2d(image.new_ones(1, 1, 1, width), columns, stride=(1, scale), padding=(0, pad))
    planes = planes / (tall * wide)
    return planes.reshape(batch, channels, height // scale, width // scale)


def blur_like_lr(image: Tensor, scale: int) -> Tensor:
    """Return `image` (N x C x H x W), reduced `scale` times and upsampled again, as is LR_up.

    LR pixels alias, so the blur depends on the LR grid: apply it to the warped image, not before
    warping.
    """
    return upsample_bicubic(reduce_antialiased(image, scale), scale)
