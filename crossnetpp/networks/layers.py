"""Layers used by several networks."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from crossnetpp.networks.kernels import is_traced

SLOPE = 0.1  # negative slope of leaky ReLU

# Convolutions with at most this many output channels compute flows and images, for which 16 bits
# are too coarse: at 128 pixels, float16 has steps of 1/8 pixel, and bfloat16 of a whole pixel.
# (A repacked deconvolution has four channels for each output, so one that upsamples a flow has 8.)
MOST_COORDINATE_CHANNELS = 8


def make_conv(inputs: int, outputs: int, kernel: int = 3, *, stride: int = 1) -> nn.Sequential:
    """Return a `kernel` x `kernel` convolution with zero padding, followed by a leaky ReLU."""
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, kernel, stride=stride, padding=kernel // 2),
        nn.LeakyReLU(SLOPE, inplace=True),
    )


def find_dtype(layers: nn.Module) -> torch.dtype:
    """Return the data type in which `layers` compute, or float32 in exported graphs.

    Inputs that are converted to this type early are copied faster.
    """
    weight = next(layers.parameters(), None)
    return torch.float32 if weight is None or is_traced() else weight.dtype


def init_near_zero(layer: nn.Conv2d) -> None:
    """Initialise `layer` so that its outputs are near zero.

    An untrained network then finds almost no motion and adds almost no residual.
    """
    nn.init.normal_(layer.weight, std=1e-3)
    if layer.bias is not None:
        nn.init.zeros_(layer.bias)


class ConcatenatingSequential(nn.Sequential):
    """Layers that receive several inputs, and concatenate them along the channels.

    If the layers compute in a lower precision, the inputs can be converted before they are
    concatenated, which halves the bytes to copy.
    """

    def forward(self, *inputs: Tensor) -> Tensor:
        """Return the output of the layers for `inputs` (each N x C x H x W)."""
        joined = torch.cat(inputs, dim=1) if len(inputs) > 1 else inputs[0]
        outputs: Tensor = super().forward(joined)  # type: ignore[no-untyped-call]
        return outputs
