"""Local correlation of two feature maps: how alike is each place to its neighbours elsewhere."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

COSINE_GAIN = 9.0
"""Cosines lie in -1..1; this brings them to the size of other activations."""


def unit_features(features: Tensor) -> Tensor:
    """Return `features` (N x C x H x W) with unit length along C: correlation is then a cosine."""
    return features * torch.rsqrt(features.square().sum(1, keepdim=True) + 1e-6)


def local_correlation(left: Tensor, right: Tensor, radius: int) -> Tensor:
    """Return N x (2 radius + 1)^2 x H x W cosines of `left` with `right` moved by -radius..radius.

    Both inputs are unit features (N x C x H x W). Channel (dy + radius)(2 radius + 1) + dx + radius
    compares left(y, x) with right(y + dy, x + dx); places outside the map count as zero.
    """
    height, width = left.shape[-2:]
    padded = F.pad(right, (radius, radius, radius, radius))
    # A loop of slices is 2.3 times as fast as one unfolded product on two CPU cores (9.8 against
    # 22.5 ms at 1 x 32 x 80 x 128, radius 3) and needs no (2 radius + 1)^2-fold copy of the map.
    cosines = [
        (left * padded[:, :, dy : dy + height, dx : dx + width]).sum(1, keepdim=True)
        for dy in range(2 * radius + 1)
        for dx in range(2 * radius + 1)
    ]
    return COSINE_GAIN * torch.cat(cosines, dim=1)
