"""Weights that were adapted to a recording: their engine, and what they leave in the registry."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import torch

from crossnetpp.checkpoint import AdaptedFacts, save_weights
from crossnetpp.networks.build import build_network
from deploy.adapted_models import KEPT, limit_adapted_models
from deploy.engines.bf16_engine import is_bf16_fast
from deploy.engines.int8 import is_int8_fast
from deploy.export.stored import weights_sha256
from deploy.load import load_engine
from deploy.registry import Registry, RegistryError

FACTS = AdaptedFacts(base="ab" * 32, steps=40, held_out_gain_db=1.25, blend=0.75)


def save_adapted(path: Path, seed: int = 0) -> str:
    torch.manual_seed(seed)
    save_weights(build_network("fast"), "fast", path, FACTS)
    return str(path)


@pytest.fixture
def registry(tmp_path: Path) -> Registry:
    return Registry(tmp_path / "engines")


def test_auto_compiles_nothing_for_adapted_weights(tmp_path: Path, registry: Registry) -> None:
    lines: list[str] = []
    model = save_adapted(tmp_path / "adapted.safetensors")
    engine = load_engine("auto", model=model, registry=registry, notify=lines.append)
    fast = ("bf16",) * is_bf16_fast() + ("int8",) * is_int8_fast()
    assert engine.info.name == (*fast, "torch")[0]
    assert engine.info.reason.startswith("auto: compiling another engine for these")
    assert "\n" not in engine.info.reason
    assert lines == []
    # convolutions in lower precision are tested, and nothing else is stored
    assert {entry["key"]["kind"] for entry in registry.entries()} <= {"selftest"}


def test_only_what_the_last_adapted_models_made_stays(tmp_path: Path, registry: Registry) -> None:
    keys = []
    for number in range(KEPT + 1):
        model = save_adapted(tmp_path / f"{number}.safetensors", number)
        keys.append({"kind": "onnx", "weights": weights_sha256(model)})
        registry.put(keys[-1], b"graph", "onnx", {})
        limit_adapted_models(model, registry)
    assert [registry.get(key) is not None for key in keys] == [False] + [True] * KEPT


def test_a_damaged_list_of_adapted_models_is_replaced(tmp_path: Path, registry: Registry) -> None:
    model = save_adapted(tmp_path / "adapted.safetensors")
    (registry.root / "adapted.list").write_text("[1, ")
    limit_adapted_models(model, registry)
    assert weights_sha256(model) in (registry.root / "adapted.list").read_text()


def test_a_list_that_cannot_be_read_is_an_error_of_one_line(
    tmp_path: Path, registry: Registry
) -> None:
    model = save_adapted(tmp_path / "adapted.safetensors")
    (registry.root / "adapted.list").mkdir()
    with pytest.raises(RegistryError, match="cannot use the list of adapted models") as error:
        limit_adapted_models(model, registry)
    assert "\n" not in str(error.value)


def test_weights_that_are_replaced_by_others_of_the_same_size_and_time_are_read_again(
    tmp_path: Path,
) -> None:
    path = tmp_path / "weights.safetensors"
    first = weights_sha256(save_adapted(path, 1))
    status = path.stat()
    other = tmp_path / "other.safetensors"
    save_adapted(other, 2)
    os.utime(other, ns=(status.st_atime_ns, status.st_mtime_ns))
    assert other.stat().st_size == status.st_size
    other.replace(path)
    assert weights_sha256(str(path)) != first
