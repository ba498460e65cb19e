"""The flow estimator of the papers: FlowNetS with two more x2 upsampling stages, to full size."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn

from crossnetpp.networks.layers import SLOPE, make_conv
from crossnetpp.networks.warp import warp


class MultiScaleFlow(NamedTuple):
    """V^3..V^0 of the paper; V^i is N x 2 x H/2^i x W/2^i in pixels of that size; channel 0 = x."""

    v3: Tensor
    v2: Tensor
    v1: Tensor
    v0: Tensor


def join_flows(first: Tensor, second: Tensor) -> Tensor:
    """Return the flow (N x 2 x H x W pixels) that warps like `first` followed by `second`.

    `warp(warp(image, first), second)` at x is the image at x + second(x) + first(x + second(x)).
    """
    return second + warp(first, second)


def _make_deconv(inputs: int, outputs: int) -> nn.Sequential:
    return nn.Sequential(
        nn.ConvTranspose2d(inputs, outputs, 4, stride=2, padding=1),
        nn.LeakyReLU(SLOPE, inplace=True),
    )


def _make_flow_head(inputs: int) -> nn.Conv2d:
    return nn.Conv2d(inputs, 2, 3, padding=1)


def _make_flow_upsampling() -> nn.ConvTranspose2d:
    return nn.ConvTranspose2d(2, 2, 4, stride=2, padding=1)


class FlowNet(nn.Module):
    """Estimator of the flow from LR_up to REF at four scales; H and W must be multiples of 64."""

    def __init__(self) -> None:
        super().__init__()
        # Contracting path
        self.conv1 = make_conv(6, 64, 7, stride=2)
        self.conv2 = make_conv(64, 128, 5, stride=2)
        self.conv3 = nn.Sequential(make_conv(128, 256, 5, stride=2), make_conv(256, 256))
        self.conv4 = nn.Sequential(make_conv(256, 512, 3, stride=2), make_conv(512, 512))
        self.conv5 = nn.Sequential(make_conv(512, 512, 3, stride=2), make_conv(512, 512))
        self.conv6 = nn.Sequential(make_conv(512, 1024, 3, stride=2), make_conv(1024, 1024))

        # Expanding path
        self.predict6 = _make_flow_head(1024)
        self.up6 = _make_flow_upsampling()
        self.deconv5 = _make_deconv(1024, 256)

        self.predict5 = _make_flow_head(770)
        self.up5 = _make_flow_upsampling()
        self.deconv4 = _make_deconv(770, 256)

        self.predict4 = _make_flow_head(770)
        self.up4 = _make_flow_upsampling()
        self.deconv3 = _make_deconv(770, 128)

        self.predict3 = _make_flow_head(386)
        self.up3 = _make_flow_upsampling()
        self.deconv2 = _make_deconv(386, 64)

        self.predict2 = _make_flow_head(194)
        self.up2 = _make_flow_upsampling()
        self.deconv1 = _make_deconv(194, 64)

        self.predict1 = _make_flow_head(130)
        self.up1 = _make_flow_upsampling()
        self.deconv0 = _make_deconv(130, 64)

        self.head0 = nn.Sequential(
            nn.Conv2d(69, 16, 7, padding=3),
            nn.SELU(inplace=True),
            nn.Conv2d(16, 16, 7, padding=3),
            nn.SELU(inplace=True),
            _make_flow_head(16),
        )

    def forward(self, lr_up: Tensor, ref: Tensor) -> MultiScaleFlow:
        """Return V^3..V^0 from `lr_up` to `ref`, both N x 3 x H x W in 0..1."""
        # Contracting path
        c1 = self.conv1(torch.cat((lr_up, ref), dim=1))
        c2 = self.conv2(c1)
        c3 = self.conv3(c2)
        c4 = self.conv4(c3)
        c5 = self.conv5(c4)
        c6 = self.conv6(c5)

        # Expanding path
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
