"""Downscaling kernels: one-dimensional parametric families, and the shift and width of a kernel.

A one-dimensional kernel has 4 x scale taps. Tap i of LR pixel x is at HR position
scale * x + i - 3 * scale / 2. Positions are relative to the LR pixel's centre, and positions and
widths are in LR pixels.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from crossnetpp.networks.taps import evaluate_keys

Array = NDArray[np.float64]

CUBIC_A = -0.5  # parameter of Keys' cubic convolution, as in antialiased bicubic downscaling

# If a blur (optics, sensor or codec) has the response r at half of the LR Nyquist frequency, its
# response at the Nyquist frequency is r^4 (a Gaussian) or less (pixel means, bicubic, Lanczos). If
# HR was sharpened, the kernel also undoes the sharpening, which weakens both frequencies about
# equally. With kernels and codecs of all kinds, the measured exponents were 3.99 or more for
# untouched HR, and mostly 0.9 to 3.5 for HR with an unsharp mask (not in jobs/results; see the
# tests). Masks narrower than about 0.7 LR pixels, and most masks at crf 28, look like a soft lens.
LEAST_EXPONENT = 3.8
MOST_LOW_RESPONSE = 0.85  # at half of the Nyquist frequency; above it, exponents are uncertain


def locate_taps(scale: int) -> Array:
    """Return the positions of the 4 x scale taps in LR pixels, relative to the pixel's centre."""
    return np.asarray((np.arange(4 * scale) + 0.5) / scale - 2, np.float64)


def _evaluate_cubic(distance: Array) -> Array:
    return evaluate_keys(distance, CUBIC_A)


def _evaluate_lanczos(distance: Array) -> Array:
    """Return the three-lobed Lanczos kernel at `distance`.

    The 4 x scale taps cut off its third lobe.
    """
    inside = np.abs(distance) < 3
    return np.asarray(np.where(inside, np.sinc(distance) * np.sinc(distance / 3), 0.0), np.float64)


def _evaluate_gaussian(distance: Array) -> Array:
    return np.asarray(np.exp(-0.5 * distance**2), np.float64)


def _evaluate_tent(distance: Array) -> Array:
    return np.asarray(np.maximum(1 - np.abs(distance), 0.0), np.float64)


@dataclass(frozen=True)
class Family:
    """One-dimensional kernels that differ only in width and shift."""

    name: str
    shape: Callable[[Array], Array] | None
    """A function that evaluates the kernel of width 1 at distances from its centre; None for a
    box."""
    narrowest: float
    """Least width in LR pixels."""
    widest: float
    """Greatest width in LR pixels."""

    def make(self, scale: int, widths: Array, shifts: Array) -> Array:
        """Return N kernels (N x 4s, sum 1 each); N `widths` and N `shifts` are in LR pixels."""
        distance = locate_taps(scale)[None] - shifts[:, None]
        if self.shape is not None:
            taps = self.shape(distance / widths[:, None])
        else:
            # How much of each HR pixel the box covers
            half = 0.5 / scale
            edge = widths[:, None] / 2
            low = np.clip(distance - half, -edge, edge)
            taps = np.clip(distance + half, -edge, edge) - low
        return np.asarray(taps / taps.sum(axis=1, keepdims=True), np.float64)


FAMILIES = (
    Family("box", None, 0.3, 2.5),
    Family("bicubic", _evaluate_cubic, 0.6, 1.6),
    Family("gaussian", _evaluate_gaussian, 0.15, 1.2),
    Family("lanczos", _evaluate_lanczos, 0.7, 1.4),
    Family("tent", _evaluate_tent, 0.5, 2.0),
)


def make_named_kernel(name: str, scale: int, width: float = 1.0, shift: float = 0.0) -> Array:
    """Return the 4 x scale taps (sum 1) of a one-dimensional kernel of the family `name`.

    `width` and `shift` are in LR pixels.
    """
    family = next(family for family in FAMILIES if family.name == name)
    return np.asarray(family.make(scale, np.array([width]), np.array([shift]))[0], np.float64)


def measure_shift(kernel: NDArray[np.floating]) -> tuple[float, float]:
    """Return how far the centroid of a kernel (4s x 4s, sum 1) is from its middle.

    The result is (x, y) in LR pixels.
    """
    place = locate_taps(len(kernel) // 4)
    return float(kernel.sum(axis=0) @ place), float(kernel.sum(axis=1) @ place)


def measure_width(kernel: NDArray[np.floating]) -> float:
    """Return the width of a kernel (4s x 4s, sum 1) in LR pixels, averaged over both axes.

    It is the width of the box that lets the same amount of white noise pass: 1 for means of s x s
    pixels. Unlike the variance, it is positive even for kernels with negative lobes.
    """
    scale = len(kernel) // 4
    widths = [1 / float((kernel.sum(axis=axis) ** 2).sum()) / scale for axis in (0, 1)]
    return sum(widths) / 2


def measure_response(kernel: NDArray[np.floating], frequency: float) -> float:
    """Return the response of a kernel (4s x 4s, sum 1) at a frequency, averaged over both axes.

    `frequency` is in cycles per LR pixel.
    """
    wave = np.exp(-2j * np.pi * frequency * locate_taps(len(kernel) // 4))
    return sum(float(abs(kernel.sum(axis=axis) @ wave)) for axis in (0, 1)) / 2


def is_sharpening_undone(kernel: NDArray[np.floating]) -> bool:
    """Return whether a kernel (4s x 4s, sum 1) weakens coarse detail in a way that no camera does.

    Such a kernel results from HR pictures that were sharpened or generated.
    """
    low, high = measure_response(kernel, 0.25), measure_response(kernel, 0.5)
    return low < MOST_LOW_RESPONSE and high > low**LEAST_EXPONENT
