"""Weights and training configurations from a stranger."""

from __future__ import annotations

import json
import pickle
import struct
from collections.abc import Callable
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file

from crossnetpp.checkpoint import find_weights
from jobs.stress.hostile.bench import Bench, Case

_RUN = (
    *("run", "small.png", "--ref-stream", "large.png", "--scale", "2", "--runner", "inline", "-q"),
    *("--engine", "torch", "-o", "out.png"),
)


def _read_shipped() -> tuple[dict[str, torch.Tensor], dict[str, str]]:
    """Return the tensors and the metadata of the shipped weights."""
    path = Path(find_weights("fast"))
    content = path.read_bytes()
    (length,) = struct.unpack("<Q", content[:8])
    header = json.loads(content[8 : 8 + length])
    return load_file(path), dict(header.get("__metadata__", {}))


def _with_value(value: float) -> Callable[[Path], None]:
    def write(path: Path) -> None:
        tensors, metadata = _read_shipped()
        name = sorted(name for name, each in tensors.items() if each.is_floating_point())[-1]
        tensors[name].view(-1)[0] = value
        save_file(tensors, path, metadata)

    return write


def _with_option(name: str, value: Any) -> Callable[[Path], None]:
    def write(path: Path) -> None:
        tensors, metadata = _read_shipped()
        for key, text in metadata.items():
            try:
                options = json.loads(text)
            except ValueError:
                continue
            if isinstance(options, dict):
                metadata[key] = json.dumps(options | {name: value})
        save_file(tensors, path, metadata)

    return write


def _with_metadata(text: str) -> Callable[[Path], None]:
    def write(path: Path) -> None:
        tensors, metadata = _read_shipped()
        save_file(tensors, path, dict.fromkeys(metadata, text))

    return write


def _without_tensor(path: Path) -> None:
    tensors, metadata = _read_shipped()
    tensors.pop(sorted(tensors)[0])
    save_file(tensors, path, metadata)


def _other_shape(path: Path) -> None:
    tensors, metadata = _read_shipped()
    name = sorted(tensors)[0]
    tensors[name] = torch.zeros(1, 2, 3)
    save_file(tensors, path, metadata)


class _Bomb:
    """An object that creates a folder when it is unpickled."""

    def __reduce__(self) -> tuple[object, tuple[str]]:
        import os

        return os.mkdir, ("PWNED",)


def _write_pickle(path: Path) -> None:
    path.write_bytes(pickle.dumps({"weight": _Bomb()}))


def _write_torch(path: Path) -> None:
    torch.save({"weight": torch.zeros(1)}, path)


def _with_header(header: bytes, length: int | None = None) -> Callable[[Path], None]:
    def write(path: Path) -> None:
        path.write_bytes(struct.pack("<Q", len(header) if length is None else length) + header)

    return write


def _sparse(path: Path) -> None:
    with path.open("wb") as file:
        file.write(struct.pack("<Q", 1 << 31))
        file.truncate((1 << 31) + 8)


_OVERLAP = json.dumps(
    {"a": {"dtype": "F32", "shape": [10**9, 10**9], "data_offsets": [0, 10**18]}}
).encode()

_FILES: dict[str, tuple[str, Callable[[Path], None]]] = {
    "nan": ("one NaN", _with_value(float("nan"))),
    "inf": ("one infinite value", _with_value(float("inf"))),
    "huge": ("one value of 1e38", _with_value(1e38)),
    "refinements": ("10^9 refinements", _with_option("refinements", 10**9)),
    "blocks": ("10^9 blocks", _with_option("blocks", 10**9)),
    "unknown-option": ("an unknown option", _with_option("exec", "touch PWNED")),
    "escape": ("metadata with an escape sequence", _with_metadata("\x1b]0;evil\x07")),
    "pickle": ("a pickle", _write_pickle),
    "checkpoint": ("a PyTorch checkpoint", _write_torch),
    "length": ("a header of 2^60 bytes", _with_header(b"{}", 1 << 60)),
    "nested": ("a nested header", _with_header(b"[" * 100_000)),
    "offsets": ("offsets outside the file", _with_header(_OVERLAP)),
    "sparse": ("a header of 2 GiB", _sparse),
    "empty": ("an empty file", Path.touch),
}


def _attack_file(bench: Bench, name: str) -> None:
    bench.copy("small.png", "large.png")
    path = bench.folder / "w.safetensors"
    _FILES[name][1](path)
    allowed = (0, 2) if name in ("huge", "unknown-option", "width") else (2,)
    bench.attack(*_RUN, "--model", "w.safetensors", status=allowed)
    path.unlink()


def _attack_adapt(bench: Bench) -> None:
    bench.copy("lr.mkv", "hr.mkv")
    for name in ("nan", "pickle", "length"):
        _FILES[name][1](bench.folder / "w.safetensors")
        run = ("run", "lr.mkv", "--ref-stream", "hr.mkv", "--scale", "2", "--runner", "inline")
        bench.attack(*run, "-q", "-o", "out.mkv", "--adapt", "w.safetensors", status=(2,))
    bench.attack(
        *_RUN[:1], "lr.mkv", *run[2:], "-o", "out.mkv", "--model", "/dev/zero", status=(2,)
    )


_YAML: dict[str, str | bytes] = {
    "object": "steps: !!python/object/apply:os.mkdir ['PWNED']\n",
    "nested": f"steps: {'[' * 3000}{']' * 3000}\n",
    "itself": "steps: &a [*a]\n",
    "aliases": "a: &a [x, x]\n"
    + "".join(f"{b}: &{b} [{', '.join([f'*{a}'] * 10)}]\n" for a, b in pairwise("abcdefghi")),
    "nan": "steps: .nan\n",
    "nul": "a: \0\n",
    "bytes": bytes(range(256)),
    "escape": 'steps: "\\e]0;evil\\a"\n',
}


def _attack_yaml(bench: Bench, name: str) -> None:
    bench.copy("frames")
    bench.write("own.yaml", _YAML[name])
    train = ("train", "own.yaml", "--data", "frames", "-o", "out.safetensors", "-q")
    bench.attack(*train, status=(2,))


def _attack_setting(bench: Bench) -> None:
    bench.copy("frames")
    for value in ("!!python/object/apply:os.mkdir ['PWNED']", "2020-99-99", "[" * 3000):
        train = ("train", "fast", "--data", "frames", "-o", "out.safetensors", "-q")
        bench.attack(*train, "--set", f"steps={value}", status=(2,))


CASES = (
    *(
        Case(
            f"weights-{name}",
            "weights",
            what,
            partial(_attack_file, name=name),
            name == "nan",
        )
        for name, (what, _) in _FILES.items()
    ),
    Case("weights-adapt", "weights", "weights for --adapt, and a device", _attack_adapt),
    *(
        Case(f"yaml-{name}", "weights", f"YAML: {name}", partial(_attack_yaml, name=name))
        for name in _YAML
    ),
    Case("yaml-set", "weights", "YAML in --set", _attack_setting),
)
