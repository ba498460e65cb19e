"""CrossNet++ for people without a data-centre GPU: the preset `fast`.

The paper's parts in a cheaper form. Stage 1 finds large motion coarse to fine by correlation of
shared-encoder features and warps the reference image; stage 2 encodes the warped reference again
and finds what is left: a Lucas-Kanade step that a learned trust weighs, then variational refinement
whose terms the network balances for every pixel. All flows are joined, so the reference is
resampled once. Matching compares LR_up with the reference
made as unsharp as LR_up; what the reference holds beyond that is its detail, and

    SR = LR_up + confidence * warped detail + correction * (unsharp - LR_up) + residual.

Shape suffixes: 1, 2, 4, 8, 16, 32 is the denominator of the size relative to the output.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from crossnetpp.networks.correlation import local_correlation, unit_features
from crossnetpp.networks.lucas_kanade import lucas_kanade_steps, luma
from crossnetpp.networks.presets import FastConfig
from crossnetpp.networks.resample import as_unsharp, bicubic, reduce_antialiased
from crossnetpp.networks.variational import SHIFTS, Solver, Terms, variational_step
from crossnetpp.networks.warp import upscale_flow, warp

SLOPE = 0.1


class FastOutput(NamedTuple):
    """All that the losses and reports need; every image is N x 3 x H x W in 0..1."""

    sr: Tensor
    lr_up: Tensor
    warped: Tensor
    """Reference warped by the final flow."""
    warped_stage1: Tensor
    """The unsharp reference after stage 1."""
    flow_stage1: Tensor
    """N x 2 x H x W pixels."""
    flow: Tensor
    """Final flow, N x 2 x H x W pixels."""
    confidence: Tensor
    """N x 1 x H x W in 0..1: how much of the reference's detail is borrowed."""


class Prepared(NamedTuple):
    """A reference as the network wants it; computed once for all frames that share it."""

    ref: Tensor
    """N x 3 x H x W in 0..1."""
    luma: Tensor
    """N x 1 x H x W."""
    unsharp: Tensor
    """The same, as unsharp as LR_up."""
    features: tuple[Tensor, ...]
    """Of `unsharp`, at 1/4, 1/8, 1/16 and 1/32 size."""
    scale: int
    """Output size over LR size."""


def _conv(inputs: int, outputs: int, stride: int = 1) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, 3, stride=stride, padding=1), nn.LeakyReLU(SLOPE, inplace=True)
    )


def start_near_zero(layer: nn.Conv2d) -> None:
    """Let `layer` answer almost nothing at first: no motion, no residual."""
    nn.init.normal_(layer.weight, std=1e-3)
    if layer.bias is not None:
        nn.init.zeros_(layer.bias)


