"""Variational refinement: the linear solver compared with NumPy, and the effect of the terms."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from crossnetpp.networks import variational
from crossnetpp.networks.variational import TermWeights, solve_variational_step
from tests.support.variational import make_even_weights, make_texture, solve_densely


def shift_image(image: Tensor, x: float) -> Tensor:
    """Return `image` shifted by `x` pixels to the right, in the frequency domain."""
    frequencies = torch.fft.fftfreq(image.shape[-1])
    moved = torch.fft.fft(image, dim=-1) * torch.exp(-2j * torch.pi * frequencies * x)
    return torch.fft.ifft(moved, dim=-1).real


@pytest.fixture
def converged(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the solver converge, which a flow that is already close does not need."""
    monkeypatch.setattr(variational, "SWEEPS", 400)
    monkeypatch.setattr(variational, "SPECTRAL_RADIUS", 0.999)


@pytest.mark.usefixtures("converged")
def test_a_step_solves_the_system_of_all_pixels(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(variational, "SWEEPS", 3000)
    target, warped = make_texture(7, 9).double(), make_texture(7, 9, seed=1).double()
    flow = torch.from_numpy(np.random.default_rng(2).normal(0, 0.5, (1, 2, 7, 9)))
    step = solve_variational_step(target, warped, flow, make_even_weights(target))
    expected = solve_densely(
        255 * target[0, 0].numpy(), 255 * warped[0, 0].numpy(), flow[0].numpy()
    )  # fmt: skip
    assert np.abs(expected).max() > 0.1
    np.testing.assert_allclose(step[0].numpy(), expected, rtol=1e-6, atol=1e-6)


@pytest.mark.usefixtures("converged")
def test_motion_of_less_than_a_pixel_is_found() -> None:
    target = make_texture(48, 64)
    flow = torch.zeros(1, 2, 48, 64)
    for _ in range(3):
        warped = shift_image(shift_image(target, -0.6), -float(flow[:, 0].mean()))
        flow = flow + solve_variational_step(target, warped, flow, make_even_weights(target))
    inside = flow[..., 8:-8, 8:-8]
    assert inside[:, 0].mean().item() == pytest.approx(-0.6, abs=0.05)
    assert inside[:, 1].abs().mean().item() < 0.05


@pytest.mark.usefixtures("converged")
def test_pixels_without_weight_get_the_flow_of_their_neighbourhood() -> None:
    target = make_texture(48, 64)
    warped = shift_image(target, 0.5)
    hidden = torch.zeros_like(target)
    hidden[..., 14:34, 22:42] = 1
    warped = torch.where(hidden > 0, shift_image(target, -0.5), warped)
    loose = make_even_weights(target)._replace(smoothness=torch.full_like(target, 0.1))
    ignorant = solve_variational_step(target, warped, torch.zeros(1, 2, 48, 64), loose)
    little = 1 - 0.999 * hidden
    terms = loose._replace(brightness=little, gradient=little)
    informed = solve_variational_step(target, warped, torch.zeros(1, 2, 48, 64), terms)

    def error(flow: Tensor) -> float:
        truth = flow.new_tensor([0.5, 0.0]).view(1, 2, 1, 1)
        return float((flow - truth).norm(dim=1)[..., 16:32, 24:40].mean())

    assert error(informed) < 0.1
    assert error(ignorant) > 0.4


def test_pictures_without_structure_give_no_motion() -> None:
    grey = torch.full((1, 1, 16, 16), 0.5)
    step = solve_variational_step(grey, grey, torch.zeros(1, 2, 16, 16), make_even_weights(grey))
    assert torch.equal(step, torch.zeros(1, 2, 16, 16))


def test_gradients_reach_the_flow_and_every_weight() -> None:
    target = make_texture(16, 16)
    flow = torch.randn(1, 2, 16, 16, requires_grad=True)
    terms = TermWeights(*(torch.ones_like(target).requires_grad_() for _ in range(3)))
    solve_variational_step(target, make_texture(16, 16, seed=1), flow, terms).sum().backward()
    for tensor in (flow, *terms):
        assert tensor.grad is not None
        assert tensor.grad.abs().sum() > 0
