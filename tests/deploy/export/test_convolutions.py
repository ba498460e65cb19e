"""The solver made of convolutions: its derivatives and steps compared with a dense system."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from crossnetpp.networks import variational
from crossnetpp.networks.variational import (
    SHIFT_SOLVER,
    Diffusion,
    TermWeights,
    solve_variational_step,
)
from deploy.export.convolutions import ConvolutionSolver
from tests.support.variational import make_even_weights, make_texture, solve_densely


def make_flow(height: int, width: int) -> Tensor:
    """Return a random flow, 1 x 2 x H x W float64."""
    return torch.from_numpy(np.random.default_rng(2).normal(0, 0.5, (1, 2, height, width)))


def make_uneven_weights(height: int, width: int) -> TermWeights:
    """Return random weights, 1 x 1 x H x W float64 each, from half to twice the usual ones."""
    rng = np.random.default_rng(3)
    return TermWeights(
        *(torch.from_numpy(np.exp2(rng.uniform(-1, 1, (1, 1, height, width)))) for _ in range(3))
    )


def test_a_step_solves_the_system_of_all_pixels(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(variational, "SWEEPS", 3000)
    monkeypatch.setattr(variational, "SPECTRAL_RADIUS", 0.999)
    target, warped = make_texture(7, 9).double(), make_texture(7, 9, seed=1).double()
    flow = make_flow(7, 9)
    step = solve_variational_step(
        target, warped, flow, make_even_weights(target), ConvolutionSolver()
    )
    expected = solve_densely(
        255 * target[0, 0].numpy(), 255 * warped[0, 0].numpy(), flow[0].numpy()
    )  # fmt: skip
    assert np.abs(expected).max() > 0.1
    np.testing.assert_allclose(step[0].numpy(), expected, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("size", [(2, 2), (5, 3), (24, 32)])
def test_a_step_is_that_of_the_shifts(size: tuple[int, int]) -> None:
    target, warped = make_texture(*size).double(), make_texture(*size, seed=1).double()
    weights = make_uneven_weights(*size)
    expected = solve_variational_step(target, warped, make_flow(*size), weights, SHIFT_SOLVER)
    step = solve_variational_step(target, warped, make_flow(*size), weights, ConvolutionSolver())
    assert expected.abs().max() > 0.1
    torch.testing.assert_close(step, expected, rtol=1e-9, atol=1e-9)


def test_derivatives_are_those_of_the_shifts() -> None:
    picture = make_texture(9, 12)
    for name in ("differentiate_x", "differentiate_y"):
        expected = getattr(SHIFT_SOLVER, name)(picture)
        torch.testing.assert_close(getattr(ConvolutionSolver(), name)(picture), expected)


def test_neighbours_are_added_with_their_own_strength() -> None:
    flow = make_flow(6, 7)
    diffusion = Diffusion(flow, make_uneven_weights(6, 7).smoothness)
    to = torch.ones_like(flow)
    expected = SHIFT_SOLVER.couple(diffusion).add_neighbours(to, flow)
    added = ConvolutionSolver().couple(diffusion).add_neighbours(to, flow)
    torch.testing.assert_close(added, expected, rtol=1e-12, atol=1e-12)
