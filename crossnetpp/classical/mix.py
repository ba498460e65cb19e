"""Mix a network's result with detail that optical flow borrows from the same references.

The errors of the two methods differ, so the mean of their results is better than either result. The
mix helps only if the LR frame is nearly lossless: otherwise, codec noise hides which result is
right.
"""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

from crossnetpp.capture.moments import LUMA
from crossnetpp.classical.borrow import borrow_detail, weigh_result
from crossnetpp.classical.optical_flow import Image
from crossnetpp.networks.taps import Taps


def mix_with_flow(
    sr: Image,
    lr: Image,
    references: Sequence[Image],
    weights: NDArray[np.float32],
    taps: Taps | None = None,
    *,
    luma_only: bool = False,
) -> Image:
    """Return a network's result `sr` mixed with one result of optical flow for each reference.

    `sr` and the references are H x W x 3, and `lr` is h x w x 3, all in 0..1. A result has more
    weight where it explains `lr` better after downscaling with `taps`; None means antialiased
    bicubic downscaling. `weights` are the references' prior weights. Where a reference does not
    match, its result has hardly any weight. With `luma_only`, the chroma of `sr` is kept, because
    optical flow yields chroma as blurred as the subsampled chroma of `lr`.
    """
    scale = sr.shape[0] // lr.shape[0]
    weight = _enlarge(weigh_result(lr, sr, taps), scale)
    total = weight[..., None] * sr
    weight_sum = weight

    for reference, share in zip(references, weights / weights.sum(), strict=True):
        borrowed = borrow_detail(lr, reference, taps)
        weight = share * np.square(borrowed.confidence)
        weight *= _enlarge(weigh_result(lr, borrowed.sr, taps), scale)
        total += weight[..., None] * borrowed.sr
        weight_sum = weight_sum + weight
    mixed = np.asarray(total / weight_sum[..., None], np.float32)
    return np.asarray(sr + ((mixed - sr) @ LUMA)[..., None], np.float32) if luma_only else mixed


def _enlarge(plane: Image, scale: int) -> Image:
    return np.asarray(cv2.resize(plane, None, fx=scale, fy=scale), np.float32)
