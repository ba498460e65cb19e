"""Downscaling kernels: how a camera or a program computes an LR pixel from HR pixels.

A kernel is stored as `Taps`, a float32 array of shape 2 x 2 x 4s for the scale s. It is the sum of
two terms, each of which is the outer product of weights along the rows and along the columns of the
HR picture. All weights of the kernel sum to 1. In a separable kernel, the second term is zero. Tap
i of LR pixel x is at HR pixel s x + i - 3s/2, so the taps surround the centre of the LR pixel.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

Taps = NDArray[np.float32]
TERMS = 2


def evaluate_keys(distance: NDArray[np.float64], a: float) -> NDArray[np.float64]:
    """Return Keys' cubic convolution kernel (1981) with parameter `a` at `distance` in pixels."""
    d = np.abs(distance)
    near = (a + 2) * d**3 - (a + 3) * d**2 + 1
    far = a * (d**3 - 5 * d**2 + 8 * d - 4)
    kernel: NDArray[np.float64] = np.where(d <= 1, near, np.where(d < 2, far, 0.0))
    return kernel


def make_separable_taps(rows: NDArray[np.floating], columns: NDArray[np.floating]) -> Taps:
    """Return the taps of a separable kernel, given its 4s weights along rows and along columns.

    Both sets of weights are scaled to a sum of 1.
    """
    taps = np.zeros((TERMS, 2, len(rows)), np.float32)
    taps[0, 0] = rows / rows.sum()
    taps[0, 1] = columns / columns.sum()
    return taps


@lru_cache
def make_bicubic_taps(scale: int) -> Taps:
    """Return the taps of antialiased bicubic downscaling (Keys, a = -0.5)."""
    weights = evaluate_keys((np.arange(4 * scale) + 0.5) / scale - 2, a=-0.5)
    taps = make_separable_taps(weights, weights)
    return taps


@lru_cache
def make_box_taps(scale: int) -> Taps:
    """Return the taps of a mean over `scale` x `scale` pixels, as in a sensor's pixel."""
    weights = np.zeros(4 * scale)
    weights[3 * scale // 2 : 3 * scale // 2 + scale] = 1
    taps = make_separable_taps(weights, weights)
    return taps


def separate_kernel(kernel: NDArray[np.floating]) -> Taps:
    """Return the taps that best approximate a 4s x 4s kernel in the least-squares sense.

    The result is scaled to a sum of 1. Raises ValueError if the sum of the approximation is not
    positive.
    """
    u, strengths, v = np.linalg.svd(np.asarray(kernel, np.float64))
    root = np.sqrt(strengths[:TERMS])
    taps = np.stack((u[:, :TERMS].T * root[:, None], v[:TERMS] * root[:, None]), axis=1)
    total = float((taps[:, 0].sum(axis=1) * taps[:, 1].sum(axis=1)).sum())
    if not total > 0:
        raise ValueError(f"found a kernel with a sum of {total:g}, expected a sum above 0")
    taps[:, 0] /= total
    return taps.astype(np.float32)


def is_same_kernel(one: Taps | None, other: Taps | None) -> bool:
    """Return whether two kernels are equal; None equals only None."""
    if one is None or other is None:
        return one is other
    return np.array_equal(one, other)


def join_taps(taps: Taps) -> NDArray[np.float32]:
    """Return the 4s x 4s kernel of `taps`."""
    return np.asarray(np.einsum("tr,tc->rc", taps[:, 0], taps[:, 1]), np.float32)
