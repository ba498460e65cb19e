"""Fit kernels to moments: parametric kernels, and free kernels close to a parametric one."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from crossnetpp.capture.kernels import FAMILIES, Family, locate_taps
from crossnetpp.capture.moments import Array, Moments

MOST_SHIFT = 1.0  # LR pixels; a larger shift is motion, not the capture
ROUNDS = 3  # number of alternating fits of the rows and the columns
ZOOMS = 4  # number of successively finer grids in the search for a width and a shift
GRID = 9  # number of widths, and of shifts, in each grid

# How far taps may deviate from the prior kernel, as a share of its largest tap; both are tried
FREEDOMS = (0.03, 0.1)
LEAST_NOISE = 1e-8  # smallest noise variance of luma in 0..1; even rounding causes far more
SMOOTHNESS = 0.35  # distance in LR pixels over which taps deviate from the prior together
ROUGHNESS = 0.02  # share of a deviation's variance that is independent for each tap


@dataclass(frozen=True)
class ParametricKernel:
    """A separable kernel of one family; widths and shifts are (rows, columns) in LR pixels."""

    family: str
    widths: tuple[float, float]
    shifts: tuple[float, float]
    rows: Array
    columns: Array

    @property
    def kernel(self) -> Array:
        """The kernel (4s x 4s)."""
        return np.outer(self.rows, self.columns)


def fit_parametric(moments: Moments, scale: int) -> ParametricKernel:
    """Return the kernel that fits the moments best, from any of the FAMILIES."""
    fits = [_fit_family(moments, scale, family) for family in FAMILIES]

    def measure_error(fit: ParametricKernel) -> float:
        return moments.sum_errors(fit.kernel, moments.fit_gain(fit.kernel))

    return min(fits, key=measure_error)


def _fit_family(moments: Moments, scale: int, family: Family) -> ParametricKernel:
    """Return the best kernel of a family, found by searching rows and columns in turn."""
    start = np.array([(family.narrowest * family.widest) ** 0.5])
    taps = [family.make(scale, start, np.zeros(1))[0] for _ in range(2)]
    found = [(float(start[0]), 0.0), (float(start[0]), 0.0)]
    for _ in range(ROUNDS):
        for axis in (0, 1):
            gram, cross = contract(moments, taps[1 - axis], axis)
            found[axis], taps[axis] = _search_axis(gram, cross, scale, family)
    (high, down), (wide, right) = found
    return ParametricKernel(family.name, (high, wide), (down, right), taps[0], taps[1])


def contract(moments: Moments, other: Array, axis: int) -> tuple[Array, Array]:
    """Return the moments of one axis of a separable kernel, given its taps along the other axis.

    `other` contains the given taps (4s); `axis` is 0 for the kernel's rows and 1 for its columns.
    The moments are the Gram matrix (4s x 4s) of the HR pixels and their cross products with LR
    (4s).
    """
    taps = len(other)
    gram = moments.gram.reshape(taps, taps, taps, taps)
    cross = moments.cross.reshape(taps, taps)
    if axis == 0:
        first = np.tensordot(gram, other, axes=(3, 0))
        return np.tensordot(first, other, axes=(1, 0)), cross @ other
    first = np.tensordot(gram, other, axes=(2, 0))
    return np.tensordot(other, first, axes=(0, 0)), other @ cross


def _search_axis(
    gram: Array, cross: Array, scale: int, family: Family
) -> tuple[tuple[float, float], Array]:
    """Return the best (width, shift) of one axis, and its taps.

    A grid of widths and shifts is searched, then finer and finer grids around the best point.
    """
    low, high = family.narrowest, family.widest
    left, right = -MOST_SHIFT, MOST_SHIFT
    for _ in range(ZOOMS):
        widths, shifts = np.meshgrid(np.geomspace(low, high, GRID), np.linspace(left, right, GRID))
        bank = family.make(scale, widths.ravel(), shifts.ravel())

        # With the best gain, a kernel k reduces the squared error by (k cross)^2 / (k gram k)
        along = np.maximum(bank @ cross, 0.0)
        gains = along**2 / np.maximum(np.einsum("bi,ij,bj->b", bank, gram, bank), 1e-12)
        best = int(np.argmax(gains))
        width, shift = float(widths.ravel()[best]), float(shifts.ravel()[best])

        ratio = (high / low) ** (1 / (GRID - 1))
        low = max(width / ratio, family.narrowest)
        high = min(width * ratio, family.widest)
        step = (right - left) / (GRID - 1)
        left, right = max(shift - step, -MOST_SHIFT), min(shift + step, MOST_SHIFT)
    return (width, shift), bank[best]


def fit_free(moments: Moments, prior: Array, freedom: float) -> Array:
    """Return the kernel (4s x 4s, sum 1) that explains the moments best but stays close to `prior`.

    It is the most probable kernel under two assumptions: the errors of `prior` are noise, and the
    taps deviate from `prior` smoothly. At the centre, they deviate by about `freedom` times the
    largest tap of `prior`, and farther out by less.
    """
    gain = max(moments.fit_gain(prior), 1e-6)
    noise = max(moments.sum_errors(prior, gain) / max(moments.count, 1), LEAST_NOISE)
    stiffness = _measure_stiffness(len(prior) // 4)
    held = noise / (freedom * float(np.abs(prior).max())) ** 2 * np.kron(stiffness, stiffness)

    flat = prior.ravel()
    gram = gain**2 * moments.gram
    miss = gain * moments.cross - gram @ flat
    step = _solve_zero_sum(gram + held, miss)
    return np.asarray((flat + step).reshape(prior.shape), np.float64)


def fit_separable(moments: Moments, prior: ParametricKernel, freedom: float) -> Array:
    """Return the separable kernel (4s x 4s, sum 1) that is best by the criterion of `fit_free`."""
    rows, columns = prior.rows, prior.columns
    gain = max(moments.fit_gain(prior.kernel), 1e-6)
    noise = max(moments.sum_errors(prior.kernel, gain) / max(moments.count, 1), LEAST_NOISE)
    stiffness = _measure_stiffness(len(rows) // 4)

    taps = [rows, columns]
    for _ in range(ROUNDS):
        for axis, start in ((0, rows), (1, columns)):
            gram, cross = contract(moments, taps[1 - axis], axis)
            gram = gain**2 * gram
            held = noise / (freedom * float(np.abs(start).max())) ** 2 * stiffness
            miss = gain * cross - gram @ start
            taps[axis] = start + _solve_zero_sum(gram + held, miss)
    return np.outer(taps[0], taps[1])


def _measure_stiffness(scale: int) -> Array:
    """Return the inverse covariance (4s x 4s) of the taps' deviations along one axis.

    Lenses, sensors and codecs blur smoothly, so neighbouring taps deviate by similar amounts.
    """
    place = locate_taps(scale)
    trust = 1 / (1 + place**2)
    apart = (place[:, None] - place[None]) / SMOOTHNESS
    alike = (1 - ROUGHNESS) * np.exp(-0.5 * apart**2) + ROUGHNESS * np.eye(len(place))
    return np.asarray(np.linalg.inv(trust[:, None] * alike * trust), np.float64)


def _solve_zero_sum(matrix: Array, right: Array) -> Array:
    """Return the vector x with sum 0 that minimises x^T matrix x / 2 - right^T x."""
    both = np.stack((right, np.ones_like(right)), axis=1)
    free, ones = np.linalg.solve(matrix, both).T
    return np.asarray(free - ones * (free.sum() / ones.sum()), np.float64)
