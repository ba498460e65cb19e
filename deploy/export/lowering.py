"""Rewrite a network into layers that engines run fast.

Deconvolutions become convolutions with pixel shuffles, which compute the same. Convolutions may run
in float16, while all coordinates, warps and sums between them stay in float32.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn

from crossnetpp.networks.layers import MOST_COORDINATE_CHANNELS

Precision = Literal["fp32", "fp16"]

# layers that may run in float16
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
    """Runs layers in float16, with inputs and outputs of another dtype, usually float32."""

    def __init__(self, layers: nn.Module) -> None:
        super().__init__()
        self.layers = layers.half()

    def forward(self, inputs: Tensor) -> Tensor:
        """Return the output of the layers, with the dtype of `inputs`."""
        outputs: Tensor = self.layers(inputs.half())
        return outputs.to(inputs.dtype)


def _can_run_in_half(module: nn.Module) -> bool:
    inside = [m for m in module.modules() if not isinstance(m, nn.Sequential)]
    return (
        isinstance(module, (nn.Conv2d, nn.Sequential))
        and all(isinstance(m, HALF_PRECISION_LAYERS) for m in inside)
        and all(
            m.out_channels > MOST_COORDINATE_CHANNELS for m in inside if isinstance(m, nn.Conv2d)
        )
    )


def _replace_layers(module: nn.Module, *, half: bool) -> None:
    for name, child in module.named_children():
        if is_repackable(child):
            assert isinstance(child, nn.ConvTranspose2d)
            child = RepackedDeconv(child)
            setattr(module, name, child)
        elif not isinstance(child, nn.Conv2d):
            _replace_layers(child, half=False)

        if half and _can_run_in_half(child):
            setattr(module, name, HalfPrecision(child))
        elif half:
            _replace_layers(child, half=True)


def lower_network(network: nn.Module, precision: Precision = "fp32") -> nn.Module:
    """Rewrite `network` in place for export or compilation, and return it.

    With fp16, convolutions and activations run in float16, in chains that are as long as possible.
    Those that compute flows or images stay in float32.
    """
    _replace_layers(network, half=precision == "fp16")
    return network
