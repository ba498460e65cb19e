"""Baselines without training, which borrow detail by optical flow."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from crossnetpp.classical.borrow import (
    blur,
    borrow_detail,
    local_mean_square,
    upsample,
    weigh_result,
)
from crossnetpp.classical.optical_flow import estimate_flow, warp_image
from crossnetpp.evaluation.scenes import Image
from crossnetpp.networks.taps import Taps

# Tuned on the training split, like the constants of `borrow_detail`.
PLAIN_SIGMA = 3.0
PLAIN_TOLERANCE = 0.04


class Classical(NamedTuple):
    """The result and the warped reference, each H x W x 3, not clamped to 0..1."""

    sr: Image
    warped: Image


def enhance_classical(
    lr: Image,
    references: Sequence[Image],
    weights: NDArray[np.float32] | None = None,
    taps: Taps | None = None,
) -> Classical:
    """Return `lr` (h x w x 3) enlarged, with the detail of `references` (H x W x 3), all in 0..1.

    Each reference yields a separate result, and the results are averaged. A result has less weight
    where it differs from `lr` after downscaling. `weights` are the prior weights of the references;
    None means 1 for all. `taps` is the kernel that reduced HR to LR; None means antialiased bicubic
    downscaling.
    """
    results = [borrow_detail(lr, reference, taps) for reference in references]
    if len(results) == 1:
        return Classical(results[0].sr, results[0].warped)

    scale = references[0].shape[0] // lr.shape[0]
    priors = np.ones(len(results), np.float32) if weights is None else weights
    shares = [
        prior * weigh_result(lr, result.sr, taps)
        for result, prior in zip(results, priors, strict=True)
    ]
    total = np.sum(shares, axis=0)
    large = [cv2.resize(share / total, None, fx=scale, fy=scale)[..., None] for share in shares]
    return Classical(
        np.sum([share * each.sr for share, each in zip(large, results, strict=True)], axis=0),
        np.sum([share * each.warped for share, each in zip(large, results, strict=True)], axis=0),
    )


def enhance_classical_plain(lr: Image, references: Sequence[Image]) -> Classical:
    """Return the result of the simplest variant of `enhance_classical`.

    It uses only the first reference and the bicubic kernel, blurs the reference before warping, and
    applies the same tolerance to all contrasts.
    """
    reference = references[0]
    scale = reference.shape[0] // lr.shape[0]
    lr_up = upsample(lr, scale)
    unsharp = blur(reference, scale, None)

    flow = estimate_flow(lr_up, unsharp)
    warped = warp_image(reference, flow)
    unsharp = warp_image(unsharp, flow)

    error = local_mean_square(unsharp - lr_up, PLAIN_SIGMA)
    confidence = np.exp(-error / PLAIN_TOLERANCE**2)
    return Classical(lr_up + confidence[..., None] * (warped - unsharp), warped)
