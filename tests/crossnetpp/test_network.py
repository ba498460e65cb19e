"""The two networks: published parameter counts, cost, shapes, gradients."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from crossnetpp.fast import CrossNetFast
from crossnetpp.model import CrossNetPlusPlus, build


def parameters(module: nn.Module) -> int:
    return sum(p.numel() for p in module.parameters())


def test_paper_network_has_the_published_parameters() -> None:
    network = build("paper")
    assert isinstance(network, CrossNetPlusPlus)
    assert parameters(network.flow1) == parameters(network.flow2) == 33_830_110
    assert parameters(network.encoder) == 414_720
    assert parameters(network.decoder) == 939_011
    assert parameters(network) == 69_013_951


def test_paper_network_costs_what_its_layers_say() -> None:
    network = build("paper").eval()
    with torch.inference_mode(), FlopCounterMode(display=False) as counter:
        network(torch.rand(1, 3, 80, 128), torch.rand(1, 3, 320, 512))
    assert counter.get_total_flops() / 2e9 == pytest.approx(187.2, abs=0.5)


def test_fast_network_stays_within_16_gflop() -> None:
    network = build("fast").eval()
    with torch.inference_mode(), FlopCounterMode(display=False) as counter:
        network(torch.rand(1, 3, 80, 128), torch.rand(1, 3, 320, 512))
    assert counter.get_total_flops() <= 16e9


@pytest.mark.parametrize(("preset", "scale"), [("fast", 2), ("fast", 4), ("fast", 8), ("paper", 4)])
def test_forward_returns_the_size_of_the_reference(preset: str, scale: int) -> None:
    network = build(preset).eval()
    ref = torch.rand(2, 3, 128, 192)
    with torch.inference_mode():
        output = network(torch.rand(2, 3, 128 // scale, 192 // scale), ref)
    assert output.sr.shape == ref.shape
    assert torch.isfinite(output.sr).all()


def test_paper_flow_is_given_at_four_scales() -> None:
    network = build("paper").eval()
    with torch.inference_mode():
        output = network(torch.rand(1, 3, 32, 48), torch.rand(1, 3, 128, 192))
    sizes = [tuple(flow.shape) for flow in output.flow_stage2]
    assert sizes == [(1, 2, 16, 24), (1, 2, 32, 48), (1, 2, 64, 96), (1, 2, 128, 192)]


def test_every_part_of_fast_receives_a_gradient() -> None:
    torch.manual_seed(0)
    network = CrossNetFast()
    output = network(torch.rand(1, 3, 16, 16), torch.rand(1, 3, 64, 64))
    (output.sr.square().mean() + output.warped.square().mean()).backward()  # type: ignore[no-untyped-call]
    missing = [name for name, p in network.named_parameters() if p.grad is None]
    assert not missing


def test_fast_shares_one_encoder() -> None:
    network = CrossNetFast()
    image = torch.rand(1, 3, 64, 64)
    encoders = [m for m in network.modules() if type(m) is type(network.encoder)]
    assert len(encoders) == 1
    assert [f.shape[-1] for f in network.encoder(image)] == [16, 8, 4, 2]
