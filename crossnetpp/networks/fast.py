"""The preset `fast`: CrossNet++ for machines without a data-centre GPU.

Its parts are cheaper forms of the paper's. Stage 1 finds large motion coarse to fine by correlating
features of a shared encoder, and warps the reference. Stage 2 encodes the warped reference and
finds the remaining motion. A Lucas-Kanade step with learned trust and variational refinement with
learned per-pixel weights then bring the flow to sub-pixel accuracy. All flows are joined, so the
reference is resampled once. Matching compares LR_up with the "unsharp" reference, which is blurred
until it is as sharp as LR_up. The reference minus its unsharp version is its detail, and

    SR = LR_up + confidence * warped detail + correction * (unsharp - LR_up) + residual.

Suffixes 1, 2, 4, 8, 16 and 32 are the denominator of a tensor's size relative to the output.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from crossnetpp.networks.blocks import merge_blocks, split_into_blocks
from crossnetpp.networks.correlation import correlate_features, normalise_features
from crossnetpp.networks.layers import make_conv
from crossnetpp.networks.lucas_kanade import rgb_to_luma, solve_lucas_kanade
from crossnetpp.networks.presets import FastConfig
from crossnetpp.networks.resample import blur_like_lr, reduce_antialiased, upsample_bicubic
from crossnetpp.networks.variational import (
    SHIFT_SOLVER,
    Solver,
    TermWeights,
    solve_variational_step,
)
from crossnetpp.networks.warp import upscale_flow, warp


class FastOutput(NamedTuple):
    """Output of CrossNetFast; every image is N x 3 x H x W in 0..1 and not clamped."""

    sr: Tensor
    lr_up: Tensor
    """LR upsampled bicubically."""
    warped: Tensor
    """Reference warped by the final flow."""
    warped_stage1: Tensor
    """Unsharp reference warped by the flow of stage 1."""
    flow_stage1: Tensor
    """Flow of stage 1, N x 2 x H x W pixels."""
    flow: Tensor
    """Final flow, N x 2 x H x W pixels."""
    confidence: Tensor
    """N x 1 x H x W in 0..1: share of the reference's detail that is borrowed."""


class Prepared(NamedTuple):
    """Everything that depends on the reference alone, shared by the frames that borrow from it."""

    ref: Tensor
    """N x 3 x H x W in 0..1."""
    luma: Tensor
    """Luma of `ref`, N x 1 x H x W."""
    unsharp: Tensor
    """`ref` blurred to the sharpness of LR_up, N x 3 x H x W."""
    features: tuple[Tensor, ...]
    """Features of `unsharp` at 1/4, 1/8, 1/16 and 1/32 size."""
    scale: int
    """Output size over LR size."""


def init_near_zero(layer: nn.Conv2d) -> None:
    """Initialise `layer` so that its outputs are near zero.

    An untrained network then finds almost no motion and adds almost no residual.
    """
    nn.init.normal_(layer.weight, std=1e-3)
    if layer.bias is not None:
        nn.init.zeros_(layer.bias)


