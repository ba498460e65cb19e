"""Shapes of surfaces: smooth blobs, boxes and thin bars, with slightly soft edges."""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from crossnetpp.data.synthetic.sampling import make_positions

LEAST_BAR = 2.0  # width in pixels
MOST_BAR = 14.0


def draw_covers(rng: np.random.Generator, random: torch.Generator, count: int, side: int) -> Tensor:
    """Return `count` covers with random shapes, count x 1 x side x side in 0..1.

    Scalars are drawn from `rng`, and noise from `random`; the result is on the device of `random`.
    """
    covers = [_draw_cover(rng, random, side) for _ in range(count)]
    return _soften(torch.cat(covers))


def _draw_cover(rng: np.random.Generator, random: torch.Generator, side: int) -> Tensor:
    """Return a cover with hard edges, 1 x 1 x side x side."""
    kind = rng.random()
    if kind < 0.6:
        return _draw_blobs(rng, random, side)
    if kind < 0.8:
        return _draw_boxes(rng, random.device, side)
    return _draw_bars(rng, random.device, side)


def _draw_blobs(rng: np.random.Generator, random: torch.Generator, side: int) -> Tensor:
    """Return a cover that is 1 where smooth noise exceeds a level (at most about half the area)."""
    knots = int(rng.integers(3, 17))
    noise = torch.randn((1, 1, knots, knots), generator=random, device=random.device)
    noise = F.interpolate(noise, (side, side), mode="bicubic", align_corners=True)
    level = noise.mean() + float(rng.uniform(0, 1.2)) * noise.std()
    return (noise > level).float()


def _draw_boxes(rng: np.random.Generator, device: torch.device, side: int) -> Tensor:
    """Return a cover that consists of one to four rotated rectangles."""
    cover = torch.zeros((1, 1, side, side), device=device)
    for _ in range(int(rng.integers(1, 5))):
        across, along = _turn_positions(rng, device, side)
        middle = rng.uniform(-side / 3, side / 3, 2)
        half = rng.uniform(side / 24, side / 5, 2)
        inside = ((across - middle[0]).abs() < half[0]) & ((along - middle[1]).abs() < half[1])
        cover = torch.maximum(cover, inside.float())
    return cover


def _draw_bars(rng: np.random.Generator, device: torch.device, side: int) -> Tensor:
    """Return a cover that consists of thin parallel bars, like a fence."""
    across, _ = _turn_positions(rng, device, side)
    width = float(rng.uniform(LEAST_BAR, MOST_BAR))
    period = width * float(rng.uniform(3, 10))
    phase = float(rng.uniform(0, period))
    return (torch.remainder(across + phase, period) < width).float()


def _turn_positions(
    rng: np.random.Generator, device: torch.device, side: int
) -> tuple[Tensor, Tensor]:
    """Return the positions of all pixels along two random orthogonal axes.

    Each is 1 x 1 x side x side, in pixels.
    """
    angle = rng.uniform(0, np.pi)
    x, y = torch.split(make_positions(side, device), 1, dim=1)
    return (
        x * float(np.cos(angle)) + y * float(np.sin(angle)),
        y * float(np.cos(angle)) - x * float(np.sin(angle)),
    )


def _soften(covers: Tensor) -> Tensor:
    """Return `covers` blurred by a binomial kernel of 3 x 3 pixels."""
    binomial = covers.new_tensor((0.25, 0.5, 0.25))
    padded = F.pad(covers, (1, 1, 1, 1), mode="replicate")
    return F.conv2d(F.conv2d(padded, binomial.view(1, 1, 1, 3)), binomial.view(1, 1, 3, 1))
