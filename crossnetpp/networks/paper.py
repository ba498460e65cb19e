"""CrossNet++ as published: flow nets, a shared encoder, warping and a fusion decoder."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn

from crossnetpp.networks.flow_net import FlowNet, MultiScaleFlow, join_flows
from crossnetpp.networks.presets import Activation, PaperConfig
from crossnetpp.networks.resample import upsample_bicubic
from crossnetpp.networks.single_image import SingleImage
from crossnetpp.networks.warp import warp


class PaperOutput(NamedTuple):
    """Output of CrossNetPlusPlus; every image is N x 3 x H x W and not clamped.

    The first six fields have the same names and order as in FastOutput. With one stage, `flow`
    equals `flow_stage1`.
    """

    sr: Tensor
    lr_up: Tensor
    """LR upsampled bicubically, even if the encoder's input is upsampled by a network."""
    warped: Tensor
    """Reference warped by V^0 of every stage in turn."""
    warped_stage1: Tensor
    """Reference warped by V^0 of stage 1."""
    flow_stage1: Tensor
    """V^0 of stage 1, N x 2 x H x W pixels."""
    flow: Tensor
    """V^0 of all stages joined, N x 2 x H x W pixels."""
    flows_stage1: MultiScaleFlow
    flows_stage2: MultiScaleFlow | None
    """None if there is only one stage."""


def make_activation(name: Activation) -> nn.Module:
    """Return the activation `name`: `relu` as in the paper, or `selu` as in its published code."""
    return nn.ReLU(inplace=True) if name == "relu" else nn.SELU(inplace=True)


class Encoder(nn.Module):
    """The image encoder: five 5x5 convolutions with 64 filters each, and features at four scales.

    In CrossNet++, the same encoder is used for LR_up and the reference.
    """

    def __init__(self, activation: Activation = "relu") -> None:
        super().__init__()

        def conv(inputs: int, stride: int) -> nn.Sequential:
            layer = nn.Conv2d(inputs, 64, 5, stride=stride, padding=2)
            return nn.Sequential(layer, make_activation(activation))

        self.scale0 = nn.Sequential(conv(3, 1), conv(64, 1))
        self.scale1 = conv(64, 2)
        self.scale2 = conv(64, 2)
        self.scale3 = conv(64, 2)

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Return the features F0..F3 (N x 64 x H/2^i x W/2^i) of `image` (N x 3 x H x W, 0..1)."""
        # F^0 = s(W^0 *1 I); two layers, according to the paper's text
        f0 = self.scale0(image)

        # F^i = s(W^i *2 F^(i-1)), i = 1, 2, 3
        f1 = self.scale1(f0)
        f2 = self.scale2(f1)
        f3 = self.scale3(f2)
        return f0, f1, f2, f3


class Decoder(nn.Module):
    """The fusion decoder: from scale 3 to full resolution like a U-Net, then post-fusion."""

    def __init__(self, activation: Activation = "relu") -> None:
        super().__init__()

        def deconv(inputs: int) -> nn.Sequential:
            layer = nn.ConvTranspose2d(inputs, 64, 4, stride=2, padding=1)
            return nn.Sequential(layer, make_activation(activation))

        self.deconv3 = deconv(128)
        self.deconv2 = deconv(192)
        self.deconv1 = deconv(192)
        self.fuse1 = nn.Sequential(nn.Conv2d(192, 64, 5, padding=2), make_activation(activation))
        self.fuse2 = nn.Sequential(nn.Conv2d(64, 64, 5, padding=2), make_activation(activation))
        # No activation, as in the published code
        self.output = nn.Conv2d(64, 3, 5, padding=2)

    def forward(self, lr: Sequence[Tensor], ref: Sequence[Tensor]) -> Tensor:
        """Return an N x 3 x H x W image from features F0..F3 of LR_up and of the aligned REF."""
        # F_D^3 = s(W_D^3 *2 (F_LR^3, F^_REF^3))
        d3 = self.deconv3(torch.cat((lr[3], ref[3]), dim=1))

        # F_D^i = s(W_D^i *2 (F_LR^i, F^_REF^i, F_D^(i+1))), i = 2, 1
        d2 = self.deconv2(torch.cat((d3, lr[2], ref[2]), dim=1))
        d1 = self.deconv1(torch.cat((d2, lr[1], ref[1]), dim=1))

        # F_1 = s(W_1 *1 (F_LR^0, F^_REF^0, F_D^1)), F_2 = s(W_2 *1 F_1), I_p = W_p *1 F_2
        fused = self.fuse1(torch.cat((d1, lr[0], ref[0]), dim=1))
        image: Tensor = self.output(self.fuse2(fused))
        return image


class CrossNetPlusPlus(nn.Module):
    """The complete published network, with 69,013,951 parameters.

    With one stage, it is CrossNet and has 35,183,841 parameters, or 35,598,561 with two encoders.
    """

    multiple = 64

    def __init__(self, config: PaperConfig | None = None) -> None:
        super().__init__()
        self.config = config = config or PaperConfig()
        self.flow1 = FlowNet()
        self.flow2 = FlowNet() if config.stages == 2 else None
        self.encoder = Encoder(config.activation)
        self.ref_encoder = None if config.shared_encoder else Encoder(config.activation)
        self.decoder = Decoder(config.activation)
        self.upsampler = SingleImage() if config.upsample == "learned" else None

    def forward(self, lr: Tensor, ref: Tensor) -> PaperOutput:
        """Enhance `lr` (N x 3 x h x w) with `ref` (N x 3 x H x W), both in 0..1.

        H and W must be multiples of 64.
        """
        # int() keeps the scale a number; a tracing exporter would make it a tensor
        scale = int(ref.shape[-1]) // int(lr.shape[-1])

        # I_LR_up = SISR(I_LR). The flow nets get the bicubic LR_up, as in the published code.
        lr_up = upsample_bicubic(lr, scale)
        encoder_input = lr_up if self.upsampler is None else self.upsampler(lr, scale)

        # V_1 = Flow_1(I_LR_up, I_REF) and I^_REF = Warp(I_REF, V_1^0)
        stage1: MultiScaleFlow = self.flow1(lr_up, ref)
        warped_stage1 = warp(ref, stage1.v0)

        if self.flow2 is None:
            # CrossNet: the only flow warps the features of I_REF itself
            stage2 = None
            warped = warped_stage1
            flow = stage1.v0
            aligned = self._align(ref, stage1, warped)
        else:
            # {V_2^3, V_2^2, V_2^1, V_2^0} = Flow_2(I_LR_up, I^_REF)
            stage2 = self.flow2(lr_up, warped_stage1)
            warped = warp(warped_stage1, stage2.v0)
            flow = join_flows(stage1.v0, stage2.v0)
            aligned = self._align(warped_stage1, stage2, warped)

        # Fusion
        sr = self.decoder(self.encoder(encoder_input), aligned)
        return PaperOutput(sr, lr_up, warped, warped_stage1, stage1.v0, flow, stage1, stage2)

    def _align(self, image: Tensor, flows: MultiScaleFlow, warped: Tensor) -> list[Tensor]:
        """Return the aligned features F^_REF at scales i = 0..3 (N x 64 x H/2^i x W/2^i).

        `warped` is `image` warped by V^0 of `flows`.
        """
        encoder = self.encoder if self.ref_encoder is None else self.ref_encoder
        if self.config.warping == "image":
            return list(encoder(warped))

        # F^_REF^i = Warp(F_REF^i, V_2^i), i = 0..3
        pairs = zip(encoder(image), reversed(flows), strict=True)
        return [warp(feature, flow) for feature, flow in pairs]
