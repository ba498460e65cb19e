"""The arithmetic of networks.variational written as convolutions, for compilers that fuse.

TensorRT fuses chains of moves and sums into kernels that compute what they share again and again:
ten sweeps of the solver became 186 MB of machine code, and the moves 3,400 layers. A convolution
with ones ends such a chain. In float32, TF32 off, the numbers are those of the moves.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from unittest import mock

import torch
import torch.nn.functional as F
from torch import Tensor

from crossnetpp.networks import variational
from crossnetpp.networks.variational import FLAT, REACH, SWEEPS, _Diffusion, _Normal

_SIDES = ((1, 2), (1, 0), (2, 1), (0, 1))
"""Row and column in a 3 x 3 kernel of the right, left, lower and upper neighbour."""


def _ones(shape: tuple[int, ...], *places: tuple[int, ...]) -> Tensor:
    kernel = torch.zeros(shape)
    for place in places:
        kernel[place] = 1
    return kernel


def along_x(image: Tensor) -> Tensor:
    """Return the derivative along rows of N x 1 x H x W, the border repeated."""
    kernel = torch.tensor([-0.5, 0, 0.5]).view(1, 1, 1, 3)
    return F.conv2d(F.pad(image, (1, 1, 0, 0), mode="replicate"), kernel)


def along_y(image: Tensor) -> Tensor:
    """Return the derivative along columns of N x 1 x H x W, the border repeated."""
    kernel = torch.tensor([-0.5, 0, 0.5]).view(1, 1, 3, 1)
    return F.conv2d(F.pad(image, (0, 0, 1, 1), mode="replicate"), kernel)


def solve(system: _Normal, diffusion: _Diffusion, flow: Tensor) -> Tensor:
    """Return the increment of `flow` (N x 2 x H x W), as `variational._solve` does."""
    moves = _ones((8, 1, 3, 3), *((4 * i + k, 0, *_SIDES[k]) for i in range(2) for k in range(4)))
    sums = _ones((2, 8, 1, 1), *((i, 4 * i + k, 0, 0) for i in range(2) for k in range(4)))
    swap = _ones((2, 2, 1, 1), (0, 1, 0, 0), (1, 0, 0, 0))
    sides = (diffusion.right, diffusion.left, diffusion.below, diffusion.above)
    strengths = torch.cat((*sides, *sides), dim=1)

    def neighbours(of: Tensor) -> Tensor:
        # nothing is drawn across the border: strengths are 0 there, whatever the padding
        return F.conv2d(F.conv2d(of, moves, padding=1, groups=2) * strengths, sums)

    xx, yy = system.xx + diffusion.total + FLAT, system.yy + diffusion.total + FLAT
    determinant = xx * yy - system.xy * system.xy
    on_diagonal = torch.cat((yy, xx), dim=1) / determinant
    off_diagonal = -system.xy / determinant
    pull = neighbours(flow) - diffusion.total * flow - torch.cat((system.x, system.y), dim=1)
    step = on_diagonal * pull + off_diagonal * F.conv2d(pull, swap)
    before: Tensor | None = None
    weight = 1.0
    for sweep in range(1, SWEEPS):
        right = pull + neighbours(step)
        jacobi = on_diagonal * right + off_diagonal * F.conv2d(right, swap)
        weight = 1 / (1 - REACH**2 * weight / (2 if sweep == 1 else 4))
        ahead = weight * jacobi
        before, step = step, ahead if before is None else ahead + (1 - weight) * before
    return step


@contextmanager
def convolved() -> Iterator[None]:
    """Let `crossnetpp.networks.variational` compute by convolutions; for tracing, in one thread."""
    with (
        mock.patch.object(variational, "_solve", solve),
        mock.patch.object(variational, "_along_x", along_x),
        mock.patch.object(variational, "_along_y", along_y),
    ):
        yield
