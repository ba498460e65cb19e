"""Files of weights that are damaged or made to do harm are errors of one line."""

from __future__ import annotations

import json
import resource
import struct
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file

from crossnetpp.checkpoint import (
    WEIGHTS_FOLDER,
    AdaptedFacts,
    WeightsError,
    load_network,
    read_adapted_facts,
    save_weights,
)
from crossnetpp.networks.build import build_network

SHIPPED = WEIGHTS_FOLDER / "fast.safetensors"
METADATA = {"preset": "fast", "config": "{}"}


def write_file(
    path: Path, header: dict[str, Any], data: bytes = b"", *, length: int | None = None
) -> Path:
    """Write a safetensors file; `length` replaces the true length of its header in bytes."""
    text = json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(text) if length is None else length) + text + data)
    return path


def read_refusal(path: Path) -> str:
    """Return why weights are refused, and check that it is one short line."""
    with pytest.raises(WeightsError) as refused:
        load_network(str(path))
    text = str(refused.value)
    assert "\n" not in text
    assert len(text) < 600 + len(str(path))
    return text


def halves(count: int, start: int, stop: int) -> dict[str, Any]:
    return {"dtype": "F16", "shape": [count], "data_offsets": [start, stop]}


def test_saved_weights_are_loaded(tmp_path: Path) -> None:
    network = build_network("fast", {"blocks": 2, "windows": (9,)})
    save_weights(network, "fast", tmp_path / "w.safetensors")
    loaded = load_network(str(tmp_path / "w.safetensors"))
    for name, tensor in network.state_dict().items():
        assert torch.equal(loaded.state_dict()[name], tensor.half().float())


@pytest.mark.parametrize("value", ["nan", "inf", "-inf"])
def test_one_weight_that_is_not_finite_is_refused(value: str, tmp_path: Path) -> None:
    with safe_open(SHIPPED, framework="pt") as file:
        metadata = file.metadata()
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    name = sorted(tensors)[-1]
    tensors[name].view(-1)[-1] = float(value)
    save_file(tensors, tmp_path / "w.safetensors", metadata)
    refusal = read_refusal(tmp_path / "w.safetensors")
    assert f"{tmp_path / 'w.safetensors'} contains weights that are not finite" in refusal
    assert f"(in 1 of {len(tensors)} tensors, first in {name}); train again" in refusal


@pytest.mark.parametrize(
    ("tensors", "data"),
    [
        ({"a": halves(4, 0, 8), "b": halves(4, 4, 12)}, 12),  # overlap
        ({"a": halves(4, -8, 0)}, 8),
        ({"a": halves(-4, 0, 8)}, 8),
        ({"a": halves(4, 0, 8)}, 4),  # beyond the end
        ({"a": halves(4, 8, 16)}, 16),  # a gap
        ({"a": halves(2**62, 0, 8)}, 8),
        ({"a": {**halves(1, 0, 8), "shape": [2**40, 2**40]}}, 8),
    ],
)
def test_impossible_offsets_are_refused(tensors: dict[str, Any], data: int, tmp_path: Path) -> None:
    path = write_file(tmp_path / "w", {"__metadata__": METADATA, **tensors}, bytes(data))
    assert "found no readable safetensors file" in read_refusal(path)


@pytest.mark.parametrize("length", [2**40, 2**63 + 5, 10**8])
def test_huge_headers_are_refused(length: int, tmp_path: Path) -> None:
    path = write_file(tmp_path / "w", {"__metadata__": METADATA}, length=length)
    assert "found no readable safetensors file" in read_refusal(path)


@pytest.mark.parametrize(
    ("dtype", "size"), [("F4", 2), ("F8_E8M0", 4), ("C64", 32), ("I64", 32), ("BOOL", 4)]
)
# a type that this version of safetensors or PyTorch does not know is refused as well
def test_other_types_of_numbers_are_refused(dtype: str, size: int, tmp_path: Path) -> None:
    tensor = {"dtype": dtype, "shape": [4], "data_offsets": [0, size]}
    path = write_file(tmp_path / "w", {"__metadata__": METADATA, "a": tensor}, bytes(size))
    assert "expected floating-point weights of at least 16 bits" in read_refusal(path)


