"""Training on composed scenes, in bfloat16, with a held rate, and a state in several files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from crossnetpp.networks.build import build_network
from crossnetpp.networks.fast import CrossNetFast
from crossnetpp.train import train
from crossnetpp.training.config import ConfigError, TrainingConfig, load_config
from crossnetpp.training.loop import learning_rate
from crossnetpp.training.precision import run_convolutions_in_bfloat16
from crossnetpp.training.state import MOST_BYTES
from tests.support import ROOT

DATA = ROOT / "tests" / "data"
PHOTOGRAPHS: dict[str, Any] = {"files": ["kodak_21.jpg"]}


def make_config(**changes: Any) -> TrainingConfig:
    settings: dict[str, Any] = {
        "network": {"votes": 16, "chroma": True},
        "steps": 4,
        "batch": 2,
        "size": 64,
        "workers": 0,
        "save_every": 2,
        "log_every": 2,
        "sources": [{"kind": "photographs", **PHOTOGRAPHS}],
        "synthetic": {"share": 1.0, "single_rate": 0.5, "layers": [1, 3], **PHOTOGRAPHS},
    }
    return TrainingConfig.model_validate(settings | changes)


def test_composed_scenes_train_and_a_resumed_run_continues_exactly(tmp_path: Path) -> None:
    whole, parts = tmp_path / "whole.safetensors", tmp_path / "parts.safetensors"
    expected = train(make_config(), DATA, whole)
    assert len(expected) == 4
    assert all(0 < loss < 10 for loss in expected)

    losses = train(make_config(), DATA, parts, stop_after=2)
    losses += train(make_config(), DATA, parts)
    assert losses == expected
    assert whole.read_bytes() == parts.read_bytes()


def test_steps_are_shared_out_between_composed_scenes_and_sources(tmp_path: Path) -> None:
    half = {"share": 0.5, **PHOTOGRAPHS}
    losses = train(make_config(synthetic=half), DATA, tmp_path / "half.safetensors")
    only = train(make_config(synthetic=None), DATA, tmp_path / "none.safetensors")
    every = train(make_config(synthetic=half | {"share": 1.0}), DATA, tmp_path / "all.safetensors")
    assert losses != only
    assert losses != every


def test_a_missing_picture_and_shares_above_one_are_refused(tmp_path: Path) -> None:
    config = make_config(synthetic={"files": ["missing/*.jpg"]})
    with pytest.raises(ConfigError, match="found no file missing"):
        train(config, DATA, tmp_path / "out.safetensors")

    settings = tmp_path / "shares.yaml"
    settings.write_text(
        "steps: 2\nsources: [{kind: photographs, files: [a]}]\n"
        "synthetic: {share: 0.7, files: [a]}\nrecordings: {share: 0.7, files: [a]}\n"
    )
    with pytest.raises(ConfigError, match="expected 1 or less"):
        load_config(str(settings))


def test_a_held_rate_stays_at_its_peak() -> None:
    held = make_config(steps=1000, schedule="hold", warm_up=10, rate=1e-3)
    assert learning_rate(held, 0) == pytest.approx(1e-4)
    assert [learning_rate(held, step) for step in (10, 500, 999)] == [1e-3] * 3


def test_bfloat16_changes_the_result_little_and_the_weights_not_at_all() -> None:
    torch.manual_seed(0)
    network = build_network("fast")
    assert isinstance(network, CrossNetFast)
    lr, ref = torch.rand(1, 3, 16, 16), torch.rand(1, 3, 64, 64)
    exact = network(lr, ref)
    exact.sr.square().mean().backward()
    gradient = network.encoder.level4[0][0].weight.grad.clone()
    network.zero_grad()

    run_convolutions_in_bfloat16(network)
    rounded = network(lr, ref)
    rounded.sr.square().mean().backward()
    assert all(weight.dtype == torch.float32 for weight in network.parameters())
    assert rounded.sr.dtype == rounded.flow.dtype == torch.float32
    assert torch.equal(rounded.lr_up, exact.lr_up)
    assert 0 < float((rounded.sr - exact.sr).detach().abs().max()) < 0.02
    got = network.encoder.level4[0][0].weight.grad
    assert float((got - gradient).norm() / gradient.norm()) < 0.2

    # Mixed precision ends with each layer, even if the layer fails
    with pytest.raises(RuntimeError):
        network.encoder.level4[0][0](torch.rand(1, 5, 8, 8))
    assert not torch.is_autocast_enabled("cpu")


def test_the_state_of_a_larger_network_is_split_into_files(tmp_path: Path) -> None:
    out = tmp_path / "weights.safetensors"
    train(make_config(steps=2), DATA, out)
    files = sorted(out.with_suffix(".state").glob("*.safetensors"))
    assert len(files) == 2
    assert all(file.stat().st_size < MOST_BYTES + 2**18 for file in files)

    train(make_config(steps=2), DATA, out)  # Everything is found again, so nothing is left to do
    assert sorted(out.with_suffix(".state").glob("*.safetensors")) == files


def test_a_layer_of_few_channels_stays_exact() -> None:
    layer = nn.Conv2d(4, 2, 3)
    inputs = torch.rand(1, 4, 9, 9)
    exact = layer(inputs)
    run_convolutions_in_bfloat16(layer)
    assert torch.equal(layer(inputs), exact)
