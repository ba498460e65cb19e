"""The state of a run on disk, complete enough to resume the run exactly.

OUT.state/state.json                    step, best gain, names of the tensor files
OUT.state/step-00000250-1.safetensors   weights, their average, the optimiser's moments

A tensor file has at most 15 MiB unless a single tensor is larger, to respect limits on file sizes.
"""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from crossnetpp.training.config import ConfigError

MOST_BYTES = 15 * 2**20  # in a tensor file


@dataclass(frozen=True)
class Progress:
    """Progress of a run."""

    digest: str
    """Digest of the configuration with which the run started, the only one that can resume it."""
    step: int = 0
    """Completed steps."""
    best: float = -1e9
    """Best validation gain so far in dB."""
    samples: int = 0
    """Number of samples used so far."""
    seconds: float = 0.0
    """Training time so far in seconds."""


def _collect_moments(optimiser: torch.optim.Optimizer) -> dict[str, Tensor]:
    return {
        f"optimiser.{index}.{name}": value
        for index, moments in optimiser.state_dict()["state"].items()
        for name, value in moments.items()
    }


def save_state(
    folder: Path,
    progress: Progress,
    network: nn.Module,
    average: nn.Module,
    optimiser: torch.optim.Optimizer,
) -> None:
    """Write the state so that an interruption leaves either the old or the new state intact."""
    folder.mkdir(parents=True, exist_ok=True)

    # Tensors, in separate files
    tensors = {f"network.{name}": value for name, value in network.state_dict().items()}
    tensors |= {f"average.{name}": value for name, value in average.state_dict().items()}
    tensors |= _collect_moments(optimiser)
    contiguous = {key: value.detach().cpu().contiguous() for key, value in tensors.items()}
    names = []
    for number, shard in enumerate(_split_tensors(contiguous), 1):
        name = f"step-{progress.step:08d}-{number}.safetensors"
        unfinished = folder / f".{name}"
        save_file(shard, unfinished)
        unfinished.replace(folder / name)
        names.append(name)

    # The index that lists these files
    index = folder / ".state.json"
    with index.open("w", encoding="utf-8") as file:
        json.dump({**asdict(progress), "tensors": names}, file, indent=1)
        file.flush()
        os.fsync(file.fileno())
    index.replace(folder / "state.json")

    for old in folder.glob("step-*.safetensors"):
        if old.name not in names:
            old.unlink()


def _split_tensors(tensors: dict[str, Tensor]) -> list[dict[str, Tensor]]:
    """Return the tensors in parts of at most MOST_BYTES, unless a single tensor is larger."""
    parts: list[dict[str, Tensor]] = [{}]
    room = MOST_BYTES
    for name, tensor in tensors.items():
        if tensor.nbytes > room and parts[-1]:
            parts.append({})
            room = MOST_BYTES
        parts[-1][name] = tensor
        room -= tensor.nbytes
    return parts


def load_state(
    folder: Path,
    digest: str,
    network: nn.Module,
    average: nn.Module,
    optimiser: torch.optim.Optimizer,
) -> Progress | None:
    """Restore a run from `folder` and return its progress, or None if there is no state.

    Raises ConfigError if the state belongs to another configuration, is damaged, or does not fit
    the network.
    """
    index = folder / "state.json"
    if not index.is_file():
        return None

    try:
        content = json.loads(index.read_text(encoding="utf-8"))
        names = content.pop("tensors")
        progress = Progress(**content)
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise _refuse_state(folder, error) from error
    if progress.digest != digest:
        raise ConfigError(
            f"found the state of a run with another configuration in {folder}; try the "
            "configuration with which that run started, or another --out"
        )

    try:
        tensors = _load_tensors(folder, names)
        # A network of another shape is a RuntimeError, because the weights to start from decide it
        network.load_state_dict(_select_prefix("network.", tensors))
        average.load_state_dict(_select_prefix("average.", tensors))
    except (OSError, RuntimeError, SafetensorError, TypeError) as error:
        raise _refuse_state(folder, error) from error

    moments: dict[int, dict[str, Tensor]] = {}
    for key, value in _select_prefix("optimiser.", tensors).items():
        number, name = key.split(".", 1)
        moments.setdefault(int(number), {})[name] = value
    groups = optimiser.state_dict()["param_groups"]
    optimiser.load_state_dict({"state": moments, "param_groups": groups})
    return progress


def _refuse_state(folder: Path, error: Exception) -> ConfigError:
    """Return the error for a state that cannot be restored."""
    reason = " ".join(str(error).split())[:200]
    return ConfigError(
        f"found a state in {folder} that is damaged or does not fit the network ({reason}); delete "
        "this folder to start again, or try another --out"
    )


def _load_tensors(folder: Path, names: list[str]) -> dict[str, Tensor]:
    """Return the tensors in the files of `folder` that `names` lists."""
    return {k: v for name in names for k, v in load_file(folder / name).items()}


def _select_prefix(prefix: str, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """Return the tensors whose names start with `prefix`, keyed by the rest of their names."""
    return {k.removeprefix(prefix): v for k, v in tensors.items() if k.startswith(prefix)}
