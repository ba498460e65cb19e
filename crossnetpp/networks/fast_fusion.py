"""The parts of `fast` that decide what to borrow from aligned references."""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from crossnetpp.networks.blocks import merge_blocks, repeat_border, split_into_blocks
from crossnetpp.networks.layers import (
    ConcatenatingSequential,
    find_dtype,
    init_near_zero,
    make_conv,
)
from crossnetpp.networks.lucas_kanade import rgb_to_luma


class Candidate(NamedTuple):
    """What one aligned reference offers for a frame; all images are N x 3 x H x W."""

    detail: Tensor
    """The warped reference minus its unsharp version."""
    difference: Tensor
    """The unsharp version of the warped reference minus LR_up."""
    warped: Tensor
    """The warped reference."""


class FusionMaps(NamedTuple):
    """The fusion's decisions for every pixel; C is 1, or 2 for separate luma and chroma."""

    confidence: Tensor
    """N x C x H x W in 0..1: share of the reference's detail to borrow."""
    correction: Tensor
    """N x C x H x W in 0..1: how far to move LR_up towards the unsharp reference.

    Where both show the same content, they differ only in what LR has lost, such as the chroma of
    4:2:0 video.
    """
    residual: Tensor
    """N x 3 x H x W to add to the result."""

    def apply(self, lr_up: Tensor, candidate: Candidate) -> Tensor:
        """Return `lr_up` plus what the maps borrow from `candidate`, plus the residual."""
        sr = _add_share(lr_up, self.confidence, candidate.detail)
        sr = _add_share(sr, self.correction, candidate.difference)
        return sr + self.residual


def _add_share(to: Tensor, share: Tensor, image: Tensor) -> Tensor:
    """Return `to` plus an RGB image times `share` (N x C x H x W).

    C is 1, or 2 for luma and chroma.
    """
    if share.shape[1] == 1:
        return torch.addcmul(to, share, image)
    luma = rgb_to_luma(image)
    to = torch.addcmul(to, share[:, :1], luma)
    return torch.addcmul(to, share[:, 1:], image - luma)


class Fusion(nn.Module):
    """Decides at 1/4 size what to borrow, what to correct and what to add."""

    def __init__(self, width: int, blocks: int, *, chroma: bool = False) -> None:
        """Build `blocks` residual blocks; with `chroma`, the maps separate luma from chroma."""
        super().__init__()
        self.enter = ConcatenatingSequential(*make_conv(3 * 48, width))
        self.blocks = nn.ModuleList(
            nn.Sequential(make_conv(width, width), nn.Conv2d(width, width, 3, padding=1))
            for _ in range(blocks)
        )
        self.leave = nn.Conv2d(width, 16 * (7 if chroma else 5), 3, padding=1)
        init_near_zero(self.leave)

    def forward(self, lr_up: Tensor, difference: Tensor, detail: Tensor) -> FusionMaps:
        """Return the maps, given three N x 3 x H x W images.

        `difference` is the unsharp version of the warped reference minus LR_up, and `detail` is the
        detail of the warped reference.
        """
        dtype = find_dtype(self.enter)
        images = (lr_up - 0.5, 4 * difference, 4 * detail)
        features = self.enter(*(split_into_blocks(each.to(dtype), 4) for each in images))
        for block in self.blocks:
            # In place, because large new tensors cost more time than the addition
            features = block(features).add_(features)
        out = merge_blocks(self.leave(features), 4)
        confidence, residual, correction = out[:, :1], out[:, 1:4], out[:, 4:5]
        if out.shape[1] > 5:
            confidence = torch.cat((confidence, out[:, 5:6]), dim=1)
            correction = torch.cat((correction, out[:, 6:7]), dim=1)
        return FusionMaps(torch.sigmoid(confidence), torch.sigmoid(correction), 0.25 * residual)

    def copy_without_chroma(self, fusion: Fusion) -> None:
        """Copy the weights of `fusion`, which has no chroma maps, so that both borrow the same."""
        state = fusion.state_dict()
        for name in ("leave.weight", "leave.bias"):
            confidence, residual, correction = state[name].split((16, 48, 16))
            state[name] = torch.cat((confidence, residual, correction, confidence, correction))
        self.load_state_dict(state)


class Votes(nn.Module):
    """Weighs several aligned references against each other, pixel by pixel.

    The better the unsharp version of a reference agrees with LR_up around a pixel, the greater its
    weight. A small network can correct these weights. It sees one reference at a time, so the
    number of references is not limited.
    """

    FLOOR = 0.002  # on a scale of 0..1; smaller errors are treated as noise
    WINDOW = 9  # LR pixels over which errors are averaged

    def __init__(self, width: int) -> None:
        """Build the correcting network with `width` channels, or none if `width` is 0."""
        super().__init__()
        self.body: ConcatenatingSequential | None = None
        if width:
            leave = nn.Conv2d(width, 1, 3, padding=1)
            init_near_zero(leave)
            self.body = ConcatenatingSequential(
                make_conv(12 + 40, width), make_conv(width, width), leave
            )

    def forward(
        self, f4: Tensor, candidates: list[Candidate], weights: Tensor | None, scale: int
    ) -> Tensor:
        """Return the shares of the K candidates (N x K x H x W), which sum to 1 at every pixel.

        `f4` contains the features of LR_up at 1/4 size. `weights` (N x K, 0 or more) are prior
        weights; a candidate with weight 0 gets no share unless all weights are 0.
        """
        votes = torch.cat([self._vote(f4, each, scale) for each in candidates], dim=1)
        if weights is not None:
            votes = votes + weights.clamp(min=1e-20).log()[:, :, None, None]
        shares = torch.softmax(votes.float(), dim=1)
        return F.interpolate(shares, scale_factor=4.0, mode="bilinear", align_corners=False)

    def _vote(self, f4: Tensor, candidate: Candidate, scale: int) -> Tensor:
        """Return the logarithm of a candidate's weight, N x 1 x H/4 x W/4."""
        error = F.avg_pool2d(candidate.difference.square().mean(1, keepdim=True), 4)
        reach = self.WINDOW * scale // 8
        around = _average_around(error, reach)
        vote = -torch.log(around + self.FLOOR**2)
        if self.body is None:
            return vote

        difference = F.avg_pool2d(candidate.difference, 4)
        size = F.avg_pool2d(candidate.difference.abs(), 4)
        detail = F.avg_pool2d(candidate.detail.abs(), 4)
        seen = torch.cat((difference, size, detail, _average_around(size, reach)), dim=1)
        correction: Tensor = self.body(8 * seen, f4)
        return vote + correction


def _average_around(planes: Tensor, reach: int) -> Tensor:
    """Return the mean of `planes` over the pixels at most `reach` rows and columns away."""
    padded = repeat_border(planes, reach, reach, reach, reach)
    return F.avg_pool2d(padded, 2 * reach + 1, stride=1)


def mix_candidates(candidates: list[Candidate], shares: Tensor) -> Candidate:
    """Return the weighted mean of K candidates; `shares` is N x K x H x W."""
    mixed = [shares[:, :1] * image for image in candidates[0]]
    for k, candidate in enumerate(candidates[1:], 1):
        share = shares[:, k : k + 1]
        mixed = [mean + share * image for mean, image in zip(mixed, candidate, strict=True)]
    return Candidate(*mixed)
