"""CrossNet++ (notes 3.3): two-stage cross-scale warping, shared encoder, fusion decoder."""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor, nn

from crossnetpp.config import PRESETS, FastConfig, PaperConfig
from crossnetpp.decoder import Decoder
from crossnetpp.encoder import Encoder
from crossnetpp.fast import CrossNetFast
from crossnetpp.flow import FlowNet, MultiScaleFlow
from crossnetpp.upsample import bicubic
from crossnetpp.warp import warp


class PaperOutput(NamedTuple):
    """All that the losses need; images are N x 3 x H x W, linear (clamp at inference)."""

    sr: Tensor
    lr_up: Tensor
    warped_stage1: Tensor
    """The reference warped by V0 of stage 1."""
    flow_stage1: MultiScaleFlow
    flow_stage2: MultiScaleFlow


class CrossNetPlusPlus(nn.Module):
    """The published network with every layer it has: 69,013,951 parameters."""

    multiple = 64

    def __init__(self, config: PaperConfig | None = None) -> None:
        super().__init__()
        config = config or PaperConfig()
        self.flow1, self.flow2 = FlowNet(), FlowNet()
        self.encoder = Encoder(config.activation)
        self.decoder = Decoder(config.activation)

    def forward(self, lr: Tensor, ref: Tensor) -> PaperOutput:
        """Run on `lr` N x 3 x h x w and `ref` N x 3 x H x W, both 0..1; H, W multiples of 64."""
        lr_up = bicubic(lr, ref.shape[-1] // lr.shape[-1])
        stage1 = self.flow1(lr_up, ref)
        warped = warp(ref, stage1.v0)
        stage2 = self.flow2(lr_up, warped)
        aligned = [
            warp(feature, flow)
            for feature, flow in zip(self.encoder(warped), reversed(stage2), strict=True)
        ]
        sr = self.decoder(self.encoder(lr_up), aligned)
        return PaperOutput(sr, lr_up, warped, stage1, stage2)


Network = CrossNetPlusPlus | CrossNetFast


def build(preset: str) -> Network:
    """Return the network of `preset` (fast, paper) with random weights; KeyError if unknown."""
    config = PRESETS[preset]
    if isinstance(config, FastConfig):
        return CrossNetFast(config)
    return CrossNetPlusPlus(config)
