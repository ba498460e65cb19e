"""Arbitration: each pixel follows the flow that explains LR best, computed once more by hand."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.ndimage import map_coordinates, uniform_filter
from torch import Tensor

from crossnetpp.networks.arbitration import FLOOR, HANDICAP, SHARPNESS, arbitrate_flows
from crossnetpp.networks.build import build_network
from crossnetpp.networks.fast import CrossNetFast


def make_texture(seed: int) -> Tensor:
    """Return a smooth random picture, 1 x 1 x 64 x 96 in 0..1."""
    noise = torch.rand(1, 1, 16, 24, generator=torch.Generator().manual_seed(seed))
    return torch.nn.functional.interpolate(noise, size=(64, 96), mode="bicubic").clamp(0, 1)


def make_flow(x: float, y: float) -> Tensor:
    """Return the same motion for every pixel, 1 x 2 x 64 x 96."""
    return torch.tensor([x, y]).view(1, 2, 1, 1).expand(1, 2, 64, 96).contiguous()


def test_every_region_follows_the_flow_that_explains_it() -> None:
    unsharp = make_texture(0)
    right = make_flow(5, 0)
    down = make_flow(0, 4)

    # The left third moves by `right`, the middle by `down`, and the rest stands still
    target = unsharp.clone()
    target[..., :32] = unsharp[..., 5:37]
    target[..., :-4, 32:64] = unsharp[..., 4:, 32:64]
    chosen = arbitrate_flows(target, unsharp, (right, down), 5)

    inside = slice(8, -8)
    assert (chosen - right)[..., inside, 6:26].abs().max() < 0.01
    assert (chosen - down)[..., inside, 38:58].abs().max() < 0.01
    assert chosen[..., inside, 70:90].abs().max() < 0.01


def test_the_weights_are_those_of_an_independent_computation() -> None:
    unsharp = make_texture(1)
    target = 0.5 * (make_texture(2) + unsharp)
    flows = [make_flow(3, -2), make_flow(-1.5, 0.5)]
    chosen = arbitrate_flows(target, unsharp, flows, 9)[0].numpy()

    image = unsharp[0, 0].numpy().astype(float)
    rows, cols = np.mgrid[:64, :96].astype(float)
    weights = []
    for (x, y), handicap in (((3, -2), 1), ((-1.5, 0.5), 1), ((0, 0), HANDICAP)):
        # Whole steps and half steps of a bicubic kernel with a = -0.75
        warped = sample_bicubic(image, rows + y, cols + x)
        error = uniform_filter((warped - target[0, 0].numpy()) ** 2, 9, mode="nearest")
        weights.append((handicap * (error + FLOOR**2)) ** -float(SHARPNESS))
    share = np.array(weights) / np.sum(weights, axis=0)
    expected_x = share[0] * 3 + share[1] * -1.5
    expected_y = share[0] * -2 + share[1] * 0.5
    inside = (slice(8, -8), slice(8, -8))
    np.testing.assert_allclose(chosen[0][inside], expected_x[inside], atol=2e-3)
    np.testing.assert_allclose(chosen[1][inside], expected_y[inside], atol=2e-3)


def sample_bicubic(image: np.ndarray, rows: np.ndarray, cols: np.ndarray) -> np.ndarray:
    """Return `image` sampled by Keys' kernel with a = -0.75; coordinates are clamped."""

    def weigh(distance: np.ndarray) -> np.ndarray:
        d = np.abs(distance)
        near = 1.25 * d**3 - 2.25 * d**2 + 1
        far = -0.75 * (d**3 - 5 * d**2 + 8 * d - 4)
        return np.where(d <= 1, near, np.where(d < 2, far, 0))

    total = np.zeros_like(rows)
    for dy in range(-1, 3):
        for dx in range(-1, 3):
            row, col = np.floor(rows) + dy, np.floor(cols) + dx
            weight = weigh(rows - row) * weigh(cols - col)
            total += weight * map_coordinates(image, (row, col), order=0, mode="nearest")
    return total


def test_an_exact_match_everywhere_gives_finite_flows() -> None:
    still = torch.full((1, 1, 64, 96), 0.5)
    flow = make_flow(2, 2)
    chosen = arbitrate_flows(still, still, (flow,), 9)
    # All errors are 0, so only the handicap decides
    share = 1 / (1 + HANDICAP**-SHARPNESS)
    torch.testing.assert_close(chosen, share * flow)


@pytest.mark.parametrize("stages", [1, 2])
@pytest.mark.parametrize("scale", [2, 4, 8])
def test_a_network_with_arbitration_uses_it_at_every_scale(stages: int, scale: int) -> None:
    torch.manual_seed(0)
    with_it, without = (
        build_network("fast", {"stages": stages, "arbitration": arbitration}).eval()
        for arbitration in (True, False)
    )
    assert isinstance(with_it, CrossNetFast)
    # The search is wrong by 8 pixels of 1/8 size, and the reference is the frame itself
    torch.nn.init.constant_(with_it.stage1.head8.flow.bias, 8)
    without.load_state_dict(with_it.state_dict())
    ref = torch.nn.functional.interpolate(make_texture(3), size=(128, 192)).repeat(1, 3, 1, 1)
    lr = torch.nn.functional.interpolate(ref, scale_factor=1 / scale, mode="area")
    with torch.inference_mode():
        found, expected = with_it(lr, ref), without(lr, ref)
    assert found.flow.shape == expected.flow.shape
    assert expected.flow.abs().mean() > 32
    assert found.flow.abs().mean() < 4