class Encoder(nn.Module):
    """Encoder with features at 1/4, 1/8, 1/16 and 1/32 size, shared by all images."""

    def __init__(self) -> None:
        super().__init__()
        self.level4 = nn.Sequential(make_conv(48, 40), make_conv(40, 40))
        self.level8 = nn.Sequential(make_conv(40, 56, stride=2), make_conv(56, 56))
        self.level16 = nn.Sequential(make_conv(56, 80, stride=2), make_conv(80, 80))
        self.level32 = nn.Sequential(make_conv(80, 96, stride=2), make_conv(96, 96))

    def encode_fine(self, image: Tensor) -> Tensor:
        """Return features at 1/4 size (N x 40 x H/4 x W/4) of an N x 3 x H x W image."""
        features: Tensor = self.level4(split_into_blocks(image - 0.5, 4))
        return features

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Return features at 1/4, 1/8, 1/16 and 1/32 size."""
        f4 = self.encode_fine(image)
        f8 = self.level8(f4)
        f16 = self.level16(f8)
        return f4, f8, f16, self.level32(f16)


class FlowHead(nn.Module):
    """Refines a flow from a cost volume, LR features and the flow itself."""

    def __init__(self, radius: int, features: int, width: int) -> None:
        super().__init__()
        self.radius = radius
        self.body = nn.Sequential(
            make_conv((2 * radius + 1) ** 2 + features + 2, width),
            make_conv(width, width),
            make_conv(width, width // 2),
        )
        self.flow = nn.Conv2d(width // 2, 2, 3, padding=1)
        init_near_zero(self.flow)

    def forward(self, lr: Tensor, ref: Tensor, flow: Tensor) -> Tensor:
        """Return the refined flow; `ref` is already warped by `flow`."""
        cost = correlate_features(normalise_features(lr), normalise_features(ref), self.radius)
        update: Tensor = self.flow(self.body(torch.cat((cost, lr, 0.1 * flow), dim=1)))
        return flow + update


class Stage1(nn.Module):
    """Search for large motion, from coarse to fine up to 1/8 size, within about 128 pixels."""

    def __init__(self) -> None:
        super().__init__()
        self.head32 = FlowHead(4, 96, 64)
        self.head16 = FlowHead(3, 80, 64)
        self.head8 = FlowHead(3, 56, 64)

    def forward(self, lr: tuple[Tensor, ...], ref: tuple[Tensor, ...]) -> Tensor:
        """Return the flow between two images, given the features of both.

        It is N x 2 x H/8 x W/8, in pixels of that size.
        """
        zero = torch.zeros_like(lr[3][:, :2])
        flow = self.head32(lr[3], ref[3], zero)

        flow = upscale_flow(flow, 2)
        flow = self.head16(lr[2], warp(ref[2], flow), flow)

        flow = upscale_flow(flow, 2)
        flow8: Tensor = self.head8(lr[1], warp(ref[1], flow), flow)
        return flow8


class Stage2(nn.Module):
    """Search for the residual motion between LR_up and the warped reference."""

    def __init__(self) -> None:
        super().__init__()
        self.head8 = FlowHead(2, 56, 48)
        self.head4 = FlowHead(3, 40, 48)

    def forward(
        self, encoder: Encoder, lr: tuple[Tensor, ...], warped: Tensor, flow8: Tensor
    ) -> Tensor:
        """Return the joined flow of both stages, N x 2 x H/2 x W/2 in pixels of that size.

        `lr` holds the features of LR_up, `flow8` is the flow of stage 1, and `warped` is the
        unsharp reference, warped by `flow8`.
        """
        f4 = encoder.encode_fine(warped)
        f8 = encoder.level8(f4)
        residual4 = upscale_flow(self.head8(lr[1], f8, torch.zeros_like(flow8)), 2)
        residual4 = self.head4(lr[0], warp(f4, residual4), residual4)
        return upscale_flow(upscale_flow(flow8, 2) + residual4, 2)


class Refinement(nn.Module):
    """Sub-pixel refinement of the flow with Lucas-Kanade steps and learned trust in each."""

    def __init__(self, windows: tuple[int, ...], width: int = 32) -> None:
        super().__init__()
        self.windows = windows
        self.body = nn.Sequential(
            make_conv(4 * (1 + 3 * len(windows)) + 40, width), make_conv(width, width)
        )
        self.trust = nn.Conv2d(width, 4 * len(windows), 3, padding=1)
        init_near_zero(self.trust)

    def forward(self, f4: Tensor, target: Tensor, warped: Tensor) -> Tensor:
        """Return the correction to add to the flow, N x 2 x H/2 x W/2 in pixels of that size.

        `f4` holds the features of LR_up at 1/4 size. `target` (from LR) and `warped` (from the
        warped reference, equally sharp) are luma, N x 1 x H/2 x W/2.
        """
        # Gradients flow through the trust in the steps, not through the arithmetic of the steps
        with torch.no_grad():
            steps, evidence = solve_lucas_kanade(target, warped, self.windows)
            inputs = torch.cat((4 * (warped - target), steps, 0.2 * evidence + 1), dim=1)
            inputs = split_into_blocks(inputs, 2)
        trust = merge_blocks(self.trust(self.body(torch.cat((inputs, f4), dim=1))), 2)

        # The softmax includes a step of zero: the flow moves to a weighted mean of the candidates
        share = torch.softmax(F.pad(trust, (0, 0, 0, 0, 0, 1)), dim=1)[:, :-1]
        x = (share * steps[:, 0::2]).sum(1, keepdim=True)
        y = (share * steps[:, 1::2]).sum(1, keepdim=True)
        return torch.cat((x, y), dim=1)


class Balance(nn.Module):
    """Chooses the weights of brightness, gradient and smoothness for the variational refinement."""

    LIMIT = 3.0  # largest logarithm of a weight, which allows a twentieth to twenty times the usual

    def __init__(self, width: int = 32) -> None:
        super().__init__()
        self.body = nn.Sequential(make_conv(40 + 6, width), make_conv(width, width))
        self.leave = nn.Conv2d(width, 3, 3, padding=1)
        init_near_zero(self.leave)

    def forward(
        self, f4: Tensor, target: Tensor, warped: Tensor, flow: Tensor, factor: int
    ) -> TermWeights:
        """Return a weight of each term for every pixel of `flow`.

        `f4` holds the features of LR_up at 1/4 size. `target` (from LR) and `warped` (from the
        warped reference, equally sharp) are luma. They and `flow` are `factor` times as wide and
        high as `f4`.
        """
        # Inputs at 1/4 size, relative to their 7 x 7 neighbourhood
        difference = warped - target
        seen = torch.cat((difference, difference.abs(), flow), dim=1)
        seen = F.avg_pool2d(seen, factor) if factor > 1 else seen
        around = F.avg_pool2d(F.pad(seen[:, 1:], (3, 3, 3, 3), mode="replicate"), 7, stride=1)
        motion = 0.2 * (seen[:, 2:] - around[:, 1:])
        images = 8 * torch.cat((seen[:, :2], around[:, :1]), dim=1)
        factors = torch.full_like(images[:, :1], factor - 1)

        logarithms = self.leave(self.body(torch.cat((f4, images, motion, factors), dim=1))).float()
        if factor > 1:
            logarithms = F.interpolate(
                logarithms, scale_factor=float(factor), mode="bilinear", align_corners=False
            )
        weights = torch.exp(self.LIMIT * torch.tanh(logarithms / self.LIMIT))
        return TermWeights(*torch.split(weights, 1, dim=1))


class FusionMaps(NamedTuple):
    """Per-pixel decisions of the fusion."""

    confidence: Tensor
    """N x 1 x H x W in 0..1: share of the reference's detail to borrow."""
    correction: Tensor
    """N x 1 x H x W in 0..1: how far to move LR_up towards the unsharp reference.

    Where both show the same content, they differ only by information that LR lost, such as the
    chroma of 4:2:0 video.
    """
    residual: Tensor
    """N x 3 x H x W to add to the result."""


