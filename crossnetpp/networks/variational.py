"""Variational refinement: the dense flow that explains both pictures and is smooth where it may be.

Brox, Bruhn, Papenberg and Weickert, "High accuracy optical flow estimation based on a theory for
warping", 2004: brightness and gradient of both pictures agree, the flow is smooth, all three
robustly. It has no weights of its own; the network says for every pixel how much each of the three
counts, so that it can let go at occlusions and keep edges of the motion.
"""

from __future__ import annotations

from typing import NamedTuple, Protocol

import torch
import torch.nn.functional as F
from torch import Tensor

BRIGHTNESS, GRADIENT, SMOOTHNESS = 5.0, 10.0, 20.0
"""Weights of the three terms for luma in 0..255, as dense inverse search (2016) has them."""
FLAT = 0.01
"""Squared levels per pixel: below that a gradient is noise."""
SHARP = 1e-6
"""Squared levels, squared pixels: where the robust penalty turns from square to absolute."""
SWEEPS = 10
"""Steps of the linear solver."""
REACH = 0.97
"""Spectral radius that the solver's acceleration counts on."""


class Terms(NamedTuple):
    """How much the terms count in every pixel, N x 1 x H x W each, 1 being the usual."""

    brightness: Tensor
    gradient: Tensor
    smoothness: Tensor


class _Line(NamedTuple):
    """One linear equation per pixel in the increment: x du + y dv + constant = 0, normalised."""

    x: Tensor
    y: Tensor
    constant: Tensor


class NormalEquations(NamedTuple):
    """The symmetric 2 x 2 system of each pixel and its right side, N x 1 x H x W each."""

    xx: Tensor
    xy: Tensor
    yy: Tensor
    x: Tensor
    y: Tensor


def _equations(target: Tensor, warped: Tensor, solver: Solver) -> tuple[_Line, tuple[_Line, _Line]]:
    """Return the linearised constancy of brightness, and of both components of the gradient."""
    mean = 0.5 * (target + warped)
    difference = warped - target

    x = solver.along_x(mean)
    y = solver.along_y(mean)
    xx = solver.along_x(x)
    xy = solver.along_y(x)
    yy = solver.along_y(y)

    at = torch.rsqrt(x * x + y * y + FLAT)
    at_x = torch.rsqrt(xx * xx + xy * xy + FLAT)
    at_y = torch.rsqrt(yy * yy + xy * xy + FLAT)
    return _Line(x * at, y * at, difference * at), (
        _Line(xx * at_x, xy * at_x, solver.along_x(difference) * at_x),
        _Line(xy * at_y, yy * at_y, solver.along_y(difference) * at_y),
    )


def _normal(lines: tuple[_Line, ...]) -> NormalEquations:
    """Return the least squares system of `lines`, all of one weight."""
    return NormalEquations(
        torch.stack([line.x * line.x for line in lines]).sum(0),
        torch.stack([line.x * line.y for line in lines]).sum(0),
        torch.stack([line.y * line.y for line in lines]).sum(0),
        torch.stack([line.x * line.constant for line in lines]).sum(0),
        torch.stack([line.y * line.constant for line in lines]).sum(0),
    )


class Diffusion:
    """The flow's smoothness: every pixel is drawn to its four neighbours."""

    def __init__(self, flow: Tensor, weight: Tensor) -> None:
        across = F.pad(flow[..., 1:] - flow[..., :-1], (0, 1))
        down = F.pad(flow[..., 1:, :] - flow[..., :-1, :], (0, 0, 0, 1))
        slope = torch.square(across).sum(1, keepdim=True) + torch.square(down).sum(1, keepdim=True)
        strength = weight * torch.rsqrt(slope + SHARP)
        self.right = F.pad(strength[..., :-1], (0, 1))
        self.left = F.pad(strength[..., :-1], (1, 0))
        self.below = F.pad(strength[..., :-1, :], (0, 0, 0, 1))
        self.above = F.pad(strength[..., :-1, :], (0, 0, 1, 0))
        self.total = self.right + self.left + self.below + self.above

    def add_neighbours(self, to: Tensor, flow: Tensor) -> Tensor:
        """Return `to` and the weighted sum of the four neighbours of every pixel of `flow`."""
        padded = F.pad(flow, (1, 1, 1, 1), mode="replicate")
        # fused: this is nearly all that the solver does
        to = torch.addcmul(to, self.right, padded[..., 1:-1, 2:])
        to = torch.addcmul(to, self.left, padded[..., 1:-1, :-2])
        to = torch.addcmul(to, self.below, padded[..., 2:, 1:-1])
        return torch.addcmul(to, self.above, padded[..., :-2, 1:-1])


