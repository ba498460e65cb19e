"""8-bit convolutions: the numbers of an independent computation, and `fast` with them."""

from __future__ import annotations

import math
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from torch import nn

from crossnetpp.checkpoint import load_network, save_weights
from crossnetpp.networks.build import build_network
from crossnetpp.networks.taps import make_box_taps
from deploy.engines import int8
from deploy.engines.int8 import (
    Int8Convolution,
    choose_factors,
    choose_scale,
    is_int8_fast,
    round_network,
)
from deploy.engines.int8_engine import Int8Engine
from deploy.load import list_candidates
from deploy.protocol import EngineError
from deploy.selftest import LOWEST_PSNR, compare_engines, load_baseline_engine

needs_int8 = pytest.mark.skipif(
    not int8.is_int8_usable(), reason="PyTorch has no 8-bit convolutions here"
)


def convolve_rounded(
    convolution: nn.Conv2d, inputs: torch.Tensor, largest: torch.Tensor
) -> torch.Tensor:
    """Return a convolution of rounded weights and inputs, computed in float64."""
    weight = convolution.weight.detach().double()
    factors = (largest.double() / weight.abs().amax((0, 2, 3))).sqrt()
    factors = (factors / factors.median()).view(1, -1, 1, 1)
    weight = weight * factors
    inputs = inputs.double() / factors
    scales = weight.abs().amax((1, 2, 3), keepdim=True) / 127
    weight = (weight / scales).round() * scales

    low, high = min(float(inputs.min()), 0.0), max(float(inputs.max()), 0.0)
    scale, zero = choose_scale(low, high)
    levels = torch.floor(inputs / scale + zero + 0.5)
    assert levels.min() >= 0
    assert levels.max() <= 255
    return nn.functional.conv2d(
        (levels - zero) * scale,
        weight,
        convolution.bias.detach().double(),
        convolution.stride,
        convolution.padding,
    )


@needs_int8
@pytest.mark.parametrize("shift", [0.0, 5.0, -5.0])
@pytest.mark.parametrize("stride", [1, 2])
def test_sums_are_those_of_rounded_numbers(shift: float, stride: int) -> None:
    torch.manual_seed(1)
    convolution = nn.Conv2d(12, 16, 3, stride=stride, padding=1)
    largest = torch.linspace(1, 9, 12)
    inputs = (torch.randn(1, 12, 20, 28) + shift) * largest.view(1, -1, 1, 1)
    with torch.inference_mode():
        actual = Int8Convolution(convolution, largest)(inputs)
    expected = convolve_rounded(convolution, inputs, largest)
    assert actual.shape == expected.shape
    # Rare inputs between two levels are rounded differently in float32
    assert (actual - expected).abs().median() < 1e-5
    assert (actual - expected).norm() < 2e-3 * expected.norm()


@pytest.mark.parametrize(
    ("low", "high"),
    [(0.0, 0.0), (-1e-9, 1e-9), (-3.0, 7.0), (2.0, 5.0), (-5.0, -2.0), (0.0, 254.0)],
)
def test_all_values_fit_into_the_levels(low: float, high: float) -> None:
    scale, zero = choose_scale(low, high)
    assert 1 <= zero <= 254
    values = np.linspace(min(low, 0), max(high, 0), 1001).astype(np.float32)
    levels = np.floor(values / np.float32(scale) + np.float32(zero + 0.5))
    assert levels.min() >= 0
    assert levels.max() <= 255
    assert np.abs((levels - zero) * scale - values).max() <= 0.501 * scale


@pytest.mark.parametrize("high", [math.inf, math.nan])
def test_values_that_are_not_finite_have_a_scale(high: float) -> None:
    assert choose_scale(-1.0, high) == (1.0, 127)


@pytest.mark.parametrize("weights", [1.0, 0.0])
def test_unused_channels_keep_the_factors_of_others_bounded(weights: float) -> None:
    used = torch.tensor([1.0, 4.0, 16.0, 1.0])
    factors = choose_factors(used, torch.tensor([1.0, 1.0, 1.0, weights]))
    assert factors.min() >= 1 / 16
    assert factors.max() <= 16
    np.testing.assert_allclose((factors / factors[0])[:3], [1, 2, 4], rtol=1e-6)


