"""Refinement on the LR grid: exact derivatives, the linear system, and motion below an LR pixel."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from crossnetpp.networks import variational
from crossnetpp.networks.build import build_network
from crossnetpp.networks.lr_refinement import (
    NOISE,
    SLOPE_FLOOR,
    SMOOTHNESS,
    SimulatedLr,
    reduce_flow,
    simulate_with_gradient,
    solve_lr_step,
)
from crossnetpp.networks.resample import reduce_antialiased
from crossnetpp.networks.taps import make_box_taps
from crossnetpp.networks.variational import SHIFT_SOLVER
from crossnetpp.networks.warp import warp
from tests.support.variational import make_texture

SCALE = 4
BOX = torch.from_numpy(make_box_taps(SCALE))


def make_flow(x: float, y: float, height: int, width: int) -> Tensor:
    """Return the same motion for every pixel, 1 x 2 x H x W."""
    return torch.tensor([x, y]).view(1, 2, 1, 1).expand(1, 2, height, width).contiguous()


@pytest.mark.parametrize("axis", [0, 1])
def test_the_derivatives_are_those_of_finite_differences(axis: int) -> None:
    ref = make_texture(64, 96)
    start = (1, -2)
    found = simulate_with_gradient(ref, make_flow(*start, 64, 96), SCALE, BOX, SHIFT_SOLVER)

    sides = []
    for sign in (-1, 1):
        moved = [*start]
        moved[axis] += sign
        warped = warp(ref, make_flow(*moved, 64, 96), mode="bicubic")
        sides.append(reduce_antialiased(warped, SCALE, BOX))
    # LR changes by this much if the flow changes by an LR pixel
    expected = (sides[1] - sides[0]) / 2 * SCALE
    inside = np.s_[..., 2:-2, 2:-2]
    assert expected[inside].abs().mean() > 0.05
    torch.testing.assert_close((found.x, found.y)[axis][inside], expected[inside])


@pytest.mark.parametrize("smoothing", [0.0, 0.3, 1.0])
def test_a_step_solves_the_system_of_all_pixels(
    monkeypatch: pytest.MonkeyPatch, smoothing: float
) -> None:
    monkeypatch.setattr(variational, "SWEEPS", 3000)
    monkeypatch.setattr(variational, "SPECTRAL_RADIUS", 0.999)
    rng = np.random.default_rng(0)
    lr, luma, x, y = (torch.from_numpy(rng.random((1, 1, 5, 6))) for _ in range(4))
    flow = torch.from_numpy(rng.normal(0, 0.5, (1, 2, 5, 6)))
    simulated = SimulatedLr(luma, 0.1 * x, 0.1 * y)
    got = solve_lr_step(lr, simulated, flow, smoothing, SHIFT_SOLVER)[0].numpy()

    # The gradient of the quadratic that approximates the penalties must vanish
    dx, dy, error = (a[0, 0].numpy() for a in (25.5 * x, 25.5 * y, 255 * (luma - lr)))
    weight = 1 / np.sqrt(error**2 + NOISE**2)
    residual = weight * (dx * got[0] + dy * got[1] + error)
    before, smoothed = flow[0].numpy(), smoothing * flow[0].numpy() + got
    slope = np.zeros((5, 6))
    slope[:, :-1] += np.square(np.diff(before, axis=2)).sum(0)
    slope[:-1] += np.square(np.diff(before, axis=1)).sum(0)
    strength = SMOOTHNESS / np.sqrt(slope + SLOPE_FLOOR)
    for channel, derivative in enumerate((dx, dy)):
        gradient = residual * derivative + variational.GRADIENT_FLOOR * got[channel]
        across = strength[:, :-1] * np.diff(smoothed[channel], axis=1)
        down = strength[:-1] * np.diff(smoothed[channel], axis=0)
        gradient[:, :-1] -= across
        gradient[:, 1:] += across
        gradient[:-1] -= down
        gradient[1:] += down
        assert np.abs(gradient).max() < 1e-4 * np.abs(residual * derivative).max()


@pytest.mark.parametrize("smoothing", [0.3, 1.0])
def test_steps_find_motion_where_lr_aliases(smoothing: float) -> None:
    # Much of this texture's energy is above the Nyquist frequency of LR
    ref = make_texture(96, 128)
    truth = make_flow(0.9, -0.7, 96, 128)
    lr = reduce_antialiased(warp(ref, truth, mode="bicubic"), SCALE, BOX)

    flow = torch.zeros(1, 2, 24, 32)
    errors = []
    for _ in range(4):
        full = torch.nn.functional.interpolate(flow, scale_factor=4, mode="bilinear") * SCALE
        errors.append(float((full - truth)[..., 16:-16, 16:-16].norm(dim=1).mean()))
        simulated = simulate_with_gradient(ref, full, SCALE, BOX, SHIFT_SOLVER)
        flow = flow + solve_lr_step(lr, simulated, flow, smoothing, SHIFT_SOLVER)
    assert errors[0] == pytest.approx(np.hypot(0.9, 0.7), abs=1e-3)
    assert errors[-1] < 0.1


def test_pictures_without_structure_give_no_motion() -> None:
    grey = torch.full((1, 1, 16, 16), 0.5)
    flow = torch.zeros(1, 2, 16, 16)
    simulated = SimulatedLr(grey, torch.zeros_like(grey), torch.zeros_like(grey))
    step = solve_lr_step(grey, simulated, flow, 1.0, SHIFT_SOLVER)
    assert torch.equal(step, flow)


def test_without_smoothing_a_flow_that_explains_lr_stays_rough() -> None:
    # The derivatives are positive, so that only the smoothness term could move the flow
    rng = np.random.default_rng(0)
    lr, x, y = (torch.from_numpy(rng.random((1, 1, 8, 8))) for _ in range(3))
    flow = torch.from_numpy(rng.normal(0, 0.5, (1, 2, 8, 8)))
    simulated = SimulatedLr(lr, x, y)
    assert not solve_lr_step(lr, simulated, flow, 0.0, SHIFT_SOLVER).any()
    assert solve_lr_step(lr, simulated, flow, 1.0, SHIFT_SOLVER).abs().mean() > 0.01


def test_a_reduced_flow_is_the_mean_in_larger_pixels() -> None:
    flow = torch.arange(16.0).view(1, 1, 4, 4).repeat(1, 2, 1, 1)
    assert reduce_flow(flow, 2)[0, 0].tolist() == [[1.25, 2.25], [5.25, 6.25]]
    assert torch.equal(reduce_flow(flow, 1), flow)


def test_x8_has_no_refinement_on_the_lr_grid() -> None:
    torch.manual_seed(0)
    networks = [build_network("fast", {"lr_steps": steps}).eval() for steps in (1, 0)]
    networks[1].load_state_dict(networks[0].state_dict(), strict=False)
    ref = make_texture(64, 96).repeat(1, 3, 1, 1)
    for scale, is_refined in ((8, False), (4, True)):
        lr = reduce_antialiased(torch.roll(ref, 1, dims=3), scale)
        with torch.inference_mode():
            with_step, without = (network(lr, ref).flow for network in networks)
        assert torch.equal(with_step, without) is not is_refined
