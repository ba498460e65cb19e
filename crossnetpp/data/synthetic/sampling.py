"""Map positions and sample tensors at them; positions are in pixels relative to the centre."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

LEAST_DEPTH = 0.2  # minimum of a homography's denominator, so that nothing is behind the camera


def make_positions(size: int, device: torch.device) -> Tensor:
    """Return the positions of all pixels of a `size` x `size` picture, 1 x 2 x size x size."""
    axis = torch.arange(size, device=device, dtype=torch.float32) - (size - 1) / 2
    return torch.stack((axis.expand(size, size), axis[:, None].expand(size, size)))[None]


def move_positions(homographies: Tensor, positions: Tensor) -> Tensor:
    """Return `positions` (N x 2 x H x W) mapped by `homographies` (N x 3 x 3)."""
    rows = homographies.float()[..., None, None]
    x, y = positions[:, 0], positions[:, 1]
    moved_x = rows[:, 0, 0] * x + rows[:, 0, 1] * y + rows[:, 0, 2]
    moved_y = rows[:, 1, 0] * x + rows[:, 1, 1] * y + rows[:, 1, 2]
    depth = (rows[:, 2, 0] * x + rows[:, 2, 1] * y + rows[:, 2, 2]).clamp(min=LEAST_DEPTH)
    return torch.stack((moved_x / depth, moved_y / depth), dim=1)


def sample_at(image: Tensor, positions: Tensor, mode: str = "bicubic") -> Tensor:
    """Return `image` (N x C x T x T) sampled at `positions` (N x 2 x H x W).

    Beyond its border, the image is mirrored.
    """
    grid = positions.permute(0, 2, 3, 1) * (2 / (image.shape[-1] - 1))
    return F.grid_sample(image, grid, mode=mode, padding_mode="reflection", align_corners=True)


def draw_smooth_fields(
    random: torch.Generator, amplitudes: Tensor, knots: int, size: int
) -> Tensor:
    """Return N smooth random displacement fields (N x 2 x size x size).

    Each field interpolates `knots` x `knots` random vectors, whose components have a standard
    deviation of half of `amplitudes` (N, in pixels).
    """
    shape = (len(amplitudes), 2, knots, knots)
    grid = torch.randn(shape, generator=random, device=random.device)
    grid = grid * (amplitudes / 2).view(-1, 1, 1, 1)
    return F.interpolate(grid, (size, size), mode="bicubic", align_corners=True)