class Solver(Protocol):
    """The arithmetic of a variational step: derivatives, and the linear system of all pixels."""

    def along_x(self, image: Tensor) -> Tensor:
        """Return the derivative of `image` (N x 1 x H x W) along rows, the border repeated."""
        ...

    def along_y(self, image: Tensor) -> Tensor:
        """Return the derivative of `image` (N x 1 x H x W) along columns, the border repeated."""
        ...

    def solve(self, system: NormalEquations, diffusion: Diffusion, flow: Tensor) -> Tensor:
        """Return the increment of `flow` (N x 2 x H x W) that solves all pixels' systems."""
        ...


class ShiftSolver:
    """Compute by sums of shifted tensors, the fastest way in PyTorch."""

    def along_x(self, image: Tensor) -> Tensor:
        """Return the derivative of `image` along rows; see Solver."""
        padded = F.pad(image, (1, 1, 0, 0), mode="replicate")
        return 0.5 * (padded[..., 2:] - padded[..., :-2])

    def along_y(self, image: Tensor) -> Tensor:
        """Return the derivative of `image` along columns; see Solver."""
        padded = F.pad(image, (0, 0, 1, 1), mode="replicate")
        return 0.5 * (padded[..., 2:, :] - padded[..., :-2, :])

    def solve(self, system: NormalEquations, diffusion: Diffusion, flow: Tensor) -> Tensor:
        """Return the increment of `flow` that solves all pixels' systems together.

        Jacobi steps on 2 x 2 blocks with Chebyshev acceleration: whole-tensor operations, unlike
        the ordered sweeps of successive over-relaxation, and nearly as fast.
        """
        xx, yy = system.xx + diffusion.total + FLAT, system.yy + diffusion.total + FLAT
        determinant = xx * yy - system.xy * system.xy
        on_diagonal = torch.cat((yy, xx), dim=1) / determinant
        off_diagonal = -system.xy / determinant
        pull = -diffusion.total * flow - torch.cat((system.x, system.y), dim=1)
        pull = diffusion.add_neighbours(pull, flow)
        # the first sweep from no step at all
        before = torch.zeros_like(flow)
        step = torch.addcmul(on_diagonal * pull, off_diagonal, pull.flip(1))
        weight = 1.0
        for sweep in range(1, SWEEPS):
            right = diffusion.add_neighbours(pull, step)
            jacobi = torch.addcmul(on_diagonal * right, off_diagonal, right.flip(1))
            weight = 1 / (1 - REACH**2 * weight / (2 if sweep == 1 else 4))
            before, step = step, torch.lerp(before, jacobi, weight)
        return step


SHIFTS = ShiftSolver()


def variational_step(
    target: Tensor, warped: Tensor, flow: Tensor, terms: Terms, solver: Solver = SHIFTS
) -> Tensor:
    """Return the increment (N x 2 x H x W) of `flow` that brings `warped` onto `target`.

    `target` and `warped` (by `flow`) are N x 1 x H x W luma in 0..1, `flow` N x 2 x H x W in its
    own pixels. Gradients reach the flow through its smoothness, and the terms. `solver` decides how
    the numbers are computed, not which.
    """
    brightness, gradients = _equations(255 * target, 255 * warped, solver)
    of_brightness, of_gradient = _normal((brightness,)), _normal(gradients)
    # what is not met now counts by its root, so that it can stay unmet
    missed = torch.square(brightness.constant)
    by_brightness = BRIGHTNESS * terms.brightness * torch.rsqrt(missed + SHARP)
    missed = torch.square(gradients[0].constant) + torch.square(gradients[1].constant)
    by_gradient = GRADIENT * terms.gradient * torch.rsqrt(missed + SHARP)
    system = NormalEquations(
        *(
            by_brightness * a + by_gradient * b
            for a, b in zip(of_brightness, of_gradient, strict=True)
        )
    )
    return solver.solve(system, Diffusion(flow, SMOOTHNESS * terms.smoothness), flow)
