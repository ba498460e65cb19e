"""Layers that several networks share."""

from __future__ import annotations

from torch import nn

SLOPE = 0.1  # negative slope of leaky ReLU


def make_conv(inputs: int, outputs: int, kernel: int = 3, *, stride: int = 1) -> nn.Sequential:
    """Return a `kernel` x `kernel` convolution with zero padding, followed by a leaky ReLU."""
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, kernel, stride=stride, padding=kernel // 2),
        nn.LeakyReLU(SLOPE, inplace=True),
    )


def init_near_zero(layer: nn.Conv2d) -> None:
    """Initialise `layer` so that its outputs are near zero.

    An untrained network then finds almost no motion and adds almost no residual.
    """
    nn.init.normal_(layer.weight, std=1e-3)
    if layer.bias is not None:
        nn.init.zeros_(layer.bias)
