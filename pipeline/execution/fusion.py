"""Fuse several SR results for one frame, each with detail from a different reference."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

import cv2
import numpy as np
from numpy.typing import NDArray

from pipeline.pixels import Pixels, as_pixels

# Powers of ten by which a reference's weight falls per grid step between it and the frame. On
# lytro_stegosaurus at x8, each step lowers the network's PSNR by half a dB.
STEP_DECADES = 0.1
SMOOTHING_PIXELS = 3.0  # standard deviation, in LR pixels, of the Gaussian that smooths errors
ERROR_FLOOR = 0.004  # share of full scale; smaller errors are attributed to rounding and noise
WEIGHT_POWER = 2.0


def fuse_results(
    lr: Pixels, results: Sequence[Pixels], weights: Sequence[float] | NDArray[np.float32]
) -> Pixels:
    """Return the mean of the results (H x W x 3), weighted by how well they agree with `lr`.

    `weights` contains another factor for each result, which is larger for a nearer reference. Each
    result is reduced to the size of `lr` (h x w x 3) and compared with it, because the LR frame is
    the only evidence of the true scene. Where one result is wrong, the others prevail; where all
    agree with the LR frame, their errors average out.
    """
    if len(results) == 1:
        return results[0]

    limit = float(np.iinfo(lr.dtype).max)
    height, width = results[0].shape[:2]
    total = np.zeros(results[0].shape, np.float32)
    weight_sum = np.zeros((height, width, 1), np.float32)
    for result, nearness in zip(results, weights, strict=True):
        agreement = _agreement(lr, result, limit)
        large = cv2.resize(agreement, (width, height), interpolation=cv2.INTER_LINEAR)
        weight = np.float32(nearness) * large[..., None]
        total += weight * result
        weight_sum += weight

    fused: Any = np.clip(total / weight_sum + 0.5, 0, limit).astype(results[0].dtype)
    return as_pixels(fused)


def _agreement(lr: Pixels, result: Pixels, limit: float) -> NDArray[np.float32]:
    """Return a result's weights (float32 h x w), which fall as its smoothed squared error rises.

    `limit` is the largest value of the data type.
    """
    reduced = cv2.resize(result, (lr.shape[1], lr.shape[0]), interpolation=cv2.INTER_AREA)
    error = (reduced.astype(np.float32) - lr) / limit
    squared = cv2.GaussianBlur((error**2).mean(axis=2), (0, 0), SMOOTHING_PIXELS)
    weight: Any = (squared + ERROR_FLOOR**2) ** (-WEIGHT_POWER / 2)
    return cast("NDArray[np.float32]", weight)
