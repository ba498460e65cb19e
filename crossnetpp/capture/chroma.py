"""Measure where LR chroma is sampled relative to luma.

The position depends on the encoder and on the program that converted the colours.
"""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

from crossnetpp.capture.moments import MARGIN, Picture, Plane, get_luma, reduce_plane

BLUR = 1.0  # LR pixels; chroma is coarser than luma, and its finest detail is noise
FEWEST_PIXELS = 500
LEAST_GRADIENT = 0.1 / 255  # RMS chroma gradient per LR pixel below which pictures are too grey
LEAST_CERTAINTY = 0.05  # standard error in LR pixels above which the shift counts as unknown


def estimate_chroma_shift(
    pairs: Sequence[tuple[Picture, Picture]], kernel: NDArray[np.floating]
) -> tuple[float, float] | None:
    """Return how far (x, y), in LR pixels, chroma is sampled to the right of and below luma.

    Each pair is LR (h x w x 3) and HR (s h x s w x 3) RGB of one instant. `kernel` (4s x 4s) is the
    downscaling kernel of luma. The result is None if the pictures are too small, too grey or too
    noisy to measure the shift in both directions.
    """
    gram, cross = np.zeros((3, 3)), np.zeros(3)
    power, count = 0.0, 0
    for lr, hr in pairs:
        if min(lr.shape[:2]) <= 2 * MARGIN:
            continue
        for near, far in zip(_split_chroma(lr, None), _split_chroma(hr, kernel), strict=True):
            columns, values = _make_equations(near, far)
            gram += np.einsum("ni,nj->ij", columns, columns)
            cross += np.einsum("ni,n->i", columns, values)
            power += float((values**2).sum())
            count += len(values)
    if count < FEWEST_PIXELS or gram[:2, :2].trace() / count < LEAST_GRADIENT**2:
        return None
    if np.linalg.matrix_rank(gram) < len(gram):
        return None  # colours vary in one direction only

    solution = np.linalg.solve(gram, cross)
    noise = max(power - float(cross @ solution), 0.0) / count
    variance = noise * float(np.diag(np.linalg.inv(gram))[:2].max())
    if not 0 <= variance <= LEAST_CERTAINTY**2:  # rounding can make it negative or NaN
        return None
    return float(solution[0]), float(solution[1])


def _split_chroma(rgb: Picture, kernel: NDArray[np.floating] | None) -> list[Plane]:
    """Return red minus luma and blue minus luma (white is 1), blurred.

    Both planes are first reduced by `kernel` unless it is None.
    """
    luma = get_luma(rgb)
    full_scale = np.float32(np.iinfo(rgb.dtype).max)
    planes = [rgb[..., c].astype(np.float32) / full_scale - luma for c in (0, 2)]
    if kernel is not None:
        planes = [reduce_plane(plane, kernel) for plane in planes]
    return [np.asarray(cv2.GaussianBlur(plane, (0, 0), BLUR), np.float32) for plane in planes]


def _make_equations(near: Plane, far: Plane) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return linear equations for a small shift (x, y) and a blur that turn `far` into `near`.

    The result is the coefficients (N x 3) and values (N) for the N pixels inside the margin.
    """
    inside = (slice(MARGIN, -MARGIN), slice(MARGIN, -MARGIN))
    columns = [
        cv2.Sobel(far, cv2.CV_32F, 1, 0, scale=1 / 8)[inside].ravel(),
        cv2.Sobel(far, cv2.CV_32F, 0, 1, scale=1 / 8)[inside].ravel(),
        cv2.Laplacian(far, cv2.CV_32F)[inside].ravel(),
    ]
    values = (near - far)[inside].ravel().astype(np.float64)
    return np.stack(columns, axis=1).astype(np.float64), values - values.mean()
