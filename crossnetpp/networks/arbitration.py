"""Arbitration between flows: each pixel follows the flow that explains its surroundings best."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from crossnetpp.networks.lucas_kanade import average_windows
from crossnetpp.networks.warp import warp

FLOOR = 0.002  # on a scale of 0..1; smaller errors are treated as noise
SHARPNESS = 12  # the larger this exponent of the errors, the more the best flow prevails
HANDICAP = 1.25  # factor of the error without motion; a flow that was found wins a close race


def arbitrate_flows(
    target: Tensor, unsharp: Tensor, flows: Sequence[Tensor], window: int
) -> Tensor:
    """Return the mean of `flows` and of no motion, weighted by how well each explains `target`.

    `target` (from LR) and `unsharp` (from the reference) are equally sharp luma, N x 1 x H x W in
    0..1. Each flow is N x 2 x H x W pixels. Errors are averaged over squares of `window` x `window`
    pixels.
    """
    with torch.no_grad():
        warped = [warp(unsharp, flow, mode="bicubic") for flow in flows]
        squares = torch.cat([(each - target).square() for each in (*warped, unsharp)], dim=1)
        errors = average_windows(squares, window) + FLOOR**2
        errors = torch.cat((errors[:, :-1], HANDICAP * errors[:, -1:]), dim=1)

        # Divided by the least error first, because a high power of a small error would be 0
        weights = (errors.amin(dim=1, keepdim=True) / errors) ** SHARPNESS
        weights = weights / weights.sum(dim=1, keepdim=True)

    # No motion adds nothing to the mean
    weighted = [weights[:, k : k + 1] * flow for k, flow in enumerate(flows)]
    return torch.stack(weighted).sum(dim=0)
