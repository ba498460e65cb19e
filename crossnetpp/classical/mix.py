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
from crossnetpp.classical.borrow import Borrowed, borrow_detail, weigh_result
from crossnetpp.classical.optical_flow import Image, estimate_flow
from crossnetpp.networks.taps import Taps


def mix_with_flow(
    sr: Image,
    lr: Image,
    references: Sequence[Image],
    weights: NDArray[np.float32],
    taps: Taps | None = None,
    *,
    luma_only: bool = False,
    again: bool = False,
) -> Image:
    """Return a network's result `sr` mixed with one result of optical flow for each reference.

    `sr` and the references are H x W x 3, and `lr` is h x w x 3, all in 0..1. A result has more
    weight where it explains `lr` better after downscaling with `taps`; None means antialiased
    bicubic downscaling. `weights` are the references' prior weights. Where a reference does not
    match, its result has hardly any weight. With `luma_only`, the chroma of `sr` is kept, because
    optical flow yields chroma as blurred as the subsampled chroma of `lr`. With `again`, the flow
    is estimated a second time, between the mix and each reference, both of which are sharp, and the
    results of both flows are mixed.
    """
    mean = _WeightedMean(lr, taps)
    mean.add(sr, 1.0)
    shares = weights / weights.sum()
    for reference, share in zip(references, shares, strict=True):
        mean.add_borrowed(borrow_detail(lr, reference, taps), share)

    if again:
        target = mean.compute()
        for reference, share in zip(references, shares, strict=True):
            flow = estimate_flow(target, reference, finest=0)
            mean.add_borrowed(borrow_detail(lr, reference, taps, flow), share)

    mixed = mean.compute()
    return np.asarray(sr + ((mixed - sr) @ LUMA)[..., None], np.float32) if luma_only else mixed


class _WeightedMean:
    """The mean of results (H x W x 3), weighted by how well each explains the LR frame."""

    def __init__(self, lr: Image, taps: Taps | None) -> None:
        self._lr = lr
        self._taps = taps
        self._total: Image | None = None
        self._weights: Image | None = None

    def add(self, result: Image, share: float | Image) -> None:
        """Add a result, whose weight is multiplied by `share` (a number, or H x W)."""
        scale = result.shape[0] // self._lr.shape[0]
        explains = weigh_result(self._lr, result, self._taps)
        weight = np.asarray(share * cv2.resize(explains, None, fx=scale, fy=scale), np.float32)
        term = weight[..., None] * result
        self._total = term if self._total is None else self._total + term
        self._weights = weight if self._weights is None else self._weights + weight

    def add_borrowed(self, borrowed: Borrowed, share: float) -> None:
        """Add a result of optical flow, which counts less where its reference does not match."""
        self.add(borrowed.sr, np.asarray(share * np.square(borrowed.confidence), np.float32))

    def compute(self) -> Image:
        """Return the mean of the results added so far. Raises ValueError if there are none."""
        if self._total is None or self._weights is None:
            raise ValueError("found no results, expected at least one; add one first")
        return np.asarray(self._total / self._weights[..., None], np.float32)
