"""Refinement of optical flow on the LR grid, with the exact derivative of LR with respect to it.

An image that is moved by a fraction of an LR pixel and then reduced changes in a way that the
gradient of the reduced image does not predict, because LR aliases. The reduced gradient of the HR
image does predict it.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from crossnetpp.networks.resample import reduce_antialiased
from crossnetpp.networks.variational import Diffusion, NormalEquations, Solver, solve_all_pixels
from crossnetpp.networks.warp import warp

NOISE = 1.5  # levels (0..255); larger errors count less than squared
SMOOTHNESS = 25.0  # weight of the smoothness term for luma in 0..255
SLOPE_FLOOR = 1e-3  # squared; with a smaller one, ten sweeps could not move a uniform flow


class SimulatedLr(NamedTuple):
    """LR as it would be if a flow were right, all N x 1 x h x w in 0..1 per LR pixel."""

    luma: Tensor
    x: Tensor
    """Derivative of `luma` with respect to the flow in x."""
    y: Tensor
    """Derivative of `luma` with respect to the flow in y."""


def simulate_with_gradient(
    ref_luma: Tensor, flow: Tensor, scale: int, taps: Tensor | None, solver: Solver
) -> SimulatedLr:
    """Return the LR luma of the reference warped by `flow`, and its derivatives.

    `ref_luma` is N x 1 x H x W, and `flow` is N x 2 x H x W pixels. `taps` is the kernel that
    reduced HR to LR, as in `taps.py`.
    """
    warped = warp(ref_luma, flow, mode="bicubic")
    gradient = (solver.differentiate_x(warped), solver.differentiate_y(warped))
    reduced = reduce_antialiased(torch.cat((warped, *gradient), dim=1), scale, taps)

    # A flow of one LR pixel moves the reference by `scale` pixels
    luma, x, y = torch.split(reduced, 1, dim=1)
    return SimulatedLr(luma, scale * x, scale * y)


def solve_lr_step(
    lr_luma: Tensor, simulated: SimulatedLr, flow: Tensor, smoothing: float, solver: Solver
) -> Tensor:
    """Return the increment of `flow` (N x 2 x h x w LR pixels) with which LR is explained better.

    This is one Gauss-Newton step. `simulated` is the result of `simulate_with_gradient` for `flow`.
    With a `smoothing` of 1, the smoothness term requires that the new flow is smooth, and with 0,
    only that the increment is. Unlike those of the variational refinement, the weights of the terms
    are constant. Gradients flow to `flow` through the smoothness term.
    """
    x, y = 255 * simulated.x, 255 * simulated.y
    error = 255 * (simulated.luma - lr_luma)

    # The penalty sqrt(error^2 + NOISE^2) tolerates outliers
    weight = torch.rsqrt(torch.square(error) + NOISE**2)
    system = NormalEquations(
        weight * x * x, weight * x * y, weight * y * y, weight * x * error, weight * y * error
    )
    diffusion = Diffusion(flow, torch.full_like(error, SMOOTHNESS), SLOPE_FLOOR)
    return solve_all_pixels(system, diffusion, solver.couple(diffusion), smoothing * flow)


def reduce_flow(flow: Tensor, factor: int) -> Tensor:
    """Return `flow` on a grid that is 1/`factor` as fine, each in pixels of its own grid."""
    return F.avg_pool2d(flow, factor) / factor if factor > 1 else flow
