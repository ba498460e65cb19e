"""The arithmetic of `crossnetpp.networks.variational` as convolutions, for compilers that fuse.

TensorRT fuses chains of shifts and sums into kernels that compute their common parts repeatedly:
ten sweeps of the solver became 186 MB of machine code, and the shifts 3,400 layers. A
convolution with ones ends such a chain. In float32, with TF32 off, the results are those of
`ShiftSolver`.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from crossnetpp.networks.variational import (
    GRADIENT_FLOOR,
    SPECTRAL_RADIUS,
    SWEEPS,
    Diffusion,
    NormalEquations,
)

# row and column in a 3 x 3 kernel of the right, left, lower and upper neighbour
_NEIGHBOURS = ((1, 2), (1, 0), (2, 1), (0, 1))


class ConvolutionSolver:
    """Compute variational steps by convolutions; see `crossnetpp.networks.variational.Solver`."""

    def differentiate_x(self, image: Tensor) -> Tensor:
        """Return the derivative of N x 1 x H x W along rows, the border repeated."""
        kernel = torch.tensor([-0.5, 0, 0.5]).view(1, 1, 1, 3)
        return F.conv2d(F.pad(image, (1, 1, 0, 0), mode="replicate"), kernel)

    def differentiate_y(self, image: Tensor) -> Tensor:
        """Return the derivative of N x 1 x H x W along columns, the border repeated."""
        kernel = torch.tensor([-0.5, 0, 0.5]).view(1, 1, 3, 1)
        return F.conv2d(F.pad(image, (0, 0, 1, 1), mode="replicate"), kernel)

    def solve(self, system: NormalEquations, diffusion: Diffusion, flow: Tensor) -> Tensor:
        """Return the increment of `flow` (N x 2 x H x W) that solves all pixels' systems."""
        # convolutions that fetch the 4 neighbours of both channels, add them up, and swap channels
        neighbours = [(i, k) for i in range(2) for k in range(4)]
        shift = _kernel((8, 1, 3, 3), *((4 * i + k, 0, *_NEIGHBOURS[k]) for i, k in neighbours))
        add = _kernel((2, 8, 1, 1), *((i, 4 * i + k, 0, 0) for i, k in neighbours))
        swap = _kernel((2, 2, 1, 1), (0, 1, 0, 0), (1, 0, 0, 0))

        sides = (diffusion.right, diffusion.left, diffusion.below, diffusion.above)
        strengths = torch.cat((*sides, *sides), dim=1)

        def sum_neighbours(of: Tensor) -> Tensor:
            # strengths are 0 across the border, so its padding does not matter
            return F.conv2d(F.conv2d(of, shift, padding=1, groups=2) * strengths, add)

        # the inverse of each pixel's 2 x 2 system
        xx = system.xx + diffusion.total + GRADIENT_FLOOR
        yy = system.yy + diffusion.total + GRADIENT_FLOOR
        determinant = xx * yy - system.xy * system.xy
        on_diagonal = torch.cat((yy, xx), dim=1) / determinant
        off_diagonal = -system.xy / determinant

        # Jacobi sweeps with Chebyshev acceleration, the first one from no step at all
        pull = sum_neighbours(flow) - diffusion.total * flow
        pull = pull - torch.cat((system.x, system.y), dim=1)
        step = on_diagonal * pull + off_diagonal * F.conv2d(pull, swap)
        before: Tensor | None = None
        weight = 1.0
        for sweep in range(1, SWEEPS):
            right = pull + sum_neighbours(step)
            jacobi = on_diagonal * right + off_diagonal * F.conv2d(right, swap)
            weight = 1 / (1 - SPECTRAL_RADIUS**2 * weight / (2 if sweep == 1 else 4))
            ahead = weight * jacobi
            if before is not None:
                ahead = ahead + (1 - weight) * before
            before = step
            step = ahead

        return step


def _kernel(shape: tuple[int, ...], *ones: tuple[int, ...]) -> Tensor:
    """Return a kernel of zeros with a one at each index of `ones`."""
    kernel = torch.zeros(shape)
    for index in ones:
        kernel[index] = 1
    return kernel
