"""Several results for one frame, each borrowed from another reference, made into one."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

import cv2
import numpy as np
from numpy.typing import NDArray

from pipeline.pixels import Pixels

PER_STEP = 0.1
"""Powers of ten by which a reference counts less for each grid step that it is farther away; with
SMOOTH and FLOOR chosen on lytro_stegosaurus, x8, where each step costs the network half a dB."""
SMOOTH = 3.0
"""LR pixels over which errors are averaged before results are compared."""
FLOOR = 0.004
"""Error (full scale = 1) below which differences say nothing: rounding and noise."""
POWER = 2.0


def fuse(lr: Pixels, results: Sequence[Pixels], steps: Sequence[float]) -> Pixels:
    """Return the mean of H x W x 3 results, weighed by how well each agrees with `lr`.

    `steps` are the grid steps to each result's reference: a nearer one counts more.

    Each is reduced again and compared with the h x w x 3 LR frame, the only witness of what is
    there. Where one is wrong the others count; where all agree, their errors average out.
    """
    if len(results) == 1:
        return results[0]
    limit = float(np.iinfo(lr.dtype).max)
    height, width = results[0].shape[:2]
    total = np.zeros(results[0].shape, np.float32)
    weights = np.zeros((height, width, 1), np.float32)
    for result, away in zip(results, steps, strict=True):
        nearness = np.float32(10 ** (PER_STEP * (min(steps) - away)))
        weight = (
            nearness
            * cv2.resize(
                _weight(lr, result, limit), (width, height), interpolation=cv2.INTER_LINEAR
            )[..., None]
        )
        total += weight * result
        weights += weight
    fused: Any = np.clip(total / weights + 0.5, 0, limit).astype(results[0].dtype)
    return cast(Pixels, fused)


def _weight(lr: Pixels, result: Pixels, limit: float) -> NDArray[np.float32]:
    """Return h x w weights: the inverse of the smoothed squared error, to a power."""
    reduced = cv2.resize(result, (lr.shape[1], lr.shape[0]), interpolation=cv2.INTER_AREA)
    error = (reduced.astype(np.float32) - lr) / limit
    squared = cv2.GaussianBlur((error**2).mean(axis=2), (0, 0), SMOOTH)
    weight: Any = (squared + FLOOR**2) ** (-POWER / 2)
    return cast("NDArray[np.float32]", weight)
