"""The hybrid loss (notes 3.4): means with stated weights, so crop size changes no balance."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from crossnetpp.landmarks import Landmarks
from crossnetpp.networks.build import Output
from crossnetpp.networks.fast import FastOutput


@dataclass(frozen=True)
class LossWeights:
    """Weights of the parts, each of them a mean; 0 switches a part off."""

    warping: float = 0.5
    """`fast`: on the reference warped by the final flow. The paper: after stage 1."""
    warping_stage1: float = 0.25
    """`fast` only."""
    flow: float = 0.004
    """On the flow loss, where the true flow is known; the paper has no such part."""
    landmark: float = 0.0
    """On half the squared distance in pixels."""
    squared: float = 0.0
    """On the mean squared error of SR, which is what PSNR measures; the paper has no such part."""
    sr: float = 1.0


FAR = 32.0
"""Pixels of flow error from which on its loss levels off."""

PAPER = LossWeights(warping=1.0, warping_stage1=0.0, flow=0.0, landmark=4e-4)
"""The published balance: sums over pixels and over pairs, all of weight 1, as means.

A mean over 3 x 320 x 512 values is the part of a sum that 200 pairs / 491,520 = 4e-4 belong to.
"""


def charbonnier(difference: Tensor) -> Tensor:
    """Return the mean of sqrt(d^2 + 0.001^2) (notes 3.4.3)."""
    return torch.sqrt(difference.square() + 1e-6).mean()


def warping_loss(warped: Tensor, target: Tensor) -> Tensor:
    """Return half the mean squared difference of two N x 3 x H x W images (notes 3.4.1)."""
    return 0.5 * (warped - target).square().mean()


def landmark_loss(flow: Tensor, landmarks: Landmarks) -> Tensor:
    """Return half the mean squared distance, in pixels, of p + V[p] from q (notes 3.4.2).

    V is `flow` (N x 2 x H x W pixels), taken between its pixels bilinearly. The mean is over the
    valid pairs of the batch; 0 if there is none.
    """
    # squares of large motion do not fit into float16
    flow = flow.to(torch.promote_types(flow.dtype, torch.float32))
    p, q = landmarks.p.to(flow), landmarks.q.to(flow)
    valid = landmarks.valid.to(flow.device)
    last = p.new_tensor((flow.shape[-1] - 1, flow.shape[-2] - 1))
    at = (2 * p / last - 1)[:, None]
    motion = F.grid_sample(flow, at, padding_mode="border", align_corners=True)[:, :, 0]
    # 3.4.2, p^ = p + V_1^0[p]
    moved = p + motion.transpose(1, 2)
    squared = (moved - q).square().sum(-1)
    return 0.5 * torch.where(valid, squared, 0.0).sum() / valid.sum().clamp(min=1)


def flow_loss(flow: Tensor, truth: Tensor) -> Tensor:
    """Return the mean of d / (1 + d / 32) of the end-point error d, where `truth` is not NaN.

    What lies beyond the network's reach would otherwise drown all that can be learned.
    """
    known = ~torch.isnan(truth).any(1, keepdim=True)
    error = torch.where(known, flow - truth, 0.0)
    distance = torch.sqrt(error.square().sum(1, keepdim=True) + 1e-6)
    return (distance / (1 + distance / FAR) * known).sum() / known.sum().clamp(min=1)


def hybrid_loss(
    output: Output,
    target: Tensor,
    flow: Tensor,
    weights: LossWeights,
    landmarks: Landmarks | None = None,
) -> dict[str, Tensor]:
    """Return the parts of the loss and their weighted sum as "total" (notes 3.4).

    `target` is N x 3 x H x W in 0..1, `flow` N x 2 x H x W pixels with NaN where it is not known.
    What the parts compare depends on the network: `fast` has its own forms of the warping loss.
    Parts of weight 0 are told, but no gradient comes from them. Raises ValueError if the landmark
    loss has a weight and there are no landmarks.
    """
    parts = {"sr": charbonnier(output.sr - target)}
    if isinstance(output, FastOutput):
        parts["warping"] = charbonnier(output.warped - target)
        parts["warping_stage1"] = charbonnier(output.warped_stage1 - output.lr_up)
    else:
        parts["warping"] = warping_loss(output.warped_stage1, target)
    parts["flow"] = flow_loss(output.flow, flow) + flow_loss(output.flow_stage1, flow)
    if weights.squared:
        parts["squared"] = (output.sr - target).square().mean()
    if landmarks is not None:
        parts["landmark"] = landmark_loss(output.flow_stage1, landmarks)
    elif weights.landmark:
        raise ValueError(
            f"found the weight {weights.landmark} of the landmark loss and no landmarks, "
            "expected pairs of crossnetpp.landmarks; try the weight 0"
        )
    weighted = {name: getattr(weights, name) for name in parts}
    terms = [weight * parts[name] for name, weight in weighted.items() if weight]
    parts["total"] = sum(terms, start=target.new_zeros(()))
    return parts
