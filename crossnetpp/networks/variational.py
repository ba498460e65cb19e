"""Variational refinement of optical flow.

Brox, Bruhn, Papenberg and Weickert, "High accuracy optical flow estimation based on a theory for
warping", 2004. Three terms, each with a robust penalty, require that the brightness of the pictures
agrees, that their gradients agree, and that the flow is smooth. The method has no trained weights.
The network weights the three terms for every pixel, so that the flow can ignore occlusions and
preserve motion edges.
"""

from __future__ import annotations

from typing import NamedTuple, Protocol

import torch
import torch.nn.functional as F
from torch import Tensor

from crossnetpp.networks.blocks import repeat_border

# Weights of the three terms for luma in 0..255, as in dense inverse search (Kroeger et al. 2016)
BRIGHTNESS = 5.0
GRADIENT = 10.0
SMOOTHNESS = 20.0

GRADIENT_FLOOR = 0.01  # squared levels per pixel; smaller gradients are noise
PENALTY_FLOOR = 1e-6  # squared residual at which the penalty changes from squared to absolute
SWEEPS = 10  # iterations of the linear solver
SPECTRAL_RADIUS = 0.97  # of the iteration matrix, as assumed by the Chebyshev acceleration


class TermWeights(NamedTuple):
    """Each term's weight for every pixel (N x 1 x H x W), relative to the constants above."""

    brightness: Tensor
    gradient: Tensor
    smoothness: Tensor


class _Line(NamedTuple):
    """A normalised linear equation for the increment (du, dv) of the flow at each pixel.

    The equation is x du + y dv + constant = 0.
    """

    x: Tensor
    y: Tensor
    constant: Tensor


class NormalEquations(NamedTuple):
    """Each pixel's symmetric 2 x 2 system, with its negated right-hand side (x, y).

    All are N x 1 x H x W.
    """

    xx: Tensor
    xy: Tensor
    yy: Tensor
    x: Tensor
    y: Tensor


def _linearise(target: Tensor, warped: Tensor, solver: Solver) -> tuple[_Line, tuple[_Line, _Line]]:
    """Return the linearised constancy equations of brightness, and of the gradient's components."""
    mean = 0.5 * (target + warped)
    difference = warped - target

    # Derivatives
    x = solver.differentiate_x(mean)
    y = solver.differentiate_y(mean)
    xx = solver.differentiate_x(x)
    xy = solver.differentiate_y(x)
    yy = solver.differentiate_y(y)

    # Normalised equations
    norm = torch.rsqrt(x * x + y * y + GRADIENT_FLOOR)
    norm_x = torch.rsqrt(xx * xx + xy * xy + GRADIENT_FLOOR)
    norm_y = torch.rsqrt(yy * yy + xy * xy + GRADIENT_FLOOR)
    return _Line(x * norm, y * norm, difference * norm), (
        _Line(xx * norm_x, xy * norm_x, solver.differentiate_x(difference) * norm_x),
        _Line(xy * norm_y, yy * norm_y, solver.differentiate_y(difference) * norm_y),
    )


def _make_normal_equations(lines: tuple[_Line, ...]) -> NormalEquations:
    """Return the least-squares system of equally weighted `lines`."""
    return NormalEquations(
        torch.stack([line.x * line.x for line in lines]).sum(0),
        torch.stack([line.x * line.y for line in lines]).sum(0),
        torch.stack([line.y * line.y for line in lines]).sum(0),
        torch.stack([line.x * line.constant for line in lines]).sum(0),
        torch.stack([line.y * line.constant for line in lines]).sum(0),
    )


