"""Networks: published parameter counts, cost, shapes, gradients, options and stored weights."""

from __future__ import annotations

import json
from itertools import product
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from crossnetpp.checkpoint import WeightsError, load_network, save_weights
from crossnetpp.networks.blocks import merge_blocks, split_into_blocks
from crossnetpp.networks.build import build_network
from crossnetpp.networks.fast import CrossNetFast
from crossnetpp.networks.flow_net import MultiScaleFlow, join_flows
from crossnetpp.networks.paper import CrossNetPlusPlus, PaperOutput
from crossnetpp.networks.presets import PaperConfig, make_config
from crossnetpp.networks.warp import warp


def count_parameters(module: nn.Module) -> int:
    return sum(p.numel() for p in module.parameters())


def build_on_meta(preset: str, **options: Any) -> CrossNetPlusPlus:
    """Return a network on the meta device, which has shapes but no memory."""
    with torch.device("meta"):
        network = build_network(preset, options)
    assert isinstance(network, CrossNetPlusPlus)
    return network


def test_paper_network_has_the_published_parameters() -> None:
    network = build_network("paper")
    assert isinstance(network, CrossNetPlusPlus)
    assert count_parameters(network.flow1) == count_parameters(network.flow2) == 33_830_110
    assert count_parameters(network.encoder) == 414_720
    assert count_parameters(network.decoder) == 939_011
    assert count_parameters(network) == 69_013_951


def test_one_stage_has_the_parameters_of_crossnet() -> None:
    assert count_parameters(build_on_meta("crossnet")) == 35_183_841
    assert count_parameters(build_on_meta("crossnet", shared_encoder=False)) == 35_598_561
    assert count_parameters(build_on_meta("paper", stages=1)) == 35_183_841
    assert count_parameters(build_on_meta("paper", shared_encoder=False)) == 69_013_951 + 414_720


@pytest.mark.parametrize(("preset", "gmac"), [("paper", 187.2), ("crossnet", 155.8)])
def test_published_networks_have_the_cost_of_their_layers(preset: str, gmac: float) -> None:
    lr, ref = (torch.rand(1, 3, *size, device="meta") for size in ((80, 128), (320, 512)))
    with FlopCounterMode(display=False) as counter:
        build_on_meta(preset)(lr, ref)
    assert counter.get_total_flops() / 2e9 == pytest.approx(gmac, abs=0.5)


def test_blocks_agree_with_pixel_unshuffle() -> None:
    image = torch.rand(2, 9, 32, 64)
    assert torch.equal(split_into_blocks(image, 4), nn.functional.pixel_unshuffle(image, 4))
    blocks = torch.rand(2, 80, 8, 16).to(memory_format=torch.channels_last)
    assert torch.equal(merge_blocks(blocks, 4), nn.functional.pixel_shuffle(blocks, 4))


@pytest.mark.parametrize("model", ["fast", "fast-recorded"])
@pytest.mark.parametrize(("references", "gflop"), [(1, 16), (2, 21)])
def test_fast_network_stays_within_its_budget(model: str, references: int, gflop: int) -> None:
    network = load_network(model).eval()
    refs = [torch.rand(1, 3, 320, 512) for _ in range(references)]
    with torch.inference_mode(), FlopCounterMode(display=False) as counter:
        network(torch.rand(1, 3, 80, 128), *refs)
    assert counter.get_total_flops() <= gflop * 1e9


