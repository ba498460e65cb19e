"""Weights and configurations from untrusted sources are read as data, never executed."""

from __future__ import annotations

import os
import pickle
from itertools import pairwise
from pathlib import Path

import pytest
import torch

from crossnetpp.checkpoint import WeightsError, load_network
from crossnetpp.train import parse_setting
from crossnetpp.training.config import ConfigError, load_config


class Bomb:
    """An object that creates a folder when it is unpickled."""

    def __init__(self, trace: Path) -> None:
        self._trace = trace

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.mkdir, (str(self._trace),)


@pytest.mark.parametrize("name", ["weights.safetensors", "weights.pt", "weights.pth"])
def test_a_pickle_is_refused_without_loading_it(name: str, tmp_path: Path) -> None:
    trace = tmp_path / "trace"
    (tmp_path / name).write_bytes(pickle.dumps({"weight": Bomb(trace)}))
    with pytest.raises(WeightsError, match="found no readable safetensors file"):
        load_network(str(tmp_path / name))
    assert not trace.exists()


def test_a_torch_checkpoint_is_refused_without_loading_it(tmp_path: Path) -> None:
    torch.save({"weight": torch.zeros(1)}, tmp_path / "weights.safetensors")
    with pytest.raises(WeightsError, match="found no readable safetensors file"):
        load_network(str(tmp_path / "weights.safetensors"))


def test_yaml_that_names_objects_is_refused(tmp_path: Path) -> None:
    trace = tmp_path / "trace"
    text = f"steps: !!python/object/apply:os.mkdir ['{trace}']\n"
    (tmp_path / "run.yaml").write_text(text)
    with pytest.raises(ConfigError) as refused:
        load_config(str(tmp_path / "run.yaml"), {})
    assert "\n" not in str(refused.value)
    for wrong in ("steps", "=1", "steps=["):
        with pytest.raises(ConfigError, match="found --set"):
            parse_setting(wrong)
    with pytest.raises(ConfigError):
        parse_setting(f"steps=!!python/object/apply:os.mkdir ['{trace}']")
    assert not trace.exists()


ALIASES = "a: &a [x, x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"{name}: &{name} [{', '.join([f'*{before}'] * 10)}]\n"
    for before, name in pairwise("abcdefghij")
)


@pytest.mark.parametrize(
    "content",
    [
        "steps: 2020-99-99\n",
        f"steps: {'9' * 5000}\n",
        f"steps: 1{':1' * 5000}\n",  # to the base 60
        f"steps: 1{':1' * 1_000_000}\n",
        f"rate: 1{':1' * 5000}.5\n",
        f"1{':1' * 5000}: 5\n",
        f"steps: 0x{'f' * 5000}\n",
        f"rate: {'9' * 5000}.0\n",
        f"steps: {'[' * 3000}{']' * 3000}\n",
        "steps: &a [*a]\n",
        ALIASES,
        "5: a\n",
        "steps: .nan\n",
        "a: \0\n",
        bytes(range(256)),
        "steps: 1\n".encode("utf-16"),
    ],
)
def test_odd_yaml_is_refused_in_one_line(content: str | bytes, tmp_path: Path) -> None:
    data = content if isinstance(content, bytes) else content.encode()
    (tmp_path / "run.yaml").write_bytes(data)
    with pytest.raises(ConfigError) as refused:
        load_config(str(tmp_path / "run.yaml"), {})
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize("value", ["2020-99-99", "9" * 5000, "1" + ":1" * 5000, "[" * 3000])
def test_odd_settings_are_refused(value: str) -> None:
    with pytest.raises(ConfigError, match="found --set"):
        parse_setting(f"steps={value}")
