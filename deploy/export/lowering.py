"""Replace layers of a network with layers that engines run fast.

Deconvolutions become convolutions with pixel shuffles, which compute the same results. Convolutions
may run in 16 bits, while coordinates, warps and additions of layers' outputs stay in float32.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn

from crossnetpp.networks.kernels import is_traced
from crossnetpp.networks.layers import MOST_COORDINATE_CHANNELS

Precision = Literal["fp32", "fp16", "bf16"]

_HALF_TYPES: dict[Precision, torch.dtype] = {"fp16": torch.float16, "bf16": torch.bfloat16}

# layers that may run in 16 bits
HALF_PRECISION_LAYERS = (nn.Conv2d, nn.LeakyReLU, nn.ReLU, nn.SELU, nn.PixelShuffle)


class RepackedDeconv(nn.Sequential):
    """A 4 x 4 deconvolution of stride 2, rewritten as a 3 x 3 convolution and a pixel shuffle.

    Along rows and along columns, output pixel 2 i depends on input pixels i - 1 and i through taps
    3 and 1, and output pixel 2 i + 1 depends on input pixels i and i + 1 through taps 2 and 0.
    """

    def __init__(self, deconv: nn.ConvTranspose2d) -> None:
        inputs = deconv.in_channels
        outputs = deconv.out_channels
        conv = nn.Conv2d(inputs, 4 * outputs, 3, padding=1, bias=deconv.bias is not None)

        # parity of the output pixel -> (position in the new kernel, tap of the old kernel) pairs
        taps = torch.zeros(outputs, 2, 2, inputs, 3, 3)
        seen = {0: ((0, 3), (1, 1)), 1: ((1, 2), (2, 0))}
        old = deconv.weight.detach().transpose(0, 1)
        for a, rows in seen.items():
            for b, columns in seen.items():
                for row, k in rows:
                    for column, m in columns:
                        taps[:, a, b, :, row, column] = old[:, :, k, m]

        conv.weight.data = taps.reshape(4 * outputs, inputs, 3, 3)
        if deconv.bias is not None and conv.bias is not None:
            conv.bias.data = deconv.bias.detach().repeat_interleave(4)
        super().__init__(conv, nn.PixelShuffle(2))


def is_repackable(layer: nn.Module) -> bool:
    """Return whether `layer` is a deconvolution that RepackedDeconv can rewrite."""
    return isinstance(layer, nn.ConvTranspose2d) and (
        layer.kernel_size,
        layer.stride,
        layer.padding,
        layer.output_padding,
        layer.groups,
        layer.dilation,
    ) == ((4, 4), (2, 2), (1, 1), (0, 0), 1, (1, 1))


class HalfPrecision(nn.Module):
    """Runs layers in 16 bits, with inputs of any dtype and outputs in float32."""

    def __init__(self, layers: nn.Module, dtype: torch.dtype = torch.float16) -> None:
        super().__init__()
        self.layers = layers.to(dtype)
        self.dtype = dtype

    def forward(self, *inputs: Tensor) -> Tensor:
        """Return the output of the layers in float32."""
        if is_traced():
            # concatenate before the cast, or onnxruntime would concatenate in float16
            inputs = (torch.cat(inputs, dim=1),) if len(inputs) > 1 else inputs
        outputs: Tensor = self.layers(*(each.to(self.dtype) for each in inputs))
        return outputs.float()


def _can_run_in_half(module: nn.Module) -> bool:
    inside = [m for m in module.modules() if not isinstance(m, nn.Sequential)]
    return (
        isinstance(module, (nn.Conv2d, nn.Sequential))
        and all(isinstance(m, HALF_PRECISION_LAYERS) for m in inside)
        and all(
            m.out_channels > MOST_COORDINATE_CHANNELS for m in inside if isinstance(m, nn.Conv2d)
        )
    )


def _replace_layers(module: nn.Module, *, half: torch.dtype | None) -> None:
    """Replace deconvolutions in `module`, and layers that can run in 16 bits with HalfPrecision.

    `half` is their dtype; if it is None, all layers stay in float32.
    """
    for name, child in module.named_children():
        if is_repackable(child):
            assert isinstance(child, nn.ConvTranspose2d)
            child = RepackedDeconv(child)
            setattr(module, name, child)
        elif not isinstance(child, nn.Conv2d):
            _replace_layers(child, half=None)

        if half is not None and _can_run_in_half(child):
            setattr(module, name, HalfPrecision(child, half))
        elif half is not None:
            _replace_layers(child, half=half)


def lower_network(network: nn.Module, precision: Precision = "fp32") -> nn.Module:
    """Rewrite `network` in place for export or compilation, and return it.

    With fp16 or bf16, convolutions and activations run in 16 bits, in chains that are as long as
    possible. Layers that compute flows or images stay in float32.
    """
    _replace_layers(network, half=_HALF_TYPES.get(precision))
    return network