class Fusion(nn.Module):
    """Decides at 1/4 size what to borrow, what to correct and what to add."""

    def __init__(self, width: int, blocks: int) -> None:
        super().__init__()
        self.enter = make_conv(3 * 48, width)
        self.blocks = nn.ModuleList(
            nn.Sequential(make_conv(width, width), nn.Conv2d(width, width, 3, padding=1))
            for _ in range(blocks)
        )
        self.leave = nn.Conv2d(width, 16 * 5, 3, padding=1)
        init_near_zero(self.leave)

    def forward(self, lr_up: Tensor, difference: Tensor, detail: Tensor) -> FusionMaps:
        """Return the maps, given three N x 3 x H x W images.

        `difference` is the warped unsharp reference minus LR_up, and `detail` the detail of the
        warped reference.
        """
        images = torch.cat((lr_up - 0.5, 4 * difference, 4 * detail), dim=1)
        features = self.enter(split_into_blocks(images, 4))
        for block in self.blocks:
            features = features + block(features)
        out = merge_blocks(self.leave(features), 4)
        return FusionMaps(torch.sigmoid(out[:, :1]), torch.sigmoid(out[:, 4:]), 0.25 * out[:, 1:4])


class CrossNetFast(nn.Module):
    """Network that enhances each LR frame with one reference.

    The scales x2, x4 and x8 share one set of weights.
    """

    multiple = 32

    def __init__(self, config: FastConfig | None = None) -> None:
        super().__init__()
        # Exporters replace the solver with one that suits their compilers
        self.solver: Solver = SHIFT_SOLVER
        self.config = config = config or FastConfig()
        self.encoder = Encoder()
        self.stage1 = Stage1()
        self.stage2 = Stage2() if config.stages == 2 else None
        self.refinement = Refinement(config.windows)
        self.refinements = config.refinements
        self.balance = Balance()
        self.settlings = config.settlings
        self.fusion = Fusion(config.width, config.blocks)

    def prepare(self, ref: Tensor, scale: int) -> Prepared:
        """Return everything that depends on `ref` alone (N x 3 x H x W in 0..1).

        H and W must be multiples of 32.
        """
        unsharp = blur_like_lr(ref, scale)
        return Prepared(ref, rgb_to_luma(ref), unsharp, self.encoder(unsharp), scale)

    def enhance(self, lr: Tensor, prepared: Prepared) -> FastOutput:
        """Enhance the frames `lr` (N x 3 x h x w in 0..1), each with its prepared reference."""
        ref, ref_luma, unsharp, f_ref, scale = prepared
        lr_up = upsample_bicubic(lr, scale)
        f_lr = self.encoder(lr_up)

        # Large motion, then residual motion
        flow8 = self.stage1(f_lr, f_ref)
        flow1 = upscale_flow(flow8, 8)
        warped1 = warp(unsharp, flow1)
        if self.stage2 is None:
            flow2 = upscale_flow(flow8, 4)
        else:
            flow2 = self.stage2(self.encoder, f_lr, warped1, flow8)

        # Sub-pixel refinement
        target = _upsample_to_half_size(rgb_to_luma(lr), scale)
        for _ in range(self.refinements):
            with torch.no_grad():
                simulated = _simulate_lr(ref_luma, upscale_flow(flow2, 2), scale)
                warped = _upsample_to_half_size(simulated, scale)
            flow2 = flow2 + self.refinement(f_lr[0], target, warped)
        flow = self._refine_variationally(f_lr[0], rgb_to_luma(lr), flow2, ref_luma, scale)

        # Bicubic, because a bilinear half-pixel shift would remove the detail to be borrowed
        warped = warp(ref, flow, mode="bicubic")
        warped_unsharp = blur_like_lr(warped, scale)
        detail = warped - warped_unsharp
        difference = warped_unsharp - lr_up

        # Fusion
        maps = self.fusion(lr_up, difference, detail)
        sr = lr_up + maps.confidence * detail + maps.correction * difference
        sr = sr + maps.residual
        return FastOutput(sr, lr_up, warped, warped1, flow1, flow, maps.confidence)

    def _refine_variationally(
        self, f4: Tensor, lr_luma: Tensor, flow2: Tensor, ref_luma: Tensor, scale: int
    ) -> Tensor:
        """Return the final flow (N x 2 x H x W), refined from `flow2` at 1/2 size.

        The refinement works at twice the LR's size, because LR has no finer detail, but at no more
        than half the output's size.
        """
        to_output = max(2, scale // 2)
        flow = 2 / to_output * F.avg_pool2d(flow2, to_output // 2) if to_output > 2 else flow2
        target = _upsample_to_refinement(lr_luma, scale)
        weights = None
        with torch.no_grad():
            unsharp = _upsample_to_refinement(reduce_antialiased(ref_luma, scale), scale)

        for turn in range(self.settlings):
            with torch.no_grad():
                if turn + 1 < self.settlings:
                    warped = warp(unsharp, flow, mode="bicubic")
                else:
                    # The last iteration resamples through the LR's own pixels, which alias
                    warped = _simulate_lr(ref_luma, upscale_flow(flow, to_output), scale)
                    warped = _upsample_to_refinement(warped, scale)
            if weights is None:
                weights = self.balance(f4, target, warped, flow, 4 // to_output)
            flow = flow + solve_variational_step(target, warped, flow, weights, self.solver)
        return upscale_flow(flow, to_output)

    def forward(self, lr: Tensor, ref: Tensor) -> FastOutput:
        """Enhance `lr` (N x 3 x h x w) with `ref` (N x 3 x H x W), both in 0..1.

        H and W must be multiples of 32.
        """
        return self.enhance(lr, self.prepare(ref, ref.shape[-1] // lr.shape[-1]))


def _simulate_lr(ref_luma: Tensor, flow: Tensor, scale: int) -> Tensor:
    """Return the luma (N x 1 x h x w) of the LR that would show the reference warped by `flow`."""
    return reduce_antialiased(warp(ref_luma, flow, mode="bicubic"), scale)


def _upsample_to_refinement(lr: Tensor, scale: int) -> Tensor:
    """Return `lr` (N x 1 x h x w) at twice its size, or unchanged at x2."""
    return upsample_bicubic(lr, 2) if scale > 2 else lr


def _upsample_to_half_size(lr: Tensor, scale: int) -> Tensor:
    """Return `lr` (N x C x h x w) at half the output's size."""
    return lr if scale == 2 else upsample_bicubic(lr, scale // 2)
