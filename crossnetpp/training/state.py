"""The state of a run on disk, complete enough to resume the run exactly.

OUT.state/state.json                  step, best gain, name of the tensors' file
OUT.state/step-00000250.safetensors   weights, their average, the optimiser's moments
"""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from crossnetpp.training.config import ConfigError


@dataclass(frozen=True)
class Progress:
    """Progress of a run."""

    digest: str
    """Digest of the configuration with which the run started, and with which alone it resumes."""
    step: int = 0
    """Completed steps."""
    best: float = -1e9
    """Best validation gain so far in dB."""
    samples: int = 0
    """Number of samples used so far."""
    seconds: float = 0.0
    """Training time so far in seconds."""
    loss_scale: float = 65536.0
    """Loss scale of mixed precision on CUDA."""


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
    """Write the state in such a way that an interruption leaves the old or the new one intact."""
    folder.mkdir(parents=True, exist_ok=True)

    # Tensors, in a file of their own
    tensors = {f"network.{name}": value for name, value in network.state_dict().items()}
    tensors |= {f"average.{name}": value for name, value in average.state_dict().items()}
    tensors |= _collect_moments(optimiser)
    contiguous = {key: value.detach().cpu().contiguous() for key, value in tensors.items()}
    name = f"step-{progress.step:08d}.safetensors"
    unfinished = folder / f".{name}"
    save_file(contiguous, unfinished)
    unfinished.replace(folder / name)

    # The index that points to them
    index = folder / ".state.json"
    with index.open("w", encoding="utf-8") as file:
        json.dump({**asdict(progress), "tensors": name}, file, indent=1)
        file.flush()
        os.fsync(file.fileno())
    index.replace(folder / "state.json")

    for old in folder.glob("step-*.safetensors"):
        if old.name != name:
            old.unlink()


def load_state(
    folder: Path,
    digest: str,
    network: nn.Module,
    average: nn.Module,
    optimiser: torch.optim.Optimizer,
) -> Progress | None:
    """Restore a run from `folder` and return its progress, or None if `folder` holds no state.

    Raises ConfigError if the state belongs to another configuration.
    """
    index = folder / "state.json"
    if not index.is_file():
        return None

    content = json.loads(index.read_text(encoding="utf-8"))
    tensors = load_file(folder / content.pop("tensors"))
    progress = Progress(**content)
    if progress.digest != digest:
        raise ConfigError(
            f"found the state of a run with another configuration in {folder}; "
            "try the configuration with which it started, or another --out"
        )

    network.load_state_dict(_select_prefix("network.", tensors))
    average.load_state_dict(_select_prefix("average.", tensors))
    moments: dict[int, dict[str, Tensor]] = {}
    for key, value in _select_prefix("optimiser.", tensors).items():
        number, name = key.split(".", 1)
        moments.setdefault(int(number), {})[name] = value
    groups = optimiser.state_dict()["param_groups"]
    optimiser.load_state_dict({"state": moments, "param_groups": groups})
    return progress


def _select_prefix(prefix: str, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """Return the tensors whose names start with `prefix`, by the rest of their names."""
    return {k.removeprefix(prefix): v for k, v in tensors.items() if k.startswith(prefix)}
