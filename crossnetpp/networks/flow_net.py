"""The paper's flow estimator: FlowNetS with two more x2 stages, up to full size (notes 3.3.1)."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn

from crossnetpp.networks.warp import warp

SLOPE = 0.1


class MultiScaleFlow(NamedTuple):
    """V^3..V^0 (notes 3.3.1), N x 2 x H/2^i x W/2^i, pixels of their own scale, channel 0 = x."""

    v3: Tensor
    v2: Tensor
    v1: Tensor
    v0: Tensor


def join(first: Tensor, second: Tensor) -> Tensor:
    """Return the flow (N x 2 x H x W pixels) that warps as `first` and after it `second` do.

    `warp(warp(image, first), second)` at x is the image at x + second(x) + first(x + second(x)).
    """
    return second + warp(first, second)


def _conv(inputs: int, outputs: int, kernel: int = 3, stride: int = 1) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, kernel, stride=stride, padding=kernel // 2),
        nn.LeakyReLU(SLOPE, inplace=True),
    )


def _deconv(inputs: int, outputs: int) -> nn.Sequential:
    return nn.Sequential(
        nn.ConvTranspose2d(inputs, outputs, 4, stride=2, padding=1),
        nn.LeakyReLU(SLOPE, inplace=True),
    )


def _predict(inputs: int) -> nn.Conv2d:
    return nn.Conv2d(inputs, 2, 3, padding=1)


def _upsample_flow() -> nn.ConvTranspose2d:
    return nn.ConvTranspose2d(2, 2, 4, stride=2, padding=1)


class FlowNet(nn.Module):
    """Estimate the flow from LR_up to REF at four scales; H and W are multiples of 64."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = _conv(6, 64, 7, 2)
        self.conv2 = _conv(64, 128, 5, 2)
        self.conv3 = nn.Sequential(_conv(128, 256, 5, 2), _conv(256, 256))
        self.conv4 = nn.Sequential(_conv(256, 512, 3, 2), _conv(512, 512))
        self.conv5 = nn.Sequential(_conv(512, 512, 3, 2), _conv(512, 512))
        self.conv6 = nn.Sequential(_conv(512, 1024, 3, 2), _conv(1024, 1024))
        self.predict6, self.up6, self.deconv5 = _predict(1024), _upsample_flow(), _deconv(1024, 256)
        self.predict5, self.up5, self.deconv4 = _predict(770), _upsample_flow(), _deconv(770, 256)
        self.predict4, self.up4, self.deconv3 = _predict(770), _upsample_flow(), _deconv(770, 128)
        self.predict3, self.up3, self.deconv2 = _predict(386), _upsample_flow(), _deconv(386, 64)
        self.predict2, self.up2, self.deconv1 = _predict(194), _upsample_flow(), _deconv(194, 64)
        self.predict1, self.up1, self.deconv0 = _predict(130), _upsample_flow(), _deconv(130, 64)
        self.head0 = nn.Sequential(
            nn.Conv2d(69, 16, 7, padding=3),
            nn.SELU(inplace=True),
            nn.Conv2d(16, 16, 7, padding=3),
            nn.SELU(inplace=True),
            _predict(16),
        )

    def forward(self, lr_up: Tensor, ref: Tensor) -> MultiScaleFlow:
        """Return V^3..V^0 for `lr_up` and `ref`, both N x 3 x H x W in 0..1 (notes 3.3.1)."""
        c1 = self.conv1(torch.cat((lr_up, ref), dim=1))
        c2 = self.conv2(c1)
        c3 = self.conv3(c2)
        c4 = self.conv4(c3)
        c5 = self.conv5(c4)
        c6 = self.conv6(c5)
        d5 = torch.cat((c5, self.deconv5(c6), self.up6(self.predict6(c6))), dim=1)
        d4 = torch.cat((c4, self.deconv4(d5), self.up5(self.predict5(d5))), dim=1)
        d3 = torch.cat((c3, self.deconv3(d4), self.up4(self.predict4(d4))), dim=1)
        v3 = self.predict3(d3)
        d2 = torch.cat((c2, self.deconv2(d3), self.up3(v3)), dim=1)
        v2 = self.predict2(d2)
        d1 = torch.cat((c1, self.deconv1(d2), self.up2(v2)), dim=1)
        v1 = self.predict1(d1)
        d0 = torch.cat((ref, self.deconv0(d1), self.up1(v1)), dim=1)
        return MultiScaleFlow(v3, v2, v1, self.head0(d0))
