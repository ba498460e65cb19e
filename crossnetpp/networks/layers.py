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
