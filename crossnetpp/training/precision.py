"""Convolutions in bfloat16 during training, with everything else in float32."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from crossnetpp.networks.layers import MOST_COORDINATE_CHANNELS


def run_convolutions_in_bfloat16(network: nn.Module) -> None:
    """Make the convolutions inside `network` compute in bfloat16 and return float32.

    The weights stay float32, so optimisers and checkpoints do not change. Convolutions that compute
    flows or images stay float32.
    """
    # TF32 would also round the weightless convolutions that filter images
    torch.backends.cudnn.allow_tf32 = False
    for module in network.modules():
        if isinstance(module, nn.Conv2d) and module.out_channels > MOST_COORDINATE_CHANNELS:
            context = _Bfloat16Layer()
            module.register_forward_pre_hook(context.enter)
            module.register_forward_hook(context.leave, always_call=True)


class _Bfloat16Layer:
    """Hooks that enable mixed precision for one layer."""

    def __init__(self) -> None:
        self._active: list[torch.autocast] = []

    def enter(self, _module: nn.Module, inputs: tuple[Any, ...]) -> None:
        autocast = torch.autocast(inputs[0].device.type, torch.bfloat16)
        autocast.__enter__()  # type: ignore[no-untyped-call]
        self._active.append(autocast)

    def leave(self, _module: nn.Module, _inputs: tuple[Any, ...], output: Any) -> Any:
        self._active.pop().__exit__(None, None, None)
        return output.float() if isinstance(output, Tensor) else output
