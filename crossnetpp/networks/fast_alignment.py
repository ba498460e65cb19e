"""The parts of `fast` that align the reference with LR_up: encoder, search and refinement.

A number at the end of a name is a divisor of the output size: `flow8`, for example, is at 1/8.
"""

from __future__ import annotations

import cv2
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from crossnetpp.networks.blocks import merge_blocks, repeat_border, split_into_blocks
from crossnetpp.networks.correlation import correlate_features, normalise_features
from crossnetpp.networks.layers import (
    ConcatenatingSequential,
    find_dtype,
    init_near_zero,
    make_conv,
)
from crossnetpp.networks.lucas_kanade import solve_lucas_kanade
from crossnetpp.networks.opencv import can_enlarge, enlarge
from crossnetpp.networks.variational import TermWeights
from crossnetpp.networks.warp import upscale_flow, warp


class Encoder(nn.Module):
    """Encoder of features at 1/4, 1/8, 1/16 and 1/32 size, which is used for all images."""

    def __init__(self) -> None:
        super().__init__()
        self.level4 = nn.Sequential(make_conv(48, 40), make_conv(40, 40))
        self.level8 = nn.Sequential(make_conv(40, 56, stride=2), make_conv(56, 56))
        self.level16 = nn.Sequential(make_conv(56, 80, stride=2), make_conv(80, 80))
        self.level32 = nn.Sequential(make_conv(80, 96, stride=2), make_conv(96, 96))

    def encode_fine(self, image: Tensor) -> Tensor:
        """Return features at 1/4 size (N x 40 x H/4 x W/4) of an N x 3 x H x W image."""
        image = (image - 0.5).to(find_dtype(self.level4))
        features: Tensor = self.level4(split_into_blocks(image, 4))
        return features

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Return features at 1/4, 1/8, 1/16 and 1/32 size of an N x 3 x H x W image."""
        f4 = self.encode_fine(image)
        f8 = self.level8(f4)
        f16 = self.level16(f8)
        return f4, f8, f16, self.level32(f16)


class FlowHead(nn.Module):
    """Refines a flow, given a cost volume, LR features and the flow itself."""

    def __init__(self, radius: int, features: int, width: int) -> None:
        super().__init__()
        self.radius = radius
        self.body = ConcatenatingSequential(
            make_conv((2 * radius + 1) ** 2 + features + 2, width),
            make_conv(width, width),
            make_conv(width, width // 2),
        )
        self.flow = nn.Conv2d(width // 2, 2, 3, padding=1)
        init_near_zero(self.flow)

    def forward(self, lr: Tensor, ref: Tensor, flow: Tensor) -> Tensor:
        """Return the refined flow, given LR features and reference features warped by `flow`."""
        cost = correlate_features(normalise_features(lr), normalise_features(ref), self.radius)
        update: Tensor = self.flow(self.body(cost, lr, 0.1 * flow))
        return flow + update


class Stage1(nn.Module):
    """Search for large motion, up to about 128 pixels, from coarse to fine (1/32 to 1/8 size)."""

    def __init__(self) -> None:
        super().__init__()
        self.head32 = FlowHead(4, 96, 64)
        self.head16 = FlowHead(3, 80, 64)
        self.head8 = FlowHead(3, 56, 64)

    def forward(self, lr: tuple[Tensor, ...], ref: tuple[Tensor, ...]) -> Tensor:
        """Return the flow between two images, given the features of both.

        The flow is N x 2 x H/8 x W/8, in pixels at that resolution.
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
        """Return the total flow of both stages, N x 2 x H/2 x W/2 in pixels at that resolution.

        `lr` contains the features of LR_up, `flow8` is the flow of stage 1, and `warped` is the
        unsharp reference warped by `flow8`.
        """
        f4 = encoder.encode_fine(warped)
        f8 = encoder.level8(f4)
        residual4 = upscale_flow(self.head8(lr[1], f8, torch.zeros_like(flow8)), 2)
        residual4 = self.head4(lr[0], warp(f4, residual4), residual4)
        return upscale_flow(upscale_flow(flow8, 2) + residual4, 2)


