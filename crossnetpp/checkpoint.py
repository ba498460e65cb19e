"""Weights on disk: safetensors files (never pickles) that also store the preset and its options."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from pydantic import TypeAdapter, ValidationError
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from crossnetpp.networks.build import Network, build_network
from crossnetpp.networks.presets import PRESETS, VARIANTS, Config, make_config

WEIGHT_TYPES = (torch.float16, torch.bfloat16, torch.float32, torch.float64)
SUFFIX = ".safetensors"
WEIGHTS_FOLDER = Path(__file__).parent / "weights"


class WeightsError(Exception):
    """Raised if weights are missing or unusable, with a one-line message."""


@dataclass(frozen=True)
class AdaptedFacts:
    """How the weights in a file were adapted, as recorded in the file."""

    base: str
    """SHA-256 of the weights file from which the adaptation started."""
    steps: int
    held_out_gain_db: float
    """Gain in dB over the base weights on held-out key frames."""
    blend: float
    """Share of the trained weights in the stored blend; the base weights make up the rest."""


def save_weights(
    network: Network, preset: str, path: Path, adapted: AdaptedFacts | None = None
) -> None:
    """Save the weights of `network` in float16 to the safetensors file `path`.

    Float16 halves the size of the file without visible loss. The metadata contains the preset, the
    network's configuration as JSON and, if given, `adapted` as JSON. The same weights always give
    the same bytes. If writing fails, a file that was there before remains.
    """
    tensors = {
        name: tensor.detach().to(torch.float16).contiguous()
        for name, tensor in network.state_dict().items()
    }
    config = getattr(network, "config", PRESETS[preset])
    metadata = {"preset": preset, "config": json.dumps(asdict(config))}
    if adapted is not None:
        metadata["adapted"] = json.dumps(asdict(adapted))
    unfinished = path.with_name(f".{path.name}.part")
    try:
        unfinished.write_bytes(_sort_metadata(save(tensors, metadata=metadata)))
        unfinished.replace(path)
    finally:
        unfinished.unlink(missing_ok=True)


def _sort_metadata(content: bytes) -> bytes:
    """Return the content of a safetensors file with its metadata sorted by key.

    The safetensors library writes metadata in varying order.
    """
    start = 8 + int.from_bytes(content[:8], "little")
    header = json.loads(content[8:start])
    header["__metadata__"] = dict(sorted(header["__metadata__"].items()))
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    return len(text).to_bytes(8, "little") + text + content[start:]


def read_adapted_facts(path: Path) -> AdaptedFacts | None:
    """Return how the weights in a file were adapted, or None if the file records no adaptation.

    Raises WeightsError if the file or the record cannot be read.
    """
    text = _read_metadata(path).get("adapted")
    if text is None:
        return None
    try:
        return TypeAdapter(AdaptedFacts).validate_json(text)
    except ValidationError as error:
        raise WeightsError(
            f"found an adaptation record in {path} that this version cannot read; "
            "adapt again with `pipeline adapt`"
        ) from error


def _read_metadata(path: Path) -> dict[str, str]:
    try:
        with safe_open(path, framework="pt") as file:
            return dict(file.metadata() or {})
    except (SafetensorError, OSError) as error:
        raise _not_safetensors(path, error) from error


def _not_safetensors(path: Path, error: Exception) -> WeightsError:
    return WeightsError(
        f"found no readable safetensors file at {path} ({error}); "
        "try weights made by crossnetpp.train"
    )


def find_weights(model: str) -> Path:
    """Return the weights file of `model`: a preset, a variant of one, or a path.

    Raises WeightsError if there is no such file.
    """
    is_name = model in PRESETS or model in VARIANTS
    path = WEIGHTS_FOLDER / f"{model}.safetensors" if is_name else Path(model)
    if path.is_file():
        return path

    if is_name:
        raise WeightsError(
            f"found no shipped weights for the preset '{model}'; train them, or try --model fast "
            "or a safetensors file"
        )
    raise WeightsError(
        f"found no model '{model}', expected one of {', '.join((*PRESETS, *VARIANTS))} or a "
        "safetensors file; try --model fast"
    )


def read_description(path: Path) -> tuple[str, dict[str, Any]]:
    """Return the preset and the options stored in a weights file, without reading its weights.

    Raises WeightsError if the file is missing or damaged, or its network cannot be built.
    """
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
    except (SafetensorError, OSError) as error:
        raise _not_safetensors(path, error) from error
    preset = metadata.get("preset", "")
    return preset, asdict(_read_config(preset, metadata.get("config", "{}"), path))


def load_network(model: str) -> Network:
    """Return the network of `model` with float32 weights, ready for inference.

    `model` is a preset, a variant of one, or the path of a safetensors file. Raises WeightsError if
    the file is missing or damaged, or if its weights do not fit the network or are not finite.
    """
    path = find_weights(model)
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (SafetensorError, OSError) as error:
        raise _not_safetensors(path, error) from error

    tensors = _to_float32(tensors, path)
    preset = metadata.get("preset", "")
    # Older files have no configuration
    config = _read_config(preset, metadata.get("config", "{}"), path)
    network = build_network(preset, asdict(config))
    try:
        network.load_state_dict(tensors)
    except RuntimeError as error:
        raise WeightsError(
            f"found weights in {path} that do not fit the network '{preset}': "
            f"{_describe_mismatch(error)}; try weights made by this version"
        ) from error
    return network.eval()


def _to_float32(tensors: dict[str, Tensor], path: Path) -> dict[str, Tensor]:
    """Return the weights in float32.

    Raises WeightsError if a tensor is not floating point, has fewer than 16 bits or is not finite.
    A single NaN would make every picture black.
    """
    for name, tensor in tensors.items():
        if tensor.dtype not in WEIGHT_TYPES:
            raise WeightsError(
                f"found {tensor.dtype} weights ({_shorten(name)}) in {path}, expected floating-"
                "point weights of at least 16 bits; try weights made by crossnetpp.train"
            )

    wide = {name: tensor.float() for name, tensor in tensors.items()}
    broken = [name for name, tensor in wide.items() if not bool(torch.isfinite(tensor).all())]
    if broken:
        raise WeightsError(
            f"{path} contains weights that are not finite (in {len(broken)} of {len(wide)} "
            f"tensors, first in {_shorten(broken[0])}); train again or use another file"
        )
    return wide


def _describe_mismatch(error: RuntimeError) -> str:
    """Return the first mismatch that PyTorch's error lists, without its headline."""
    lines = [line.strip() for line in str(error).splitlines()]
    return _shorten(lines[1] if len(lines) > 1 else lines[0], 200)


def _shorten(text: str, most: int = 60) -> str:
    """Return `text`, which comes from a file, as one line of at most `most` characters."""
    line = " ".join(text.split())
    return line if len(line) <= most else f"{line[: most - 3]}..."


def _read_config(preset: str, config: str, path: Path) -> Config:
    """Return the network's options from the preset and the JSON configuration stored in `path`.

    Raises WeightsError if this version has no such preset or cannot build the configuration.
    """
    if preset not in PRESETS:
        raise WeightsError(
            f"found weights for the network '{_shorten(preset)}' in {path}, expected one of "
            f"{', '.join(PRESETS)}; try weights made by crossnetpp.train"
        )
    try:
        options = json.loads(config)
        if not isinstance(options, dict):
            raise ValueError(f"found {_shorten(config)}, expected a JSON object of options")
        return make_config(preset, options)
    except (ValueError, RecursionError) as error:
        raise WeightsError(
            f"{path} contains a network that this version cannot build "
            f"({_shorten(str(error), 300)}); try the version that trained it"
        ) from error
