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
    # Channels last: each product is summed along contiguous memory. A loop of slices, because one
    # unfolded product makes a (2 radius + 1)^2-fold copy of the map and takes 2.3 times as long.
    left, padded = left.permute(0, 2, 3, 1), padded.permute(0, 2, 3, 1)
    cosines = [
        (left * padded[:, dy : dy + height, dx : dx + width]).sum(-1)
        for dy in range(2 * radius + 1)
        for dx in range(2 * radius + 1)
    ]
    return COSINE_GAIN * torch.stack(cosines, dim=-1).permute(0, 3, 1, 2)