class Refinement(nn.Module):
    """Sub-pixel refinement of the flow by Lucas-Kanade steps, with learned trust in each step."""

    def __init__(self, windows: tuple[int, ...], width: int = 32) -> None:
        super().__init__()
        self.windows = windows
        self.body = ConcatenatingSequential(
            make_conv(4 * (1 + 3 * len(windows)) + 40, width), make_conv(width, width)
        )
        self.trust = nn.Conv2d(width, 4 * len(windows), 3, padding=1)
        init_near_zero(self.trust)

    def forward(self, f4: Tensor, target: Tensor, warped: Tensor) -> Tensor:
        """Return the correction to add to the flow, N x 2 x H/2 x W/2 in pixels at that resolution.

        `f4` contains the features of LR_up at 1/4 size. `target` (from LR) and `warped` (from the
        warped reference) are equally sharp luma, N x 1 x H/2 x W/2.
        """
        # Gradients flow through the trust in the steps, not through the steps themselves
        with torch.no_grad():
            steps, evidence = solve_lucas_kanade(target, warped, self.windows)
            inputs = torch.cat((4 * (warped - target), steps, 0.2 * evidence + 1), dim=1)
            inputs = split_into_blocks(inputs, 2)
        trust = merge_blocks(self.trust(self.body(inputs, f4)), 2)

        # The softmax includes a zero step; the flow moves by the weighted mean of all steps
        share = torch.softmax(F.pad(trust, (0, 0, 0, 0, 0, 1)), dim=1)[:, :-1]
        x = (share * steps[:, 0::2]).sum(1, keepdim=True)
        y = (share * steps[:, 1::2]).sum(1, keepdim=True)
        return torch.cat((x, y), dim=1)


class Balance(nn.Module):
    """Chooses the weights of brightness, gradient and smoothness in the variational refinement."""

    LIMIT = 3.0  # largest logarithm of a weight, which is thus 1/20 to 20 times the usual one

    def __init__(self, width: int = 32) -> None:
        super().__init__()
        self.body = ConcatenatingSequential(make_conv(40 + 6, width), make_conv(width, width))
        self.leave = nn.Conv2d(width, 3, 3, padding=1)
        init_near_zero(self.leave)

    def forward(
        self, f4: Tensor, target: Tensor, warped: Tensor, flow: Tensor, factor: int
    ) -> TermWeights:
        """Return the weight of each term for every pixel of `flow`.

        `f4` contains the features of LR_up at 1/4 size. `target` (from LR) and `warped` (from the
        warped reference) are equally sharp luma. `target`, `warped` and `flow` are `factor` times
        as wide and high as `f4`.
        """
        # Inputs at 1/4 size; the motion is relative to its 7 x 7 neighbourhood
        difference = warped - target
        seen = torch.cat((difference, difference.abs(), flow), dim=1)
        seen = F.avg_pool2d(seen, factor) if factor > 1 else seen
        around = F.avg_pool2d(repeat_border(seen[:, 1:], 3, 3, 3, 3), 7, stride=1)
        motion = 0.2 * (seen[:, 2:] - around[:, 1:])
        images = 8 * torch.cat((seen[:, :2], around[:, :1]), dim=1)
        factors = torch.full_like(images[:, :1], factor - 1)

        logarithms = self.leave(self.body(f4, images, motion, factors)).float()
        if factor > 1 and can_enlarge(logarithms):
            logarithms = enlarge(logarithms, factor, cv2.INTER_LINEAR)
        elif factor > 1:
            logarithms = F.interpolate(
                logarithms, scale_factor=float(factor), mode="bilinear", align_corners=False
            )
        weights = torch.exp(self.LIMIT * torch.tanh(logarithms / self.LIMIT))
        return TermWeights(*torch.split(weights, 1, dim=1))