class Diffusion:
    """The smoothness term: weights that couple every pixel of the flow to its four neighbours."""

    def __init__(self, flow: Tensor, weight: Tensor, floor: float = PENALTY_FLOOR) -> None:
        """Couple the pixels of `flow` (N x 2 x H x W) with `weight` (N x 1 x H x W).

        Below the squared slope `floor`, the penalty is squared instead of absolute.
        """
        across = F.pad(flow[..., 1:] - flow[..., :-1], (0, 1))
        down = F.pad(flow[..., 1:, :] - flow[..., :-1, :], (0, 0, 0, 1))
        slope = torch.square(across).sum(1, keepdim=True) + torch.square(down).sum(1, keepdim=True)
        strength = weight * torch.rsqrt(slope + floor)

        self.right = F.pad(strength[..., :-1], (0, 1))
        self.left = F.pad(strength[..., :-1], (1, 0))
        self.below = F.pad(strength[..., :-1, :], (0, 0, 0, 1))
        self.above = F.pad(strength[..., :-1, :], (0, 0, 1, 0))
        self.total = self.right + self.left + self.below + self.above


class InverseBlocks(NamedTuple):
    """The inverse of each pixel's own 2 x 2 system, which is symmetric."""

    on_diagonal: Tensor
    """N x 2 x H x W."""
    off_diagonal: Tensor
    """N x 1 x H x W."""


class Coupling(Protocol):
    """The linear solver's operations on flows (N x 2 x H x W) whose pixels a Diffusion couples."""

    def compute_pull(self, system: NormalEquations, flow: Tensor) -> Tensor:
        """Return the linear system's right-hand side, including the smoothness term of `flow`."""
        ...

    def add_neighbours(self, to: Tensor, flow: Tensor) -> Tensor:
        """Return `to` plus, at every pixel, the weighted sum of its four neighbours in `flow`."""
        ...

    def multiply(self, inverse: InverseBlocks, right: Tensor) -> Tensor:
        """Return the product of each pixel's `inverse` and its right-hand side `right`."""
        ...

    def extrapolate(self, before: Tensor | None, after: Tensor, weight: float) -> Tensor:
        """Return before + weight * (after - before); None as `before` means zeros."""
        ...


class Solver(Protocol):
    """The arithmetic of a variational step: derivatives, and operations of the linear solver."""

    def differentiate_x(self, image: Tensor) -> Tensor:
        """Return the central difference in x of `image` (N x 1 x H x W), replicating borders."""
        ...

    def differentiate_y(self, image: Tensor) -> Tensor:
        """Return the central difference in y of `image` (N x 1 x H x W), replicating borders."""
        ...

    def couple(self, diffusion: Diffusion) -> Coupling:
        """Return the linear solver's operations for flows whose pixels `diffusion` couples."""
        ...


class ShiftCoupling:
    """Coupling that sums shifted tensors with fused operations, because the sums take most time."""

    def __init__(self, diffusion: Diffusion) -> None:
        self._diffusion = diffusion

    def compute_pull(self, system: NormalEquations, flow: Tensor) -> Tensor:
        """Return the right-hand side of the linear system; see Coupling."""
        pull = -self._diffusion.total * flow - torch.cat((system.x, system.y), dim=1)
        return self.add_neighbours(pull, flow)

    def add_neighbours(self, to: Tensor, flow: Tensor) -> Tensor:
        """Return `to` plus the weighted sum of each pixel's neighbours; see Coupling."""
        diffusion = self._diffusion
        padded = repeat_border(flow, 1, 1, 1, 1)
        # Only the first sum allocates memory, because the caller still needs `to`
        to = torch.addcmul(to, diffusion.right, padded[..., 1:-1, 2:])
        to.addcmul_(diffusion.left, padded[..., 1:-1, :-2])
        to.addcmul_(diffusion.below, padded[..., 2:, 1:-1])
        return to.addcmul_(diffusion.above, padded[..., :-2, 1:-1])

    def multiply(self, inverse: InverseBlocks, right: Tensor) -> Tensor:
        """Return the product of each pixel's inverse and its right-hand side; see Coupling."""
        product = inverse.on_diagonal * right
        return product.addcmul_(inverse.off_diagonal, right.flip(1))

    def extrapolate(self, before: Tensor | None, after: Tensor, weight: float) -> Tensor:
        """Return before + weight * (after - before); see Coupling."""
        return torch.lerp(torch.zeros_like(after) if before is None else before, after, weight)


