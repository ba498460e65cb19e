"""Lucas-Kanade steps: the sub-pixel remainder of a flow that is already close.

Lucas and Kanade, "An iterative image registration technique", 1981. It has no weights, so its
accuracy does not have to be learned; the network only learns where to trust which step.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from crossnetpp.networks.kernels import constant

DAMPING = 2e-5
"""Added to the structure tensor (squared intensity per pixel): no motion where nothing is seen."""
LARGEST_STEP = 1.5
"""Pixels; a larger remainder means that the flow is not close and the step is not to be used."""

_BT601 = np.array([0.299, 0.587, 0.114], np.float32)


class Candidates(NamedTuple):
    """One step for each of K windows."""

    steps: Tensor
    """N x 2 K x H x W pixels: x and y of the first window, then of the next."""
    evidence: Tensor
    """N x K x H x W: logarithm of how much structure the window holds in its weaker direction."""


def luma(image: Tensor) -> Tensor:
    """Return N x 1 x H x W luma (BT.601 weights) of N x 3 x H x W RGB."""
    return (image * constant(_BT601, image).view(1, 3, 1, 1)).sum(1, keepdim=True)


def _window_mean(values: Tensor, window: int) -> Tensor:
    """Return the mean over a square around each pixel, by differences of running sums.

    Their cost does not depend on the window; avg_pool2d takes 16 times as long on a CPU.
    """
    half = window // 2
    padded = F.pad(values, (half + 1, half, half + 1, half), mode="replicate")
    down = padded.cumsum(-2)
    rows = (down[..., window:, :] - down[..., :-window, :]) / window
    along = rows.cumsum(-1)
    return (along[..., window:] - along[..., :-window]) / window


def lucas_kanade_steps(target: Tensor, warped: Tensor, windows: tuple[int, ...]) -> Candidates:
    """Return the corrections of the flow behind `warped` that bring it onto `target`.

    Both are N x 1 x H x W in 0..1 and equally bright; motion is taken as constant in a square of
    each of `windows` (odd) pixels.
    """
    padded = F.pad(0.5 * (target + warped), (1, 1, 1, 1), mode="replicate")
    gx = 0.5 * (padded[:, :, 1:-1, 2:] - padded[:, :, 1:-1, :-2])
    gy = 0.5 * (padded[:, :, 2:, 1:-1] - padded[:, :, :-2, 1:-1])
    difference = warped - target
    products = torch.cat((gx * gx, gx * gy, gy * gy, gx * difference, gy * difference), dim=1)
    steps, evidence = [], []
    for window in windows:
        xx, xy, yy, xt, yt = torch.split(_window_mean(products, window), 1, dim=1)
        xx, yy = xx + DAMPING, yy + DAMPING
        determinant = xx * yy - xy * xy
        steps += [(xy * yt - yy * xt) / determinant, (xy * xt - xx * yt) / determinant]
        # determinant / trace is the smaller eigenvalue to within a factor of 2, without a root
        evidence.append(torch.log(determinant / (xx + yy)))
    moved = torch.cat(steps, dim=1).clamp(-LARGEST_STEP, LARGEST_STEP)
    return Candidates(moved, torch.cat(evidence, dim=1))
