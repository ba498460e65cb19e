"""Export graphs into the registry, under keys that contain the weights' digest and the options."""

from __future__ import annotations

import hashlib
import json
from functools import lru_cache

import torch

from crossnetpp.checkpoint import (
    WeightsError,
    find_weights,
    load_network,
    read_description,
)
from crossnetpp.networks.build import Network
from deploy.export.graphs import GraphSpec
from deploy.export.write import EXPORT_VERSION, OPSET, export_checked_graph
from deploy.protocol import EngineError
from deploy.registry import Entry, JsonObject, Registry

# Options of a network that hardly affect its speed, and are not part of `describe_network`
SMALL_OPTIONS = ("votes", "chroma")


def load_model_network(model: str) -> Network:
    """Return the network of `model`. Raises EngineError if its weights cannot be used."""
    try:
        return load_network(model)
    except WeightsError as error:
        raise EngineError(str(error)) from error


@lru_cache(maxsize=8)
def _sha256(path: str, size: int, mtime_ns: int, inode: int) -> str:
    """Return a file's SHA-256; the file is read again if its size, mtime or inode has changed."""
    with open(path, "rb") as file:  # noqa: PTH123 - hashlib needs an open file
        return hashlib.file_digest(file, "sha256").hexdigest()


def weights_sha256(model: str) -> str:
    """Return the SHA-256 of the weights file of `model`, in hexadecimal.

    Raises EngineError if there is no such file.
    """
    try:
        path = find_weights(model)
    except WeightsError as error:
        raise EngineError(str(error)) from error
    status = path.stat()
    return _sha256(str(path), status.st_size, status.st_mtime_ns, status.st_ino)


def describe_network(model: str) -> str:
    """Return a text that identifies the network of `model`, which determines its speed.

    The text does not depend on the values of the weights. Raises EngineError if the weights file is
    missing or unusable.
    """
    try:
        preset, config = read_description(find_weights(model))
    except WeightsError as error:
        raise EngineError(str(error)) from error
    slow = {name: value for name, value in config.items() if name not in SMALL_OPTIONS}
    return f"{preset} {json.dumps(slow, sort_keys=True)}"


def graph_key(model: str, spec: GraphSpec) -> JsonObject:
    """Return the registry key of a graph of `model`, with everything that determines the graph.

    Raises EngineError if there is no weights file.
    """
    return {
        "kind": "onnx",
        "weights": weights_sha256(model),
        "graph": spec.name,
        "opset": OPSET,
        "export": EXPORT_VERSION,
        "torch": torch.__version__,
    }


def get_or_export_graph(model: str, spec: GraphSpec, registry: Registry | None = None) -> Entry:
    """Return the registry's entry for the ONNX file of a graph, exporting the graph if necessary.

    Raises EngineError if the weights cannot be used, the export fails or the registry is unusable.
    """

    def make() -> tuple[bytes, JsonObject]:
        content, differences = export_checked_graph(load_model_network(model), spec)
        return content, {"model": model, "difference": differences}

    return (registry or Registry()).get_or_make(graph_key(model, spec), "onnx", make)