class Encoder(nn.Module):
    """Make features at 1/4, 1/8, 1/16 and 1/32 size, the same weights for every image."""

    def __init__(self) -> None:
        super().__init__()
        self.level4 = nn.Sequential(_conv(48, 40), _conv(40, 40))
        self.level8 = nn.Sequential(_conv(40, 56, 2), _conv(56, 56))
        self.level16 = nn.Sequential(_conv(56, 80, 2), _conv(80, 80))
        self.level32 = nn.Sequential(_conv(80, 96, 2), _conv(96, 96))

    def fine(self, image: Tensor) -> Tensor:
        """Return features at 1/4 size (N x 40 x H/4 x W/4) of an N x 3 x H x W image."""
        features: Tensor = self.level4(_in_blocks(image - 0.5, 4))
        return features

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Return features at 1/4, 1/8, 1/16 and 1/32 size."""
        f4 = self.fine(image)
        f8 = self.level8(f4)
        f16 = self.level16(f8)
        return f4, f8, f16, self.level32(f16)


class FlowHead(nn.Module):
    """Turn a cost volume, features and the flow so far into a better flow of the same size."""

    def __init__(self, radius: int, features: int, width: int) -> None:
        super().__init__()
        self.radius = radius
        self.body = nn.Sequential(
            _conv((2 * radius + 1) ** 2 + features + 2, width),
            _conv(width, width),
            _conv(width, width // 2),
        )
        self.flow = nn.Conv2d(width // 2, 2, 3, padding=1)
        start_near_zero(self.flow)

    def forward(self, lr: Tensor, ref: Tensor, flow: Tensor) -> Tensor:
        """Return the refined flow; `ref` is already warped by `flow`."""
        cost = local_correlation(unit_features(lr), unit_features(ref), self.radius)
        update: Tensor = self.flow(self.body(torch.cat((cost, lr, 0.1 * flow), dim=1)))
        return flow + update


class Stage1(nn.Module):
    """Find large motion: flow at 1/8 size, coarse to fine, reach about 128 pixels."""

    def __init__(self) -> None:
        super().__init__()
        self.head32 = FlowHead(4, 96, 64)
        self.head16 = FlowHead(3, 80, 64)
        self.head8 = FlowHead(3, 56, 64)

    def forward(self, lr: tuple[Tensor, ...], ref: tuple[Tensor, ...]) -> Tensor:
        """Return flow N x 2 x H/8 x W/8 in its own pixels, from features of Encoder."""
        zero = torch.zeros_like(lr[3][:, :2])
        flow = self.head32(lr[3], ref[3], zero)
        flow = upscale_flow(flow, 2)
        flow = self.head16(lr[2], warp(ref[2], flow), flow)
        flow = upscale_flow(flow, 2)
        flow8: Tensor = self.head8(lr[1], warp(ref[1], flow), flow)
        return flow8


class Stage2(nn.Module):
    """Find the motion that is left between LR_up and the warped reference."""

    def __init__(self) -> None:
        super().__init__()
        self.head8 = FlowHead(2, 56, 48)
        self.head4 = FlowHead(3, 40, 48)

    def forward(
        self, encoder: Encoder, lr: tuple[Tensor, ...], warped: Tensor, flow8: Tensor
    ) -> Tensor:
        """Return the joined flow of both stages, N x 2 x H/2 x W/2 in its own pixels.

        `flow8` is the flow of stage 1 and `warped` the unsharp reference warped by it.
        """
        f4 = encoder.fine(warped)
        f8 = encoder.level8(f4)
        residual4 = upscale_flow(self.head8(lr[1], f8, torch.zeros_like(flow8)), 2)
        residual4 = self.head4(lr[0], warp(f4, residual4), residual4)
        return upscale_flow(upscale_flow(flow8, 2) + residual4, 2)


class Refinement(nn.Module):
    """Take the flow to sub-pixels by Lucas-Kanade steps, each as far as it is to be trusted."""

    def __init__(self, windows: tuple[int, ...], width: int = 32) -> None:
        super().__init__()
        self.windows = windows
        self.body = nn.Sequential(
            _conv(4 * (1 + 3 * len(windows)) + 40, width), _conv(width, width)
        )
        self.trust = nn.Conv2d(width, 4 * len(windows), 3, padding=1)
        start_near_zero(self.trust)

    def forward(self, f4: Tensor, target: Tensor, warped: Tensor) -> Tensor:
        """Return the correction of the flow, N x 2 x H/2 x W/2 in its own pixels.

        `f4` are LR features at 1/4 size; `target` (LR) and `warped` (equally unsharp reference) are
        luma at 1/2 size.
        """
        # The steps are taken as given: gradients reach the trust in them, not their arithmetic.
        with torch.no_grad():
            steps, evidence = lucas_kanade_steps(target, warped, self.windows)
            seen = torch.cat((4 * (warped - target), steps, 0.2 * evidence + 1), dim=1)
            seen = _in_blocks(seen, 2)
        trust = _from_blocks(self.trust(self.body(torch.cat((seen, f4), dim=1))), 2)
        # softmax against a step of nought: the flow moves to a weighted mean of the candidates
        share = torch.softmax(F.pad(trust, (0, 0, 0, 0, 0, 1)), dim=1)[:, :-1]
        x = (share * steps[:, 0::2]).sum(1, keepdim=True)
        y = (share * steps[:, 1::2]).sum(1, keepdim=True)
        return torch.cat((x, y), dim=1)


class Balance(nn.Module):
    """Say for every pixel how much brightness, gradient and smoothness count in its flow."""

    LIMIT = 3.0
    """Largest logarithm of a weight: from a twentieth to twenty times the usual."""

    def __init__(self, width: int = 32) -> None:
        super().__init__()
        self.body = nn.Sequential(_conv(40 + 6, width), _conv(width, width))
        self.leave = nn.Conv2d(width, 3, 3, padding=1)
        start_near_zero(self.leave)

    def forward(
        self, f4: Tensor, target: Tensor, warped: Tensor, flow: Tensor, factor: int
    ) -> Terms:
        """Return the weights at the size of `flow`, which is `factor` times that of `f4`.

        `f4` are LR features at 1/4 size; `target` (LR) and `warped` (equally unsharp reference) are
        luma at the size of `flow`.
        """
        difference = warped - target
        seen = torch.cat((difference, difference.abs(), flow), dim=1)
        seen = F.avg_pool2d(seen, factor) if factor > 1 else seen
        around = F.avg_pool2d(F.pad(seen[:, 1:], (3, 3, 3, 3), mode="replicate"), 7, stride=1)
        motion = 0.2 * (seen[:, 2:] - around[:, 1:])
        images = 8 * torch.cat((seen[:, :2], around[:, :1]), dim=1)
        dots = torch.full_like(images[:, :1], factor - 1)
        shares = self.leave(self.body(torch.cat((f4, images, motion, dots), dim=1))).float()
        if factor > 1:
            shares = F.interpolate(
                shares, scale_factor=float(factor), mode="bilinear", align_corners=False
            )
        weights = torch.exp(self.LIMIT * torch.tanh(shares / self.LIMIT))
        return Terms(*torch.split(weights, 1, dim=1))


class Borrowed(NamedTuple):
    """What the fusion decides for every pixel."""

    confidence: Tensor
    """N x 1 x H x W in 0..1: how much of the reference's detail is borrowed."""
    correction: Tensor
    """N x 1 x H x W in 0..1: how far LR_up is moved to the unsharp reference.

    Where both show the same the two differ only by what the LR lost: the chroma of 4:2:0 video.
    """
    residual: Tensor
    """N x 3 x H x W, added as it is."""