@pytest.mark.parametrize(
    ("config", "reason"),
    [
        ('{"blocks": 1000000000}', "found blocks = 1000000000"),
        ('{"blocks": -1}', "found blocks = -1"),
        ('{"refinements": 1000000000}', "found refinements = 1000000000"),
        ('{"settlings": 99999999999999999999}', "found settlings = 99999999999999999999"),
        ('{"width": 1000000}', "found width = 1000000"),
        ('{"width": 0}', "found width = 0"),
        ('{"width": true}', "found width"),
        ('{"windows": []}', "found windows"),
        ('{"windows": [4]}', "expected an odd number"),
        ('{"windows": [999999999]}', "found windows.0 = 999999999"),
        ('{"windows": [3, 3, 3, 3, 3, 3, 3, 3, 3]}', "found windows"),
        ('{"a\\nb": 1}', "found the option 'a\\nb'"),
        ("[1]", "expected a JSON object"),
        ("5", "expected a JSON object"),
        ("null", "expected a JSON object"),
        ("{", "cannot build"),
        ("[" * 100_000, "cannot build"),
        ('{"blocks": ' + "9" * 5000 + "}", "cannot build"),
    ],
)
def test_options_out_of_bounds_are_refused(config: str, reason: str, tmp_path: Path) -> None:
    path = write_file(tmp_path / "w", {"__metadata__": {"preset": "fast", "config": config}})
    refusal = read_refusal(path)
    assert "a network that this version cannot build" in refusal
    assert reason in refusal


def test_a_preset_of_several_lines_is_shortened(tmp_path: Path) -> None:
    path = write_file(tmp_path / "w", {"__metadata__": {"preset": "a\nb" + 5000 * "x"}})
    assert "found weights for the network 'a bxxx" in read_refusal(path)


def test_the_first_difference_from_the_network_is_named(tmp_path: Path) -> None:
    save_file({"x": torch.zeros(1)}, tmp_path / "w", metadata={"preset": "fast"})
    assert "do not fit the network 'fast': Missing key(s)" in read_refusal(tmp_path / "w")


def test_adapted_weights_are_saved_with_their_facts_in_the_same_bytes(tmp_path: Path) -> None:
    network = build_network("fast", {"blocks": 1})
    facts = AdaptedFacts(base="ab" * 32, steps=40, held_out_gain_db=1.25, blend=0.75)
    contents = set()
    for number in range(8):
        path = tmp_path / f"{number}.safetensors"
        save_weights(network, "fast", path, facts)
        contents.add(path.read_bytes())
        assert read_adapted_facts(path) == facts
    assert len(contents) == 1

    loaded = load_network(str(path))
    for name, tensor in network.state_dict().items():
        assert torch.equal(loaded.state_dict()[name], tensor.half().float())


def test_other_weights_have_no_facts_about_an_adaptation(tmp_path: Path) -> None:
    assert read_adapted_facts(SHIPPED) is None
    save_file({"x": torch.zeros(1)}, tmp_path / "w.safetensors", METADATA | {"adapted": "[1"})
    with pytest.raises(WeightsError, match="found an adaptation record in"):
        read_adapted_facts(tmp_path / "w.safetensors")


def test_a_write_that_fails_keeps_the_earlier_weights(tmp_path: Path) -> None:
    path = tmp_path / "weights.safetensors"
    network = build_network("fast")
    save_weights(network, "fast", path)
    before = path.read_bytes()
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, hard))
    try:
        with pytest.raises(OSError, match="File too large"):
            save_weights(build_network("fast", {"blocks": 2}), "fast", path)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert path.read_bytes() == before
    assert [file.name for file in tmp_path.iterdir()] == [path.name]
