"""How LR is made from HR: the stated kernels, the same in training and `pipeline degrade`."""

from __future__ import annotations

from typing import Literal, TypeVar

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

Kernel = Literal["bicubic", "area"]
PixelType = TypeVar("PixelType", np.uint8, np.uint16)


def degrade_tensor(hr: Tensor, scale: int, kernel: Kernel = "bicubic") -> Tensor:
    """Return `hr` (N x C x H x W, H and W multiples of `scale`) reduced `scale` times.

    `bicubic` is antialiased (a = -0.5, support widened by `scale`), `area` the mean of each block.
    """
    if kernel == "area":
        return F.avg_pool2d(hr, scale)
    size = (hr.shape[-2] // scale, hr.shape[-1] // scale)
    return F.interpolate(hr, size=size, mode="bicubic", align_corners=False, antialias=True)


def subsample_chroma(lr: Tensor) -> Tensor:
    """Return `lr` (N x 3 x h x w RGB in 0..1, h and w even) as it comes out of 4:2:0 video.

    BT.601 colour difference planes are averaged over 2 x 2 pixels and brought back bilinearly.
    """
    weights = lr.new_tensor([0.299, 0.587, 0.114]).view(1, 3, 1, 1)
    luma = (lr * weights).sum(1, keepdim=True)
    coarse = F.avg_pool2d(lr - luma, 2)
    return luma + F.interpolate(coarse, scale_factor=2.0, mode="bilinear", align_corners=False)


def degrade(hr: NDArray[PixelType], scale: int, kernel: Kernel = "bicubic") -> NDArray[PixelType]:
    """Return `hr` (uint8 or uint16 H x W x 3) reduced `scale` times, rounded and clamped once.

    Rows and columns beyond a multiple of `scale` are cut off at the bottom and right.
    """
    height, width = hr.shape[0] // scale * scale, hr.shape[1] // scale * scale
    planes = torch.from_numpy(hr[:height, :width].astype(np.float32)).permute(2, 0, 1)[None]
    lr = degrade_tensor(planes, scale, kernel)[0].permute(1, 2, 0)
    limit = float(np.iinfo(hr.dtype).max)
    return lr.round().clamp(0, limit).numpy().astype(hr.dtype)
