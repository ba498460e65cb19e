"""The names of engines, available without importing any engine."""

from __future__ import annotations

ENGINES = ("auto", "tensorrt", "torch", "bf16", "int8", "onnx", "openvino", "bicubic")

# Engines that run a network.
NETWORK_ENGINES = tuple(name for name in ENGINES if name not in ("auto", "bicubic"))
