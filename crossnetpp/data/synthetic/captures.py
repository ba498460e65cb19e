"""LR tensors as a camera would record them, with random downscaling kernels."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from crossnetpp.data.degradation import subsample_chroma
from crossnetpp.data.synthetic.jpeg import compress_jpeg
from crossnetpp.networks.resample import reduce_antialiased
from crossnetpp.networks.taps import (
    Taps,
    make_bicubic_taps,
    make_box_taps,
    make_separable_taps,
)

MOST_SHIFT = 0.35  # largest shift between the LR and HR grids, in LR pixels
LEAST_BLUR = 0.3  # standard deviation of a Gaussian kernel in LR pixels
MOST_BLUR = 0.75
READ_NOISE = 0.012  # largest standard deviations; white is 1
SHOT_NOISE = 0.02


def draw_kernel(rng: np.random.Generator, scale: int) -> Taps:
    """Return a random downscaling kernel: bicubic, box, or a Gaussian that may be shifted."""
    kind = rng.random()
    if kind < 0.25:
        return make_bicubic_taps(scale)
    if kind < 0.65:
        return make_box_taps(scale)

    shifts = rng.uniform(-MOST_SHIFT, MOST_SHIFT, 2) * (rng.random() < 0.5)
    deviation = rng.uniform(LEAST_BLUR, MOST_BLUR)
    distance = (np.arange(4 * scale) + 0.5) / scale - 2
    rows, columns = (np.exp(-(((distance - shift) / deviation) ** 2) / 2) for shift in shifts)
    return make_separable_taps(rows, columns)


def record_pictures(
    rng: np.random.Generator,
    random: torch.Generator,
    target: Tensor,
    scale: int,
    *,
    recorded: float,
    chroma_subsampled: float,
) -> tuple[Tensor, Tensor]:
    """Return the LR (N x 3 x h x w) of `target` (N x 3 x H x W), and the taps of the kernel.

    LR is in 0..1, rounded to 8-bit levels. With probability `recorded`, noise and JPEG compression
    are added; otherwise, with probability `chroma_subsampled`, chroma is subsampled to 4:2:0.
    """
    taps = torch.from_numpy(draw_kernel(rng, scale)).to(target.device)
    lr = reduce_antialiased(target, scale, taps)
    if rng.random() < recorded:
        read, shot = rng.uniform(0, READ_NOISE), rng.uniform(0, SHOT_NOISE)
        spread = (read**2 + shot**2 * lr.clamp(0, 1)).sqrt()
        noise = torch.randn(lr.shape, generator=random, device=lr.device)
        qualities = torch.from_numpy(rng.uniform(50, 97, len(lr))).to(lr)
        return compress_jpeg((lr + spread * noise).clamp(0, 1), qualities), taps
    if rng.random() < chroma_subsampled:
        lr = subsample_chroma(lr)
    return lr.mul(255).round().clamp(0, 255).div(255), taps
