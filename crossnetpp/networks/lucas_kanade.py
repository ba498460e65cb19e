"""Lucas-Kanade steps: sub-pixel corrections of a flow that is already almost correct.

Lucas and Kanade, "An iterative image registration technique with an application to stereo vision",
1981. The method has no weights, so its accuracy does not have to be learned. The network learns
only where to trust which step.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from crossnetpp.networks.blocks import repeat_border
from crossnetpp.networks.kernels import constant_like

# Added to the diagonal of the structure tensor (squared intensity per pixel), so that flat areas
# yield no motion
DAMPING = 2e-5

# In pixels. A larger step means that the flow is far off, so the step is not reliable.
MAX_STEP = 1.5

_BT601 = np.array([0.299, 0.587, 0.114], np.float32)


class Candidates(NamedTuple):
    """Corrections to the flow, one for each of K window sizes."""

    steps: Tensor
    """N x 2 K x H x W pixels: x and y for the first window size, then for the next."""
    evidence: Tensor
    """N x K x H x W: about the logarithm of the smaller eigenvalue of each structure tensor."""


def rgb_to_luma(image: Tensor) -> Tensor:
    """Return the luma (N x 1 x H x W, BT.601 weights) of `image` (N x 3 x H x W RGB)."""
    return (image * constant_like(_BT601, image).view(1, 3, 1, 1)).sum(1, keepdim=True)


def average_windows(values: Tensor, window: int) -> Tensor:
    """Return the mean of `values` over a square of `window` x `window` pixels around each pixel.

    Unlike avg_pool2d, this takes the same time for every `window`, because the means are computed
    from running sums.
    """
    half = window // 2
    padded = repeat_border(values, half + 1, half, half + 1, half)
    column_sums = padded.cumsum(-2)
    columns = (column_sums[..., window:, :] - column_sums[..., :-window, :]).div_(window)
    row_sums = columns.cumsum(-1)
    return (row_sums[..., window:] - row_sums[..., :-window]).div_(window)


def solve_lucas_kanade(target: Tensor, warped: Tensor, windows: tuple[int, ...]) -> Candidates:
    """Return corrections to a flow that align the warped image better with `target`.

    `warped` is the image warped by the flow. Both are N x 1 x H x W in 0..1 and equally bright.
    Each size in `windows` (odd, in pixels) yields one correction, which assumes that motion is
    constant within a square of that size.
    """
    # Structure tensor
    padded = repeat_border(0.5 * (target + warped), 1, 1, 1, 1)
    gx = 0.5 * (padded[:, :, 1:-1, 2:] - padded[:, :, 1:-1, :-2])
    gy = 0.5 * (padded[:, :, 2:, 1:-1] - padded[:, :, :-2, 1:-1])
    difference = warped - target
    products = torch.cat((gx * gx, gx * gy, gy * gy, gx * difference, gy * difference), dim=1)

    # Normal equations of each window
    steps = []
    evidence = []
    for window in windows:
        xx, xy, yy, xt, yt = torch.split(average_windows(products, window), 1, dim=1)
        xx = xx + DAMPING
        yy = yy + DAMPING
        determinant = xx * yy - xy * xy
        steps += [(xy * yt - yy * xt) / determinant, (xy * xt - xx * yt) / determinant]
        # determinant / trace needs no root and is within a factor of 2 of the smaller eigenvalue
        evidence.append(torch.log(determinant / (xx + yy)))

    clamped = torch.cat(steps, dim=1).clamp(-MAX_STEP, MAX_STEP)
    return Candidates(clamped, torch.cat(evidence, dim=1))
