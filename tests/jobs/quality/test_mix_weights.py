"""Mixing the weights of a training with those before it."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import torch

from crossnetpp.checkpoint import load_network, save_weights
from crossnetpp.networks.build import build_network
from crossnetpp.networks.fast import CrossNetFast
from crossnetpp.training.config import CONFIG_FOLDER, load_config
from crossnetpp.training.start import build_start
from jobs.quality.mix_weights import mix_weights


@pytest.fixture
def start(tmp_path: Path) -> Path:
    """Return a file of weights without votes and chroma maps."""
    path = tmp_path / "start.safetensors"
    save_weights(build_network("fast"), "fast", path)
    return path


@pytest.fixture
def config(tmp_path: Path, start: Path) -> str:
    """Return a file of the configuration `fast_recorded`, which starts from `start`."""
    text = (CONFIG_FOLDER / "fast_recorded.yaml").read_text(encoding="utf-8")
    path = tmp_path / "config.yaml"
    path.write_text(re.sub("(?m)^start: .*$", f"start: {start}", text), encoding="utf-8")
    return str(path)


@pytest.fixture
def trained(tmp_path: Path, config: str) -> tuple[CrossNetFast, Path]:
    """Return a network with all parts of `fast_recorded` and known weights, and its file."""
    network = build_start(load_config(config))
    assert isinstance(network, CrossNetFast)
    torch.manual_seed(0)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.copy_(torch.randn_like(parameter).half())
    path = tmp_path / "trained.safetensors"
    save_weights(network, "fast", path)
    return network, path


def test_a_share_is_between_both(
    trained: tuple[CrossNetFast, Path], start: Path, config: str
) -> None:
    network, path = trained
    after = network.state_dict()
    before = load_network(str(start)).state_dict()

    mixed = mix_weights(config, path, 0.25).state_dict()
    same = [k for k in before if after[k].shape == before[k].shape]
    assert {k.partition(".")[0] for k in same} >= {"encoder", "stage1", "stage2", "refinement"}
    for k in same:
        expected = 0.25 * after[k] + 0.75 * before[k]
        torch.testing.assert_close(mixed[k], expected, rtol=2e-3, atol=2e-3)
    added = [k for k in after if k not in before]
    assert added
    assert all(torch.equal(mixed[k], after[k]) for k in added)

    whole = mix_weights(config, path, 1.0).state_dict()
    assert all(torch.allclose(whole[k], after[k], atol=1e-3) for k in after)


def test_only_one_part_can_be_mixed(
    trained: tuple[CrossNetFast, Path], start: Path, config: str
) -> None:
    network, path = trained
    after = network.state_dict()
    before = load_network(str(start)).state_dict()
    mixed = mix_weights(config, path, 0.0, "stage1").state_dict()
    for name, weights in mixed.items():
        source = before if name.startswith("stage1.") else after
        assert torch.allclose(weights, source[name], atol=1e-3)
    with pytest.raises(
        SystemExit, match="the network has no part stage9; try one of encoder, stage1"
    ):
        mix_weights(config, path, 0.5, "stage9")


def test_weights_of_another_network_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "quick.safetensors"
    save_weights(load_network("fast-quick"), "fast", path)
    with pytest.raises(SystemExit, match=r"stages=2.*quick\.safetensors has .*stages=1"):
        mix_weights("fast_recorded", path, 0.5)


def test_weights_to_mix_with_are_required(trained: tuple[CrossNetFast, Path]) -> None:
    with pytest.raises(SystemExit, match="ablation has no `start`, which names"):
        mix_weights("ablation", trained[1], 0.5)
