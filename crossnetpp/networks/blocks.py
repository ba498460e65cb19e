"""Padding, and pixel shuffles that copy channels-last tensors only once."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


def pad_planes(planes: Tensor, multiple: int) -> Tensor:
    """Return `planes` (N x C x H x W) with H and W padded to multiples of `multiple`.

    The last row and the last column are repeated.
    """
    height, width = planes.shape[-2:]
    return F.pad(planes, (0, -width % multiple, 0, -height % multiple), mode="replicate")


def repeat_border(planes: Tensor, left: int, right: int, top: int, bottom: int) -> Tensor:
    """Return `planes` (N x C x H x W) extended on each side by copies of its border.

    PyTorch's compiler turns F.pad into indexing, and fails if one indexing follows another, so it
    is given slices and concatenations instead.
    """
    if torch.compiler.is_exporting() or not torch.compiler.is_compiling():
        return F.pad(planes, (left, right, top, bottom), mode="replicate")
    if left or right:
        first, last = planes[..., :1], planes[..., -1:]
        planes = torch.cat((*[first] * left, planes, *[last] * right), dim=-1)
    if top or bottom:
        first, last = planes[..., :1, :], planes[..., -1:, :]
        planes = torch.cat((*[first] * top, planes, *[last] * bottom), dim=-2)
    return planes


def split_into_blocks(image: Tensor, size: int) -> Tensor:
    """Return `F.pixel_unshuffle(image, size)` in channels-last order, with a single copy."""
    batch, channels, height, width = image.shape
    rows = height // size
    cols = width // size
    blocks = image.reshape(batch, channels, rows, size, cols, size).permute(0, 2, 4, 1, 3, 5)
    return blocks.reshape(batch, rows, cols, -1).permute(0, 3, 1, 2)


def merge_blocks(blocks: Tensor, size: int) -> Tensor:
    """Return `F.pixel_shuffle(blocks, size)`, copying a channels-last tensor only once.

    PyTorch's own function copies it twice.
    """
    batch, channels, rows, cols = blocks.shape
    parts = blocks.permute(0, 2, 3, 1).reshape(batch, rows, cols, -1, size, size)
    image = parts.permute(0, 3, 1, 4, 2, 5)
    return image.reshape(batch, channels // size**2, rows * size, cols * size)