class ShiftSolver:
    """A solver that sums shifted tensors, which is the fastest way in PyTorch."""

    def differentiate_x(self, image: Tensor) -> Tensor:
        """Return the central difference in x of `image`; see Solver."""
        padded = repeat_border(image, 1, 1, 0, 0)
        return 0.5 * (padded[..., 2:] - padded[..., :-2])

    def differentiate_y(self, image: Tensor) -> Tensor:
        """Return the central difference in y of `image`; see Solver."""
        padded = repeat_border(image, 0, 0, 1, 1)
        return 0.5 * (padded[..., 2:, :] - padded[..., :-2, :])

    def couple(self, diffusion: Diffusion) -> ShiftCoupling:
        """Return the linear solver's operations, implemented with shifted tensors; see Solver."""
        return ShiftCoupling(diffusion)


def _invert_blocks(system: NormalEquations, diffusion: Diffusion) -> InverseBlocks:
    """Return the inverse of each pixel's own 2 x 2 system."""
    xx = system.xx + diffusion.total + GRADIENT_FLOOR
    yy = system.yy + diffusion.total + GRADIENT_FLOOR
    determinant = xx * yy - system.xy * system.xy
    return InverseBlocks(torch.cat((yy, xx), dim=1) / determinant, -system.xy / determinant)


def solve_all_pixels(
    system: NormalEquations, diffusion: Diffusion, coupling: Coupling, flow: Tensor
) -> Tensor:
    """Return the increment of `flow` (N x 2 x H x W) that solves the systems of all pixels.

    The method is Jacobi iteration on 2 x 2 blocks with Chebyshev acceleration. Unlike the ordered
    sweeps of successive over-relaxation, it needs only whole-tensor operations, and it converges
    almost as fast.
    """
    inverse = _invert_blocks(system, diffusion)
    pull = coupling.compute_pull(system, flow)

    # Sweeps; the first starts from zero
    before: Tensor | None = None
    step = coupling.multiply(inverse, pull)
    weight = 1.0
    for sweep in range(1, SWEEPS):
        jacobi = coupling.multiply(inverse, coupling.add_neighbours(pull, step))
        weight = 1 / (1 - SPECTRAL_RADIUS**2 * weight / (2 if sweep == 1 else 4))
        ahead = coupling.extrapolate(before, jacobi, weight)
        before = step
        step = ahead
    return step


SHIFT_SOLVER = ShiftSolver()


def solve_variational_step(
    target: Tensor,
    warped: Tensor,
    flow: Tensor,
    weights: TermWeights,
    solver: Solver = SHIFT_SOLVER,
) -> Tensor:
    """Return the increment (N x 2 x H x W) of `flow` that aligns `warped` with `target`.

    `target` and `warped`, which was warped by `flow`, are luma (N x 1 x H x W in 0..1). `flow` is
    N x 2 x H x W in pixels at that resolution. Gradients flow to `weights` and, through the
    smoothness term, to `flow`. All solvers give the same result up to rounding.
    """
    brightness, gradients = _linearise(255 * target, 255 * warped, solver)
    brightness_system = _make_normal_equations((brightness,))
    gradient_system = _make_normal_equations(gradients)

    # A robust penalty, the absolute value of the residual, tolerates outliers
    residual = torch.square(brightness.constant)
    brightness_weight = BRIGHTNESS * weights.brightness * torch.rsqrt(residual + PENALTY_FLOOR)
    residual = torch.square(gradients[0].constant) + torch.square(gradients[1].constant)
    gradient_weight = GRADIENT * weights.gradient * torch.rsqrt(residual + PENALTY_FLOOR)

    system = NormalEquations(
        *(
            brightness_weight * a + gradient_weight * b
            for a, b in zip(brightness_system, gradient_system, strict=True)
        )
    )
    diffusion = Diffusion(flow, SMOOTHNESS * weights.smoothness)
    return solve_all_pixels(system, diffusion, solver.couple(diffusion), flow)
