"""Variational refinement: the linear solver compared with NumPy, and the effect of the terms."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
import torch
from torch import Tensor

from crossnetpp.networks import variational
from crossnetpp.networks.variational import (
    GRADIENT_FLOOR,
    PENALTY_FLOOR,
    TermWeights,
    solve_variational_step,
)


def make_texture(height: int, width: int, seed: int = 0) -> Tensor:
    """Return 1 x 1 x H x W smooth noise in 0..1."""
    noise = np.random.default_rng(seed).random((height, width)).astype(np.float32)
    image = cv2.GaussianBlur(noise, (0, 0), 1.5)
    image = (image - image.min()) / (image.max() - image.min())
    return torch.from_numpy(image)[None, None]


def make_even_weights(like: Tensor) -> TermWeights:
    return TermWeights(torch.ones_like(like), torch.ones_like(like), torch.ones_like(like))


def shift_image(image: Tensor, x: float) -> Tensor:
    """Return `image` shifted by `x` pixels to the right, in the frequency domain."""
    frequencies = torch.fft.fftfreq(image.shape[-1])
    moved = torch.fft.fft(image, dim=-1) * torch.exp(-2j * torch.pi * frequencies * x)
    return torch.fft.ifft(moved, dim=-1).real


def differentiate(image: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    padded = np.pad(image, 1, mode="edge")
    return (
        (padded[1:-1, 2:] - padded[1:-1, :-2]) / 2,
        (padded[2:, 1:-1] - padded[:-2, 1:-1]) / 2,
    )


def solve_densely(target: np.ndarray, warped: np.ndarray, flow: np.ndarray) -> np.ndarray:
    """Return the increment from one dense system over all pixels, assembled term by term."""
    height, width = target.shape
    mean = (target + warped) / 2
    difference = warped - target
    x, y = differentiate(mean)
    (xx, xy), (_, yy) = differentiate(x), differentiate(y)
    xt, yt = differentiate(difference)
    matrix = np.zeros((2 * height * width, 2 * height * width))
    right = np.zeros(2 * height * width)
    slope = np.zeros((height, width))
    for channel in flow:
        slope[:, :-1] += (channel[:, 1:] - channel[:, :-1]) ** 2
        slope[:-1] += (channel[1:] - channel[:-1]) ** 2
    smoothness = 20 / np.sqrt(slope + PENALTY_FLOOR)

    for row in range(height):
        for col in range(width):
            at = row, col
            here = 2 * (row * width + col)
            brightness = [(x[at], y[at], difference[at])]
            both = [(xx[at], xy[at], xt[at]), (xy[at], yy[at], yt[at])]
            for lines, weight in ((brightness, 5), (both, 10)):
                scaled = [np.array(line) / np.sqrt(line[0] ** 2 + line[1] ** 2 + GRADIENT_FLOOR)
                          for line in lines]  # fmt: skip
                weight /= np.sqrt(sum(line[2] ** 2 for line in scaled) + PENALTY_FLOOR)
                for u, v, constant in scaled:
                    matrix[here, here] += weight * u * u
                    matrix[here, here + 1] += weight * u * v
                    matrix[here + 1, here] += weight * u * v
                    matrix[here + 1, here + 1] += weight * v * v
                    right[here] -= weight * u * constant
                    right[here + 1] -= weight * v * constant
            for channel in (0, 1):
                matrix[here + channel, here + channel] += GRADIENT_FLOOR
                for down, across in ((0, 1), (1, 0)):
                    other = row + down, col + across
                    if other[0] == height or other[1] == width:
                        continue
                    there = 2 * (other[0] * width + other[1])
                    pull = smoothness[at] * (flow[channel][other] - flow[channel][at])
                    for one, two, sign in ((here, there, 1), (there, here, -1)):
                        matrix[one + channel, one + channel] += smoothness[at]
                        matrix[one + channel, two + channel] -= smoothness[at]
                        right[one + channel] += sign * pull
    solution: np.ndarray = np.linalg.solve(matrix, right)
    return solution.reshape(height, width, 2).transpose(2, 0, 1)


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
