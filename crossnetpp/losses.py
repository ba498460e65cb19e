"""The hybrid loss (notes 3.4): means with stated weights, so crop size changes no balance."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from crossnetpp.fast import FastOutput


@dataclass(frozen=True)
class LossWeights:
    """Weights of the parts; super-resolution has weight 1."""

    warping: float = 0.5
    """On the reference warped by the final flow."""
    warping_stage1: float = 0.25
    flow: float = 0.004
    """On each pixel of flow error, where the true flow is known."""


def charbonnier(difference: Tensor) -> Tensor:
    """Return the mean of sqrt(d^2 + 0.001^2) (notes 3.4.3)."""
    return torch.sqrt(difference.square() + 1e-6).mean()


def flow_error(flow: Tensor, truth: Tensor) -> Tensor:
    """Return the mean end-point error in pixels over the places where `truth` is not NaN."""
    known = ~torch.isnan(truth).any(1, keepdim=True)
    error = torch.where(known, flow - truth, 0.0)
    distance = torch.sqrt(error.square().sum(1, keepdim=True) + 1e-6)
    return (distance * known).sum() / known.sum().clamp(min=1)


def hybrid_loss(
    output: FastOutput, target: Tensor, flow: Tensor, weights: LossWeights
) -> dict[str, Tensor]:
    """Return the parts of the loss and their weighted sum as "total".

    `target` is N x 3 x H x W in 0..1, `flow` N x 2 x H x W pixels with NaN where it is not known.
    """
    parts = {
        "sr": charbonnier(output.sr - target),
        "warping": charbonnier(output.warped - target),
        "warping_stage1": charbonnier(output.warped_stage1 - output.lr_up),
        "flow": flow_error(output.flow, flow) + flow_error(output.flow_stage1, flow),
    }
    parts["total"] = (
        parts["sr"]
        + weights.warping * parts["warping"]
        + weights.warping_stage1 * parts["warping_stage1"]
        + weights.flow * parts["flow"]
    )
    return parts
