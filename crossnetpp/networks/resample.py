"""Resampling between the LR grid and the output grid with convolutions only."""

from __future__ import annotations

from functools import lru_cache

import cv2
import numpy as np
import torch.nn.functional as F
from torch import Tensor

from crossnetpp.networks.blocks import repeat_border
from crossnetpp.networks.kernels import Kernel, constant_like
from crossnetpp.networks.opencv import can_enlarge, enlarge
from crossnetpp.networks.taps import evaluate_keys, make_bicubic_taps

# A pixel is divided by the sum of its taps inside the image, but never by less than this value. At
# the border, the sum can be almost 0 for a kernel with lobes or a shift, and the division would
# turn noise into a bright pixel.
LEAST_INSIDE = 0.1


@lru_cache
def _make_upsampling_taps(scale: int) -> Kernel:
    """Return the weights (scale x 5) of the 5 nearest LR pixels for each of the `scale` phases."""
    position = (np.arange(scale) + 0.5) / scale - 0.5
    distance = position[:, None] - np.arange(-2, 3)
    taps: Kernel = evaluate_keys(distance, a=-0.75).astype(np.float32)
    return taps


def upsample_bicubic(lr: Tensor, scale: int) -> Tensor:
    """Return `lr` (N x C x h x w) upsampled bicubically (a = -0.75) by `scale`.

    Two convolutions compute all phases in x and in y, and a pixel shuffle interleaves the phases.
    The result equals the result of `F.interpolate`, but exported graphs need no resize operation.
    On a CPU, OpenCV computes it if no gradients are needed.
    """
    if can_enlarge(lr):
        return enlarge(lr, scale, cv2.INTER_CUBIC)

    batch, channels, height, width = lr.shape
    taps = constant_like(_make_upsampling_taps(scale), lr)
    planes = repeat_border(lr.reshape(batch * channels, 1, height, width), 2, 2, 2, 2)
    planes = F.conv2d(planes, taps.view(scale, 1, 1, 5))

    # Each column phase becomes `scale` rows; pixel_shuffle expects the row phase first
    columns = taps.view(scale, 1, 5, 1).repeat(scale, 1, 1, 1)
    planes = F.conv2d(planes, columns, groups=scale)
    planes = planes.reshape(-1, scale, scale, height, width).transpose(1, 2).flatten(1, 2)
    return F.pixel_shuffle(planes, scale).reshape(batch, channels, height * scale, width * scale)


def reduce_antialiased(image: Tensor, scale: int, taps: Tensor | None = None) -> Tensor:
    """Return `image` (N x C x H x W) downscaled by `scale` with the kernel `taps`.

    `taps` is laid out as in `taps.py` (2 x 2 x 4s); None means antialiased bicubic downscaling. At
    the border, the taps inside the image are renormalised, as in image libraries; anything else
    would look like motion. If they sum to less than LEAST_INSIDE, the pixel becomes darker instead.
    The filter consists of two strided convolutions, which every export format supports.
    """
    batch, channels, height, width = image.shape
    if taps is None:
        taps = constant_like(make_bicubic_taps(scale)[:1], image)
    terms = taps.shape[0]
    rows = taps[:, 0].reshape(terms, 1, -1, 1)
    columns = taps[:, 1].reshape(1, terms, 1, -1)

    # Padding by (4 * scale taps - stride of scale) / 2 aligns the centres of both grids
    pad = 3 * scale // 2
    planes = image.reshape(batch * channels, 1, height, width)
    planes = F.conv2d(planes, rows, stride=(scale, 1), padding=(pad, 0))
    planes = F.conv2d(planes, columns, stride=(1, scale), padding=(0, pad))

    # Sum of the taps inside the image, again as a sum over the terms
    tall = F.conv2d(image.new_ones(1, 1, height, 1), rows, stride=(scale, 1), padding=(pad, 0))
    wide = F.conv2d(
        image.new_ones(1, 1, 1, width),
        columns.transpose(0, 1),
        stride=(1, scale),
        padding=(0, pad),
    )
    planes = planes / (tall * wide).sum(1, keepdim=True).clamp(min=LEAST_INSIDE)
    return planes.reshape(batch, channels, height // scale, width // scale)


def blur_like_lr(image: Tensor, scale: int, taps: Tensor | None = None) -> Tensor:
    """Return `image` (N x C x H x W) downscaled with `taps` and upsampled again bicubically.

    The result is as sharp as LR_up. LR pixels alias, so the blur depends on the LR grid; apply it
    after warping, not before.
    """
    return upsample_bicubic(reduce_antialiased(image, scale, taps), scale)
