"""The engine that runs the network's fusion in 8 bits, in PyTorch on a CPU."""

from __future__ import annotations

import copy
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from crossnetpp.networks.build import Network
from crossnetpp.networks.fast import CrossNetFast
from deploy.engines.int8 import is_int8_usable, round_network
from deploy.engines.torch_engine import TorchEngine
from deploy.protocol import EngineError, Pixels


class Int8Engine(TorchEngine):
    """An engine that runs `fast` in PyTorch on the CPU, in 8 bits where that costs little quality.

    16-bit frames are enhanced in float32, because 8-bit convolutions are too coarse for them.
    """

    def __init__(
        self, model: str = "fast", *, threads: int | None = None, reason: str = "requested"
    ) -> None:
        cpu = torch.device("cpu")
        super().__init__(model, threads=threads, reason=reason, precision="fp32", device=cpu)
        if not isinstance(self.network, CrossNetFast):
            raise EngineError(
                f"the int8 engine runs only the network 'fast', not {model}; try --engine torch"
            )
        if not is_int8_usable():
            raise EngineError(
                "the int8 engine needs 8-bit convolutions, which do not work in PyTorch on this "
                "machine; try --engine torch"
            )

        self._rounded = copy.deepcopy(self.network)
        round_network(self._rounded)
        self.info = replace(self.info, name="int8", precision="int8")

    def _network_for(self, frames: Pixels | Tensor) -> Network:
        is_8_bit = frames.dtype in (np.uint8, torch.uint8)
        return self._rounded if is_8_bit else self.network
