"""CrossNet++ (notes 3.3): two-stage cross-scale warping, shared encoder, fusion decoder."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from torch import Tensor, nn

from crossnetpp.networks.decoder import Decoder
from crossnetpp.networks.encoder import Encoder
from crossnetpp.networks.fast import CrossNetFast, FastOutput
from crossnetpp.networks.flow_net import FlowNet, MultiScaleFlow, join
from crossnetpp.networks.presets import FastConfig, PaperConfig, configured
from crossnetpp.networks.resample import bicubic
from crossnetpp.networks.single_image import SingleImage
from crossnetpp.networks.warp import warp


class PaperOutput(NamedTuple):
    """All that the losses and reports need; every image is N x 3 x H x W, linear.

    The first six are those of FastOutput. With one stage its flow is the final one.
    """

    sr: Tensor
    lr_up: Tensor
    """Bicubic, whatever the encoder saw."""
    warped: Tensor
    """The reference warped by V0 of every stage: where its features come to lie."""
    warped_stage1: Tensor
    """The reference warped by V0 of stage 1."""
    flow_stage1: Tensor
    """V0 of stage 1, N x 2 x H x W pixels."""
    flow: Tensor
    """V0 of all stages joined, N x 2 x H x W pixels."""
    flows_stage1: MultiScaleFlow
    flows_stage2: MultiScaleFlow | None
    """None with one stage."""


class CrossNetPlusPlus(nn.Module):
    """The published network with every layer it has: 69,013,951 parameters.

    With one stage it is CrossNet: 35,183,841 parameters, 35,598,561 with two encoders.
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
        """Run on `lr` N x 3 x h x w and `ref` N x 3 x H x W, both 0..1; H, W multiples of 64."""
        # numbers, where a tracing exporter would have the scale as a tensor
        scale = int(ref.shape[-1]) // int(lr.shape[-1])
        # 3.3.1, I_LR_up = SISR(I_LR). As in the published code the flow nets see the bicubic one.
        lr_up = bicubic(lr, scale)
        seen = lr_up if self.upsampler is None else self.upsampler(lr, scale)
        # 3.3.1, V_1 = Flow_1(I_LR_up, I_REF)
        stage1: MultiScaleFlow = self.flow1(lr_up, ref)
        # 3.3.1, I^_REF = Warp(I_REF, V_1^0)
        warped = warped_stage1 = warp(ref, stage1.v0)
        flow = stage1.v0
        # CrossNet: the flow of its one stage warps what is made of I_REF itself
        source, last, stage2 = ref, stage1, None
        if self.flow2 is not None:
            # 3.3.1, {V_2^3, V_2^2, V_2^1, V_2^0} = Flow_2(I_LR_up, I^_REF)
            last = stage2 = self.flow2(lr_up, warped_stage1)
            source = warped_stage1
            warped = warp(source, last.v0)
            flow = join(stage1.v0, last.v0)
        aligned = self._aligned(source, last, warped)
        # 3.3.3
        sr = self.decoder(self.encoder(seen), aligned)
        return PaperOutput(sr, lr_up, warped, warped_stage1, stage1.v0, flow, stage1, stage2)

    def _aligned(self, source: Tensor, flows: MultiScaleFlow, warped: Tensor) -> list[Tensor]:
        """Return F^_REF at scales 0..3 (N x 64 x H/2^i x W/2^i); `warped` is `source` by V^0."""
        encoder = self.encoder if self.ref_encoder is None else self.ref_encoder
        if self.config.warping == "image":
            return list(encoder(warped))
        # 3.3.2, F^_REF^i = Warp(F_REF^i, V_2^i), i = 0..3
        pairs = zip(encoder(source), reversed(flows), strict=True)
        return [warp(feature, flow) for feature, flow in pairs]


Network = CrossNetPlusPlus | CrossNetFast
Output = PaperOutput | FastOutput


def build(preset: str, options: Mapping[str, Any] | None = None) -> Network:
    """Return the network of `preset` (paper, crossnet, fast) with random weights.

    `options` take the place of the preset's own. Raises KeyError for an unknown preset, ValueError
    for options that do not fit.
    """
    config = configured(preset, options)
    return CrossNetFast(config) if isinstance(config, FastConfig) else CrossNetPlusPlus(config)