@pytest.mark.parametrize(("preset", "scale"), [("fast", 2), ("fast", 4), ("fast", 8), ("paper", 4)])
def test_forward_returns_the_size_of_the_reference(preset: str, scale: int) -> None:
    network = build_network(preset).eval()
    ref = torch.rand(2, 3, 128, 192)
    with torch.inference_mode():
        output = network(torch.rand(2, 3, 128 // scale, 192 // scale), ref)
    assert output.sr.shape == ref.shape
    assert torch.isfinite(output.sr).all()


@pytest.mark.parametrize(
    ("stages", "shared", "warping", "upsample"),
    list(product((1, 2), (True, False), ("feature", "image"), ("bicubic", "learned"))),
)
def test_every_option_returns_all_that_the_losses_need(
    stages: int, shared: bool, warping: str, upsample: str
) -> None:
    network = build_on_meta(
        "paper", stages=stages, shared_encoder=shared, warping=warping, upsample=upsample
    )
    ref = torch.rand(2, 3, 128, 192, device="meta")
    output = network(ref[..., :32, :48], ref)
    for image in (output.sr, output.lr_up, output.warped, output.warped_stage1):
        assert image.shape == ref.shape
    for flow in (output.flow, output.flow_stage1):
        assert flow.shape == (2, 2, 128, 192)
    sizes = [(2, 2, 16, 24), (2, 2, 32, 48), (2, 2, 64, 96), (2, 2, 128, 192)]
    assert [tuple(flow.shape) for flow in output.flows_stage1] == sizes
    if stages == 1:
        assert output.flows_stage2 is None
    else:
        assert [tuple(flow.shape) for flow in output.flows_stage2] == sizes


@pytest.mark.parametrize("warping", ["feature", "image"])
@pytest.mark.parametrize("stages", [1, 2])
def test_the_super_resolution_loss_alone_reaches_every_part(stages: int, warping: str) -> None:
    network = build_on_meta(
        "paper", stages=stages, warping=warping, shared_encoder=False, upsample="learned"
    )
    ref = torch.rand(1, 3, 64, 64, device="meta")
    network(ref[..., :16, :16], ref).sr.square().mean().backward()
    assert not [name for name, p in network.named_parameters() if p.grad is None]


def test_the_returned_flow_joins_both_stages_in_order() -> None:
    torch.manual_seed(0)
    with torch.inference_mode():
        output = build_network("paper")(torch.rand(1, 3, 16, 16), torch.rand(1, 3, 64, 64))
    assert torch.equal(output.flow_stage1, output.flows_stage1.v0)
    assert torch.equal(output.flow, join_flows(output.flow_stage1, output.flows_stage2.v0))


def make_shift(pixels: float) -> MultiScaleFlow:
    """Return the flow of a 64 x 64 picture that points `pixels` to the right."""
    flows = []
    for level in (3, 2, 1, 0):
        flow = torch.zeros(1, 2, 64 >> level, 64 >> level)
        flow[:, 0] = pixels / 2**level
        flows.append(flow)
    return MultiScaleFlow(*flows)


def run_with_shifts(
    monkeypatch: pytest.MonkeyPatch, shifts: tuple[float, ...], **options: Any
) -> tuple[PaperOutput, CrossNetPlusPlus, dict[str, Any]]:
    """Run a network with known flows; also return it, and the inputs of flow nets and decoder."""
    monkeypatch.setattr("crossnetpp.networks.paper.FlowNet", nn.Identity)
    torch.manual_seed(0)
    network = build_network("paper", {"stages": len(shifts), **options})
    assert isinstance(network, CrossNetPlusPlus)
    seen: dict[str, Any] = {}
    for number, pixels in enumerate(shifts, start=1):

        def answer(*images: Tensor, number: int = number, pixels: float = pixels) -> MultiScaleFlow:
            seen[f"flow{number}"] = images
            return make_shift(pixels)

        monkeypatch.setattr(getattr(network, f"flow{number}"), "forward", answer)
    network.decoder.register_forward_pre_hook(lambda _, inputs: seen.update(decoder=inputs))
    with torch.no_grad():
        if network.upsampler is not None:
            nn.init.constant_(network.upsampler.leave.bias, 0.1)  # type: ignore[arg-type]
        output = network(torch.rand(1, 3, 16, 16), torch.rand(1, 3, 64, 64))
    seen["ref"] = seen["flow1"][1]
    return output, network, seen


@pytest.mark.parametrize("shared_encoder", [True, False])
def test_one_stage_warps_the_features_of_the_reference(
    monkeypatch: pytest.MonkeyPatch, shared_encoder: bool
) -> None:
    output, network, seen = run_with_shifts(monkeypatch, (8,), shared_encoder=shared_encoder)
    encoder = network.encoder if network.ref_encoder is None else network.ref_encoder
    with torch.no_grad():
        own, theirs = network.encoder(output.lr_up), encoder(seen["ref"])
    for level in range(4):
        step = 8 >> level
        assert torch.equal(seen["decoder"][0][level], own[level])
        expected = theirs[level][..., step:]
        assert torch.allclose(seen["decoder"][1][level][..., :-step], expected, atol=1e-4)
    assert torch.allclose(output.warped_stage1[..., :-8], seen["ref"][..., 8:], atol=1e-4)
    assert torch.equal(output.warped, output.warped_stage1)
    assert torch.equal(output.flow, output.flow_stage1)


def test_two_stages_warp_the_picture_then_its_features(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    output, network, seen = run_with_shifts(monkeypatch, (5, 8))
    assert torch.equal(seen["flow2"][0], output.lr_up)
    assert torch.equal(seen["flow2"][1], output.warped_stage1)
    assert torch.allclose(output.warped_stage1[..., :-5], seen["ref"][..., 5:], atol=1e-4)
    with torch.no_grad():
        theirs = network.encoder(output.warped_stage1)
    for level in range(4):
        step = 8 >> level
        expected = theirs[level][..., step:]
        assert torch.allclose(seen["decoder"][1][level][..., :-step], expected, atol=1e-4)
    assert torch.allclose(output.warped[..., :-13], seen["ref"][..., 13:], atol=1e-4)
    assert torch.equal(output.flow_stage1, make_shift(5).v0)
    assert torch.allclose(output.flow, make_shift(13).v0)


@pytest.mark.parametrize("shifts", [(4.0,), (3.0, 4.0)])
def test_image_warping_encodes_the_warped_picture(
    monkeypatch: pytest.MonkeyPatch, shifts: tuple[float, ...]
) -> None:
    output, network, seen = run_with_shifts(monkeypatch, shifts, warping="image")
    whole = int(sum(shifts))
    assert torch.allclose(output.warped[..., :-whole], seen["ref"][..., whole:], atol=1e-4)
    with torch.no_grad():
        for got, expected in zip(seen["decoder"][1], network.encoder(output.warped), strict=True):
            assert torch.equal(got, expected)


def test_flow_nets_receive_bicubic_and_the_encoder_the_learned_upsampling(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    output, network, seen = run_with_shifts(monkeypatch, (2, 2), upsample="learned")
    assert torch.equal(seen["flow1"][0], output.lr_up)
    assert torch.equal(seen["flow2"][0], output.lr_up)
    with torch.no_grad():
        # The upsampler of run_with_shifts adds 0.1
        expected = network.encoder(output.lr_up + 0.1)
    for got, feature in zip(seen["decoder"][0], expected, strict=True):
        assert torch.allclose(got, feature, atol=1e-5)


def test_warping_by_the_joined_flow_equals_warping_twice() -> None:
    torch.manual_seed(0)
    # Bilinear sampling of a ramp is exact
    across = torch.linspace(0, 1, 96)
    ramp = torch.stack((across.expand(96, 96), across[:, None].expand(96, 96)))[None]
    first, second = (
        4 * nn.functional.interpolate(torch.randn(1, 2, 3, 3), size=(96, 96), mode="bicubic")
        for _ in range(2)
    )
    once = warp(ramp, join_flows(first, second))
    in_turn = warp(warp(ramp, first), second)
    inside = (..., slice(24, -24), slice(24, -24))
    assert (once - in_turn)[inside].abs().max() < 1e-5
    # The order matters
    assert (warp(ramp, join_flows(second, first)) - in_turn)[inside].abs().max() > 1e-3


def test_invalid_options_are_reported_in_one_line() -> None:
    assert make_config("crossnet", {"activation": "selu"}) == PaperConfig(
        stages=1, activation="selu"
    )
    with pytest.raises(ValueError, match=r"found the option 'stage' .* one of stages, shared_enc"):
        make_config("paper", {"stage": 1})
    with pytest.raises(ValueError, match=r"found stages = 3 for the network 'paper': .*1 or 2"):
        make_config("paper", {"stages": 3})
    with pytest.raises(ValueError, match="found the option 'warping' for the network 'fast'"):
        make_config("fast", {"warping": "image"})


def test_weights_store_the_options_of_their_network(tmp_path: Path) -> None:
    options = {"activation": "selu", "warping": "image", "shared_encoder": False}
    network = build_network("crossnet", options).eval()
    path = tmp_path / "selu.safetensors"
    save_weights(network, "crossnet", path)
    again = load_network(str(path))
    assert isinstance(again, CrossNetPlusPlus)
    assert again.config == make_config("crossnet", options)
    lr, ref = torch.rand(1, 3, 16, 16), torch.rand(1, 3, 64, 64)
    with torch.inference_mode():
        # float16 on disk
        assert torch.allclose(again(lr, ref).sr, network(lr, ref).sr, atol=1e-2)


def test_weights_without_options_use_those_of_the_preset(tmp_path: Path) -> None:
    written = tmp_path / "written.safetensors"
    save_weights(build_network("fast"), "fast", written)
    old = tmp_path / "old.safetensors"
    save_file(load_file(written), old, metadata={"preset": "fast"})
    before = load_network(str(old)).state_dict()
    now = load_network(str(written)).state_dict()
    assert all(torch.equal(before[name], now[name]) for name in now)
    new = tmp_path / "new.safetensors"
    save_weights(load_network(str(old)), "fast", new)
    with safe_open(new, framework="pt") as file:
        stored = json.loads(file.metadata()["config"])
    assert make_config("fast", stored) == make_config("fast")


@pytest.mark.parametrize(
    ("metadata", "found"),
    [
        ({"preset": "slow"}, r"network 'slow' in .*expected one of paper, crossnet, fast; try"),
        (
            {"preset": "paper", "config": '{"stages": 5}'},
            r"cannot build \(found stages = 5.*; try",
        ),
        ({"preset": "paper", "config": '{"mirrors": 5}'}, r"cannot build .*'mirrors'.*; try"),
        ({"preset": "paper", "config": "{"}, r"cannot build .*; try"),
    ],
)
def test_weights_of_unknown_networks_are_refused_in_one_line(
    tmp_path: Path, metadata: dict[str, str], found: str
) -> None:
    path = tmp_path / "other.safetensors"
    save_file({"x": torch.zeros(1)}, path, metadata=metadata)
    with pytest.raises(WeightsError, match=found) as caught:
        load_network(str(path))
    assert "\n" not in str(caught.value)


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
