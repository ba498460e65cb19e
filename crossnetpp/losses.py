"""The hybrid loss of CrossNet++, a weighted sum of terms that do not depend on the crop size."""

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
    """Weights of the loss terms; 0 disables a term."""

    warping: float = 0.5
    """Weight of the warping loss of the reference, warped by the final flow (`fast`) or by the flow
    of stage 1 (published networks)."""
    warping_stage1: float = 0.25
    """Weight of the loss between LR_up and the unsharp reference warped by the flow of stage 1;
    `fast` only."""
    flow: float = 0.004
    """Weight of the flow loss of the final flow and of stage 1's flow; not in the paper."""
    landmark: float = 0.0
    """Weight of the landmark loss: half the mean squared distance of landmarks in pixels."""
    squared: float = 0.0
    """Weight of the mean squared error of SR, which determines PSNR; not in the paper."""
    sr: float = 1.0
    """Weight of the super-resolution loss."""


FLOW_ERROR_LIMIT = 32.0  # upper bound of a pixel's flow loss; an error of 32 pixels costs half


def charbonnier(difference: Tensor) -> Tensor:
    """Return the mean Charbonnier penalty sqrt(d^2 + 0.001^2) of the elements d of `difference`."""
    return torch.sqrt(difference.square() + 1e-6).mean()


def warping_loss(warped: Tensor, target: Tensor) -> Tensor:
    """Return half the mean squared difference between two N x 3 x H x W images."""
    return 0.5 * (warped - target).square().mean()


def landmark_loss(flow: Tensor, landmarks: Landmarks) -> Tensor:
    """Return half the mean squared distance in pixels between p + V[p] and q.

    p and q are the points of `landmarks`, and V is `flow` (N x 2 x H x W pixels), sampled
    bilinearly. The mean is over all valid pairs of the batch, and is 0 if there are none.
    """
    # The squares of large motion overflow float16
    flow = flow.to(torch.promote_types(flow.dtype, torch.float32))
    p = landmarks.p.to(flow)
    q = landmarks.q.to(flow)
    valid = landmarks.valid.to(flow.device)

    # p^ = p + V_1^0[p]
    last = p.new_tensor((flow.shape[-1] - 1, flow.shape[-2] - 1))
    grid = (2 * p / last - 1)[:, None]
    motion = F.grid_sample(flow, grid, padding_mode="border", align_corners=True)[:, :, 0]
    moved = p + motion.transpose(1, 2)

    squared = (moved - q).square().sum(-1)
    return 0.5 * torch.where(valid, squared, 0.0).sum() / valid.sum().clamp(min=1)


def flow_loss(flow: Tensor, truth: Tensor) -> Tensor:
    """Return the mean of d / (1 + d / 32), where d is the end-point error in pixels.

    Pixels whose `truth` is NaN do not count. The saturation keeps motion beyond the network's range
    from dominating the loss.
    """
    known = ~torch.isnan(truth).any(1, keepdim=True)
    error = torch.where(known, flow - truth, 0.0)
    distance = torch.sqrt(error.square().sum(1, keepdim=True) + 1e-6)
    saturated = distance / (1 + distance / FLOW_ERROR_LIMIT)
    return (saturated * known).sum() / known.sum().clamp(min=1)


def hybrid_loss(
    output: Output,
    target: Tensor,
    flow: Tensor,
    weights: LossWeights,
    landmarks: Landmarks | None = None,
) -> dict[str, Tensor]:
    """Return the loss terms by name, and their weighted sum as "total".

    `target` is N x 3 x H x W in 0..1, and `flow` N x 2 x H x W pixels, NaN where unknown. `fast`
    has its own form of the warping loss. Terms with weight 0 do not contribute to the total.

    Raises ValueError if the weight of the landmark loss is not 0 and `landmarks` is None.
    """
    terms = {"sr": charbonnier(output.sr - target)}
    if isinstance(output, FastOutput):
        terms["warping"] = charbonnier(output.warped - target)
        terms["warping_stage1"] = charbonnier(output.warped_stage1 - output.lr_up)
    else:
        terms["warping"] = warping_loss(output.warped_stage1, target)
    terms["flow"] = flow_loss(output.flow, flow) + flow_loss(output.flow_stage1, flow)

    if weights.squared:
        terms["squared"] = (output.sr - target).square().mean()
    if landmarks is not None:
        terms["landmark"] = landmark_loss(output.flow_stage1, landmarks)
    elif weights.landmark:
        raise ValueError(
            f"the landmark loss has the weight {weights.landmark}, but there are no landmarks; "
            "pass pairs from crossnetpp.landmarks, or try the weight 0"
        )

    weight_of = {name: getattr(weights, name) for name in terms}
    weighted = [weight * terms[name] for name, weight in weight_of.items() if weight]
    terms["total"] = sum(weighted, start=target.new_zeros(()))
    return terms
