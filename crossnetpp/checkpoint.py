"""Weights on disk: safetensors with the preset and its options inside, never pickles."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from crossnetpp.networks.build import Network, build_network
from crossnetpp.networks.presets import PRESETS

SHIPPED = Path(__file__).parent / "weights"


class WeightsError(Exception):
    """Report weights that do not exist or do not fit, in one line."""


def save_weights(network: Network, preset: str, path: Path) -> None:
    """Write the weights as float16 safetensors, which loses nothing visible and halves the file.

    The metadata say how to build the network: its preset, and its configuration as JSON.
    """
    tensors = {
        name: tensor.detach().to(torch.float16).contiguous()
        for name, tensor in network.state_dict().items()
    }
    config = getattr(network, "config", PRESETS[preset])
    save_file(tensors, path, metadata={"preset": preset, "config": json.dumps(asdict(config))})


def weights_path(model: str) -> Path:
    """Return the file behind `model`: a shipped preset's name or a path.

    Raises WeightsError when there is no such file.
    """
    path = SHIPPED / f"{model}.safetensors" if model in PRESETS else Path(model)
    if path.is_file():
        return path
    if model in PRESETS:
        raise WeightsError(
            f"found no shipped weights for the preset '{model}', expected 'fast' or a "
            "safetensors file; train them or use --model fast"
        )
    raise WeightsError(
        f"found no model '{model}', expected one of {', '.join(PRESETS)} or a safetensors file; "
        "try --model fast"
    )


def load_network(model: str) -> Network:
    """Return the network named `model` (a preset or a safetensors file), float32, ready to infer.

    Raises WeightsError for files that are missing, broken or made for another network.
    """
    path = weights_path(model)
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            tensors = {name: file.get_tensor(name).float() for name in file.keys()}  # noqa: SIM118
    except (SafetensorError, OSError) as error:
        raise WeightsError(
            f"found a file that is not safetensors at {path} ({error}); "
            "try weights made by crossnetpp.train"
        ) from error
    preset = metadata.get("preset", "")
    network = _build(preset, metadata.get("config", "{}"), path)
    try:
        network.load_state_dict(tensors)
    except RuntimeError as error:
        raise WeightsError(
            f"found weights in {path} that do not fit the network '{preset}': "
            f"{str(error).splitlines()[0]}; try weights made by this version"
        ) from error
    return network.eval()


def _build(preset: str, config: str, path: Path) -> Network:
    """Return the network that the metadata of `path` describe; older files hold no config."""
    if preset not in PRESETS:
        raise WeightsError(
            f"found weights for the network '{preset}' in {path}, expected one of "
            f"{', '.join(PRESETS)}; try weights made by crossnetpp.train"
        )
    try:
        return build_network(preset, json.loads(config))
    except ValueError as error:
        raise WeightsError(
            f"found in {path} a network that this version cannot build ({error}); "
            "try the version that trained it"
        ) from error
