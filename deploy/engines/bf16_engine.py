"""The engine that runs the network's convolutions in bfloat16, in PyTorch on a CPU."""

from __future__ import annotations

from dataclasses import replace

import torch

from deploy.device import has_processor_feature
from deploy.engines.torch_engine import TorchEngine

# Processor features with which bfloat16 products are at least twice as fast as float32 ones
_FAST_FEATURES = ("avx512_bf16", "amx_bf16")


class Bf16Engine(TorchEngine):
    """An engine that runs the network in eager PyTorch on the CPU, with bfloat16 convolutions.

    Layers that compute flows or images stay in float32, and so do warps and additions of layers'
    outputs.
    """

    def __init__(
        self, model: str = "fast", *, threads: int | None = None, reason: str = "requested"
    ) -> None:
        cpu = torch.device("cpu")
        super().__init__(model, threads=threads, reason=reason, precision="bf16", device=cpu)
        self.info = replace(self.info, name="bf16")


def is_bf16_fast() -> bool:
    """Return whether this processor computes bfloat16 convolutions faster than float32 ones."""
    return has_processor_feature(*_FAST_FEATURES)
