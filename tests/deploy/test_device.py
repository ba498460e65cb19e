"""The device of PyTorch: NVIDIA's GPU, Apple's, or the CPU; others than the baseline's are tested.

PyTorch's device `meta` computes no values, so it stands for a GPU that fails its self-test.
"""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from deploy import device as device_module
from deploy import memory
from deploy.engines import torch_engine
from deploy.engines.torch_engine import TorchEngine
from deploy.load import load_engine
from deploy.memory import available_bytes
from deploy.protocol import EngineError
from deploy.registry import Registry
from deploy.selftest import is_baseline


@pytest.mark.parametrize(
    ("cuda", "mps", "expected"),
    [
        (True, True, "cuda"),
        (True, False, "cuda"),
        (False, True, "mps"),
        (False, False, "cpu"),
    ],
)
def test_the_fastest_kind_of_device_is_chosen(
    monkeypatch: pytest.MonkeyPatch, cuda: bool, mps: bool, expected: str
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: cuda)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: mps)
    assert device_module.choose_device().type == expected
    assert device_module.choose_baseline_device().type == ("cuda" if cuda else "cpu")


def test_other_devices_run_in_float32_and_are_no_baseline() -> None:
    meta = TorchEngine(device=torch.device("meta"))
    assert meta.info.precision == "fp32"
    assert meta.cuda_graphs is None
    assert not is_baseline(meta.info)
    assert is_baseline(TorchEngine(precision="fp32").info)


def test_what_a_device_cannot_do_is_an_error_of_one_line() -> None:
    frames = np.zeros((1, 64, 64, 3), np.uint8)
    with pytest.raises(
        EngineError, match=r"cannot run the network on meta \(.*; try --engine onnx$"
    ):
        TorchEngine(device=torch.device("meta")).enhance(frames[:, :16, :16], frames)


@pytest.mark.parametrize("name", ["torch", "auto"])
def test_a_device_that_fails_its_self_test_is_replaced(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, name: str
) -> None:
    monkeypatch.setattr(torch_engine, "choose_device", lambda: torch.device("meta"))
    loaded = load_engine(name, registry=Registry(tmp_path / "engines"), pixels=1)
    assert loaded.info.device.startswith(("cpu", "cuda"))
    assert "torch: PyTorch cannot run the network on meta" in loaded.info.reason
    assert loaded.info.reason.endswith("torch fp32 runs instead")


def test_uint16_frames_travel_as_int32_to_devices_without_uint16(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    rng = np.random.default_rng(0)
    lr = rng.integers(0, 65536, (1, 16, 16, 3), dtype=np.uint16)
    ref = rng.integers(0, 65536, (1, 64, 64, 3), dtype=np.uint16)
    expected = TorchEngine(precision="fp32").enhance(lr, ref)
    monkeypatch.setattr(torch_engine, "UINT16_DEVICES", ())
    actual = TorchEngine(precision="fp32").enhance(lr, ref)
    assert actual.dtype == np.uint16
    assert np.array_equal(actual, expected)


def test_an_apple_gpu_has_the_memory_of_the_cpu(monkeypatch: pytest.MonkeyPatch) -> None:
    found = SimpleNamespace(available=123)
    monkeypatch.setattr(memory.psutil, "virtual_memory", lambda: found)
    assert available_bytes("mps") == available_bytes("cpu") == 123
