"""Backward warping by optical flow: `warped(x) = image(x + flow(x))`.

Coordinates are float32 at every precision: near 1, float16 has steps of 1/2048, which is half a
pixel in a normalised grid that is 1920 pixels wide.
"""

from __future__ import annotations

import cv2
import torch
import torch.nn.functional as F
from torch import Tensor

from crossnetpp.networks.kernels import is_traced
from crossnetpp.networks.opencv import can_enlarge, enlarge


def warp(image: Tensor, flow: Tensor, mode: str = "bilinear") -> Tensor:
    """Return `image` (N x C x H x W) sampled at x + `flow` (N x 2 x H x W pixels, channel 0 = x).

    Coordinates outside the image are clamped to its border.
    """
    flow = flow.float()
    grid = make_traced_grid(flow) if is_traced() else make_grid(flow)
    warped = F.grid_sample(
        image.float(), grid, mode=mode, padding_mode="border", align_corners=True
    )
    return warped.to(image.dtype)


def make_grid(flow: Tensor) -> Tensor:
    """Return sampling positions (x, y), N x H x W x 2; -1 and 1 are the border pixels' centres."""
    height, width = flow.shape[-2:]
    x, y = _make_positions(flow)
    step_x = 2.0 / (width - 1)
    step_y = 2.0 / (height - 1)
    x = x * step_x - 1
    y = y * step_y - 1
    if torch.is_grad_enabled() and flow.requires_grad:
        columns = torch.add(x, flow[:, 0], alpha=step_x)
        return torch.stack((columns, torch.add(y, flow[:, 1], alpha=step_y)), dim=-1)

    # Written in place, because `torch.stack` would copy everything once more
    grid = flow.new_empty(len(flow), height, width, 2)
    torch.add(x, flow[:, 0], alpha=step_x, out=grid[..., 0])
    torch.add(y, flow[:, 1], alpha=step_y, out=grid[..., 1])
    return grid


def make_traced_grid(flow: Tensor) -> Tensor:
    """Return the result of `make_grid`, computed so that engines of fixed size can fold constants.

    Only a product and a sum with the flow are then left to compute for each frame.
    """
    x, y = _make_positions(flow)
    positions = torch.stack((torch.zeros_like(y) + x, torch.zeros_like(x) + y), dim=-1)
    # The last positions are width - 1 and height - 1
    steps = 2.0 / torch.cat((x[-1:], y[-1]))
    return flow.permute(0, 2, 3, 1) * steps + (positions * steps - 1)


def _make_positions(flow: Tensor) -> tuple[Tensor, Tensor]:
    """Return the x coordinates (W) and y coordinates (H x 1) of the pixels of `flow`."""
    height, width = flow.shape[-2:]
    x = torch.arange(width, device=flow.device, dtype=torch.float32)
    y = torch.arange(height, device=flow.device, dtype=torch.float32).unsqueeze(1)
    return x, y


def upscale_flow(flow: Tensor, factor: int) -> Tensor:
    """Return `flow` (N x 2 x h x w) on a grid that is `factor` times as fine.

    Both flows are in pixels of their own grids.
    """
    if can_enlarge(flow):
        return enlarge(flow, factor, cv2.INTER_LINEAR).mul_(factor)

    # Contiguous, because interpolating two channels in channels-last order takes longer
    return factor * F.interpolate(
        flow.contiguous(), scale_factor=float(factor), mode="bilinear", align_corners=False
    )