@needs_int8
def test_only_the_fusion_and_the_weights_are_rounded() -> None:
    network = load_network("fast")
    round_network(network)
    rounded = {n for n, m in network.named_modules() if isinstance(m, Int8Convolution)}
    assert {name.split(".")[0] for name in rounded} >= {"fusion", "refinement"}
    kept = {n for n, m in network.named_modules() if isinstance(m, nn.Conv2d)}
    assert not any(name.startswith("fusion") for name in kept)
    assert any(name.startswith("encoder") for name in kept)
    assert any(name.startswith("stage1") for name in kept)


@needs_int8
def test_the_network_passes_its_self_test() -> None:
    figures = compare_engines(Int8Engine(), load_baseline_engine("fast"))
    assert LOWEST_PSNR["int8"] < figures["psnr"] < 70


@needs_int8
def test_almost_all_pixels_of_a_photograph_are_within_a_level() -> None:
    photograph = cv2.imread("tests/data/kodak_21.jpg")[:256, :384, ::-1]
    lr = cv2.resize(photograph, (96, 64), interpolation=cv2.INTER_AREA)[None]
    refs = [np.roll(photograph, shift, axis=(0, 1))[None].copy() for shift in ((2, 3), (-4, 1))]
    kernel = make_box_taps(4)
    rounded, exact = (
        engine.enhance(lr, *refs, kernel=kernel).astype(int)
        for engine in (Int8Engine(), load_baseline_engine("fast"))
    )
    assert (np.abs(rounded - exact) <= 1).mean() > 0.999


@needs_int8
def test_frames_of_16_bits_are_computed_in_float32() -> None:
    photograph = cv2.imread("tests/data/kodak_21.jpg")[:96, :128, ::-1].astype(np.uint16) * 257
    lr = cv2.resize(photograph, (32, 24), interpolation=cv2.INTER_AREA)[None]
    ref = np.roll(photograph, 3, axis=1)[None].copy()
    first, second = (
        engine.enhance(lr, ref) for engine in (Int8Engine(), load_baseline_engine("fast"))
    )
    np.testing.assert_array_equal(first, second)


@needs_int8
def test_batches_and_repetition_do_not_change_bits() -> None:
    photograph = cv2.imread("tests/data/kodak_21.jpg")[:96, :256, ::-1]
    refs = np.stack([photograph[:, :128], photograph[:, 128:]])
    lr = np.stack([cv2.resize(each, (32, 24), interpolation=cv2.INTER_AREA) for each in refs])
    engine = Int8Engine(threads=1)
    together = engine.enhance(lr, refs)
    np.testing.assert_array_equal(engine.enhance(lr, refs), together)
    for i in range(2):
        alone = Int8Engine(threads=1).enhance(lr[i : i + 1], refs[i : i + 1])
        np.testing.assert_array_equal(alone[0], together[i])


def test_a_pytorch_without_the_operations_has_no_such_engine(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def refuse(*_: object) -> None:
        raise AttributeError("no operation")

    monkeypatch.setattr(int8, "Int8Convolution", refuse)
    assert not is_int8_fast()
    assert "int8" not in list_candidates()
    with pytest.raises(
        EngineError, match="do not work in PyTorch on this machine; try --engine torch"
    ):
        Int8Engine()


@pytest.mark.parametrize("flags", [{}, {"avx512_vnni": False}, None])
def test_auto_leaves_it_out_on_processors_without_dot_products(
    flags: dict[str, bool] | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    if flags is None:
        monkeypatch.delattr(torch.cpu, "get_capabilities", raising=False)
    else:
        monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: flags, raising=False)
    assert not is_int8_fast()
    assert "int8" not in list_candidates()


@needs_int8
def test_other_networks_are_refused(tmp_path: Path) -> None:
    weights = tmp_path / "paper.safetensors"
    save_weights(build_network("paper"), "paper", weights)
    with pytest.raises(EngineError, match="runs only the network 'fast', not"):
        Int8Engine(str(weights))