class Fusion(nn.Module):
    """Decide at 1/4 size what to borrow, what to correct and what to add."""

    def __init__(self, width: int, blocks: int) -> None:
        super().__init__()
        self.enter = _conv(3 * 48, width)
        self.blocks = nn.ModuleList(
            nn.Sequential(_conv(width, width), nn.Conv2d(width, width, 3, padding=1))
            for _ in range(blocks)
        )
        self.leave = nn.Conv2d(width, 16 * 5, 3, padding=1)
        start_near_zero(self.leave)

    def forward(self, lr_up: Tensor, difference: Tensor, detail: Tensor) -> Borrowed:
        """Look at LR_up, the unsharp reference less LR_up, and the reference's detail."""
        images = torch.cat((lr_up - 0.5, 4 * difference, 4 * detail), dim=1)
        features = self.enter(_in_blocks(images, 4))
        for block in self.blocks:
            features = features + block(features)
        out = _from_blocks(self.leave(features), 4)
        return Borrowed(torch.sigmoid(out[:, :1]), torch.sigmoid(out[:, 4:]), 0.25 * out[:, 1:4])


class CrossNetFast(nn.Module):
    """Enhance LR frames with one reference each, at x2, x4 and x8 by one set of weights."""

    multiple = 32

    def __init__(self, config: FastConfig | None = None) -> None:
        super().__init__()
        # exporters replace it by one that their compilers prefer
        self.solver: Solver = SHIFTS
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
        """Do all that depends on the reference alone; H and W of `ref` are multiples of 32."""
        unsharp = as_unsharp(ref, scale)
        return Prepared(ref, luma(ref), unsharp, self.encoder(unsharp), scale)

    def enhance(self, lr: Tensor, prepared: Prepared) -> FastOutput:
        """Run on `lr` N x 3 x h x w in 0..1 with the reference of each frame."""
        ref, ref_luma, unsharp, f_ref, scale = prepared
        lr_up = bicubic(lr, scale)
        f_lr = self.encoder(lr_up)
        flow8 = self.stage1(f_lr, f_ref)
        flow1 = upscale_flow(flow8, 8)
        warped1 = warp(unsharp, flow1)
        if self.stage2 is None:
            flow2 = upscale_flow(flow8, 4)
        else:
            flow2 = self.stage2(self.encoder, f_lr, warped1, flow8)
        target = _half_size(luma(lr), scale)
        for _ in range(self.refinements):
            with torch.no_grad():
                warped = _half_size(_seen_in_lr(ref_luma, upscale_flow(flow2, 2), scale), scale)
            flow2 = flow2 + self.refinement(f_lr[0], target, warped)
        flow = self._settled(f_lr[0], luma(lr), flow2, ref_luma, scale)
        # Cubic, because a bilinear half-pixel shift removes the very detail that is borrowed.
        warped = warp(ref, flow, mode="bicubic")
        warped_unsharp = as_unsharp(warped, scale)
        detail = warped - warped_unsharp
        difference = warped_unsharp - lr_up
        borrowed = self.fusion(lr_up, difference, detail)
        sr = lr_up + borrowed.confidence * detail + borrowed.correction * difference
        sr = sr + borrowed.residual
        return FastOutput(sr, lr_up, warped, warped1, flow1, flow, borrowed.confidence)

    def _settled(
        self, f4: Tensor, lr_luma: Tensor, flow2: Tensor, ref_luma: Tensor, scale: int
    ) -> Tensor:
        """Return the final flow (N x 2 x H x W) from that at 1/2 size, by variational refinement.

        It works on twice the LR's grid, as nothing finer is seen in LR, but at most at 1/2 size.
        """
        to_output = max(2, scale // 2)
        flow = 2 / to_output * F.avg_pool2d(flow2, to_output // 2) if to_output > 2 else flow2
        target = _on_grid(lr_luma, scale)
        terms = None
        with torch.no_grad():
            unsharp = _on_grid(reduce_antialiased(ref_luma, scale), scale)
        for turn in range(self.settlings):
            with torch.no_grad():
                if turn + 1 < self.settlings:
                    warped = warp(unsharp, flow, mode="bicubic")
                else:  # through the LR's own pixels, as they alias, where it counts
                    warped = _seen_in_lr(ref_luma, upscale_flow(flow, to_output), scale)
                    warped = _on_grid(warped, scale)
            if terms is None:
                terms = self.balance(f4, target, warped, flow, 4 // to_output)
            flow = flow + variational_step(target, warped, flow, terms, self.solver)
        return upscale_flow(flow, to_output)

    def forward(self, lr: Tensor, ref: Tensor) -> FastOutput:
        """Run on `lr` N x 3 x h x w and `ref` N x 3 x H x W, both 0..1; H, W multiples of 32."""
        return self.enhance(lr, self.prepare(ref, ref.shape[-1] // lr.shape[-1]))


def _in_blocks(image: Tensor, size: int) -> Tensor:
    """Return `F.pixel_unshuffle(image, size)`, channels last, in one copy and not in two."""
    batch, channels, height, width = image.shape
    rows, cols = height // size, width // size
    blocks = image.reshape(batch, channels, rows, size, cols, size).permute(0, 2, 4, 1, 3, 5)
    return blocks.reshape(batch, rows, cols, -1).permute(0, 3, 1, 2)


def _from_blocks(blocks: Tensor, size: int) -> Tensor:
    """Return `F.pixel_shuffle(blocks, size)`, which copies channels last twice."""
    batch, channels, rows, cols = blocks.shape
    parts = blocks.permute(0, 2, 3, 1).reshape(batch, rows, cols, -1, size, size)
    image = parts.permute(0, 3, 1, 4, 2, 5)
    return image.reshape(batch, channels // size**2, rows * size, cols * size)


def _on_grid(lr: Tensor, scale: int) -> Tensor:
    """Return `lr` (N x 1 x h x w) on the grid of variational refinement: twice its own."""
    return bicubic(lr, 2) if scale > 2 else lr


def _seen_in_lr(ref_luma: Tensor, flow: Tensor, scale: int) -> Tensor:
    """Return what LR (N x 1 x h x w) would be if it showed the reference warped by `flow`."""
    return reduce_antialiased(warp(ref_luma, flow, mode="bicubic"), scale)


def _half_size(lr: Tensor, scale: int) -> Tensor:
    """Return `lr` (N x C x h x w) at half the output's size."""
    return lr if scale == 2 else bicubic(lr, scale // 2)
