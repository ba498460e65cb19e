"""The arithmetic of `crossnetpp.networks.variational` as convolutions, for TensorRT.

TensorRT fuses chains of shifts and sums into kernels that compute common parts repeatedly, so the
kernels grow with every sweep of the solver. A convolution with a kernel of zeros and ones
interrupts such a chain. In float32 with TF32 off, `ShiftSolver` yields the same results up to
rounding.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from crossnetpp.networks.variational import Diffusion, InverseBlocks, NormalEquations

# (row, column) of the right, left, lower and upper neighbour in a 3 x 3 kernel
_NEIGHBOURS = ((1, 2), (1, 0), (2, 1), (0, 1))


class ConvolutionCoupling:
    """Couples flows by convolution; see `crossnetpp.networks.variational.Coupling`."""

    def __init__(self, diffusion: Diffusion) -> None:
        # convolutions that fetch the 4 neighbours in both channels, sum them, and swap the channels
        dtype = diffusion.total.dtype
        neighbours = [(i, k) for i in range(2) for k in range(4)]
        self._shift = _make_kernel(
            dtype, (8, 1, 3, 3), *((4 * i + k, 0, *_NEIGHBOURS[k]) for i, k in neighbours)
        )
        self._add = _make_kernel(
            dtype, (2, 8, 1, 1), *((i, 4 * i + k, 0, 0) for i, k in neighbours)
        )
        self._swap = _make_kernel(dtype, (2, 2, 1, 1), (0, 1, 0, 0), (1, 0, 0, 0))

        sides = (diffusion.right, diffusion.left, diffusion.below, diffusion.above)
        self._strengths = torch.cat((*sides, *sides), dim=1)
        self._total = diffusion.total

    def _sum_neighbours(self, flow: Tensor) -> Tensor:
        # the coupling across the border has strength 0, so the padding has no effect
        fetched = F.conv2d(flow, self._shift, padding=1, groups=2)
        return F.conv2d(fetched * self._strengths, self._add)

    def compute_pull(self, system: NormalEquations, flow: Tensor) -> Tensor:
        """Return the linear system's right-hand side (N x 2 x H x W) at `flow` (N x 2 x H x W).

        It includes the smoothness term of `flow`.
        """
        pull = self._sum_neighbours(flow) - self._total * flow
        return pull - torch.cat((system.x, system.y), dim=1)

    def add_neighbours(self, to: Tensor, flow: Tensor) -> Tensor:
        """Return `to` plus, at every pixel, the weighted sum of its four neighbours in `flow`."""
        return to + self._sum_neighbours(flow)

    def multiply(self, inverse: InverseBlocks, right: Tensor) -> Tensor:
        """Return, at every pixel, the product of the 2 x 2 block `inverse` and `right`."""
        swapped = F.conv2d(right, self._swap)
        return inverse.on_diagonal * right + inverse.off_diagonal * swapped

    def extrapolate(self, before: Tensor | None, after: Tensor, weight: float) -> Tensor:
        """Return before + weight (after - before); if `before` is None, it is taken as zeros."""
        weighted = weight * after
        return weighted if before is None else weighted + (1 - weight) * before


class ConvolutionSolver:
    """Computes variational steps by convolution; see `crossnetpp.networks.variational.Solver`."""

    def differentiate_x(self, image: Tensor) -> Tensor:
        """Return the central difference in x of `image` (N x 1 x H x W), repeating its borders."""
        kernel = torch.tensor([-0.5, 0, 0.5], dtype=image.dtype).view(1, 1, 1, 3)
        return F.conv2d(F.pad(image, (1, 1, 0, 0), mode="replicate"), kernel)

    def differentiate_y(self, image: Tensor) -> Tensor:
        """Return the central difference in y of `image` (N x 1 x H x W), repeating its borders."""
        kernel = torch.tensor([-0.5, 0, 0.5], dtype=image.dtype).view(1, 1, 3, 1)
        return F.conv2d(F.pad(image, (0, 0, 1, 1), mode="replicate"), kernel)

    def couple(self, diffusion: Diffusion) -> ConvolutionCoupling:
        """Return the solver's operations on flows that are coupled by `diffusion`."""
        return ConvolutionCoupling(diffusion)


def _make_kernel(dtype: torch.dtype, shape: tuple[int, ...], *ones: tuple[int, ...]) -> Tensor:
    """Return a kernel of `shape` that is 1 at each index in `ones` and 0 elsewhere."""
    kernel = torch.zeros(shape, dtype=dtype)
    for index in ones:
        kernel[index] = 1
    return kernel
