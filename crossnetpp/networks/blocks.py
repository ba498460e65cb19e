"""Padding, and pixel shuffles that copy channels-last tensors only once."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from crossnetpp.networks.kernels import is_traced


def pad_planes(planes: Tensor, multiple: int) -> Tensor:
    """Return `planes` (N x C x H x W) with H and W padded to multiples of `multiple`.

    The last row and the last column are repeated.
    """
    height, width = planes.shape[-2:]
    return F.pad(planes, (0, -width % multiple, 0, -height % multiple), mode="replicate")


def repeat_border(planes: Tensor, left: int, right: int, top: int, bottom: int) -> Tensor:
    """Return `planes` (N x C x H x W) extended on each side by copies of its border.

    PyTorch's compiler turns F.pad into indexing, and fails if one indexing follows another, so
    slices and concatenations replace F.pad in compiled code.
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


# Bytes of a block's row -> type of the same size; copying one such value is much faster than
# copying the row's pixels
_ROW_TYPES = {4: torch.float32, 8: torch.float64, 16: torch.complex128}


def split_into_blocks(image: Tensor, size: int) -> Tensor:
    """Return `F.pixel_unshuffle(image, size)` in channels-last order, with a single copy."""
    batch, channels, height, width = image.shape
    rows = height // size
    cols = width // size
    if _can_copy_rows_whole(image, size):
        wide = _ROW_TYPES[size * image.itemsize]
        blocks = image.view(wide).view(batch, channels, rows, size, cols)
        blocks = blocks.permute(0, 2, 4, 1, 3).contiguous().view(image.dtype)
    else:
        blocks = image.reshape(batch, channels, rows, size, cols, size).permute(0, 2, 4, 1, 3, 5)
    return blocks.reshape(batch, rows, cols, -1).permute(0, 3, 1, 2)


def merge_blocks(blocks: Tensor, size: int) -> Tensor:
    """Return `F.pixel_shuffle(blocks, size)`, copying a channels-last tensor only once.

    PyTorch's own function copies it twice.
    """
    batch, channels, rows, cols = blocks.shape
    shape = (batch, channels // size**2, rows * size, cols * size)
    last = blocks.permute(0, 2, 3, 1)
    if _can_copy_rows_whole(last, size):
        wide = _ROW_TYPES[size * blocks.itemsize]
        parts = last.view(wide).view(batch, rows, cols, -1, size)
        return parts.permute(0, 3, 1, 4, 2).contiguous().view(blocks.dtype).view(shape)
    parts = last.reshape(batch, rows, cols, -1, size, size)
    return parts.permute(0, 3, 1, 4, 2, 5).reshape(shape)


def _can_copy_rows_whole(image: Tensor, size: int) -> bool:
    """Return whether every run of `size` values along the last dimension can be copied as one."""
    return (
        not is_traced()
        and size * image.itemsize in _ROW_TYPES
        and image.device.type == "cpu"
        and image.is_contiguous()
        and image.storage_offset() % size == 0
        # Reinterpreted tensors have no gradients
        and not image.requires_grad
    )
