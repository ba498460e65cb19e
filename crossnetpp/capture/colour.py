"""LR colours as a function of HR colours: one curve for each channel, then a matrix.

A different exposure, tone curve or range changes each channel by itself; a different YCbCr matrix,
white balance or sensor mixes the channels. The curves and the matrix are fitted to pictures of one
instant, which are blurred so strongly that the downscaling kernel hardly matters. A transform is
kept only if it also explains pictures that were left out of its fit.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import log10
from typing import TypeAlias

import cv2
import numpy as np
from numpy.typing import NDArray

Array: TypeAlias = NDArray[np.float64]
Picture: TypeAlias = NDArray[np.uint8] | NDArray[np.uint16]

KNOTS = 17  # per curve, evenly spaced from black to white
BLUR = 5  # LR pixels over which colours are averaged before they are compared
MOST_SAMPLES = 6_000  # per pair
SMOOTHNESS = 0.05  # weight of a curve's bends relative to its errors
ROUNDS = 3  # number of reweighted fits, and of alternations between curves and matrix
EDGES = 0.8  # share of the pixels that are compared; those at the strongest edges are left out

OUTLIERS = 0.1  # share of the samples that a comparison leaves out: the worst ones
CLIPPED = 2.5 / 255  # distance from black or white within which a level counts as clipped
FEWEST_SAMPLES = 200
UNSEEN = 1e-5  # weight that keeps colours without samples unchanged

LEAST_ERROR = 1.0 / 255  # if the RMS error without a transform is smaller, none is needed
LEAST_GAIN = 1.0  # dB by which a transform must be better than none
LEAST_FURTHER_GAIN = 0.5  # dB by which a more complex transform must be better than a simpler one


@dataclass(frozen=True)
class ColourTransform:
    """A transform of RGB in 0..1: an increasing curve for each channel, then a matrix."""

    curves: Array
    """3 x KNOTS: the output of each channel's curve at evenly spaced input levels."""
    matrix: Array
    """3 x 3, applied to column vectors of red, green and blue."""

    def apply(self, rgb: Array) -> Array:
        """Return HR colours `rgb` (... x 3 in 0..1) as LR would show them, not clipped."""
        levels = np.linspace(0, 1, self.curves.shape[1])
        bent = [np.interp(rgb[..., c], levels, self.curves[c]) for c in range(3)]
        return np.asarray(np.stack(bent, axis=-1) @ self.matrix.T, np.float64)


def make_plain_transform() -> ColourTransform:
    """Return the transform that changes nothing."""
    return ColourTransform(np.tile(np.linspace(0, 1, KNOTS), (3, 1)), np.eye(3))


def transform_colours(rgb: Picture, transform: ColourTransform) -> NDArray[np.float32]:
    """Return a picture (H x W x 3 RGB of 8 or 16 bits) with its colours transformed.

    The result is scaled so that white is 1, and not clipped.
    """
    limit = int(np.iinfo(rgb.dtype).max)
    levels = np.arange(limit + 1) / limit
    knots = np.linspace(0, 1, transform.curves.shape[1])
    tables = [np.interp(levels, knots, curve).astype(np.float32) for curve in transform.curves]
    bent = np.stack([tables[c][rgb[..., c]] for c in range(3)], axis=-1)
    return np.asarray(cv2.transform(bent, transform.matrix.astype(np.float32)), np.float32)


def transform_picture(rgb: Picture, transform: ColourTransform) -> Picture:
    """Return a picture (H x W x 3 RGB of 8 or 16 bits) with its colours transformed.

    The result has the type of `rgb`; its values are rounded and clipped.
    """
    limit = int(np.iinfo(rgb.dtype).max)
    levels_out = (transform_colours(rgb, transform) * limit).round().clip(0, limit)
    if rgb.dtype == np.uint8:
        return np.asarray(levels_out, np.uint8)
    return np.asarray(levels_out, np.uint16)


def estimate_colour(pairs: Sequence[tuple[Picture, Picture]]) -> ColourTransform | None:
    """Return the transform from HR colours to LR colours.

    Each pair is LR (h x w x 3) and HR (H x W x 3) RGB of one instant. The result is None if the
    colours already agree, if no transform makes them agree better, or if too few pixels are usable.
    """
    parts = [part for lr, hr in pairs for part in _sample_colours(lr, hr, len(pairs))]
    if len(parts) < 2:
        return None

    plain = make_plain_transform()
    plain_db = _compare(parts, lambda _: plain)
    if plain_db > -20 * log10(LEAST_ERROR):
        return None

    found, found_db, least = None, plain_db, LEAST_GAIN
    for fit in (_fit_curves_alone, _fit_matrix_alone, _fit_both):
        fitted_db = _compare(parts, fit)
        if fitted_db > found_db + least:
            found, found_db, least = fit(_join(parts)), fitted_db, LEAST_FURTHER_GAIN
    return found


def fit_transform(source: Array, target: Array) -> ColourTransform:
    """Return the curves and the matrix that map `source` most closely to `target`.

    Both are colours at the same N places, N x 3 in 0..1. Places that fit badly have less weight.
    """
    return _fit_both(_Samples(source, target))


@dataclass(frozen=True)
class _Samples:
    """Colours of N pixels in HR and in LR, each N x 3 in 0..1."""

    hr: Array
    lr: Array


def _join(parts: Sequence[_Samples]) -> _Samples:
    return _Samples(
        np.concatenate([part.hr for part in parts]), np.concatenate([part.lr for part in parts])
    )


def _sample_colours(lr: Picture, hr: Picture, pairs: int) -> list[_Samples]:
    """Return the colours of a pair at smooth, unclipped pixels, without parts that are too small.

    The pixels form one part, or two if `pairs`, the number of all pairs, is 1.
    """
    size = (lr.shape[1], lr.shape[0])
    small = cv2.resize(hr, size, interpolation=cv2.INTER_AREA)
    near, far = (
        np.asarray(picture, np.float32) / np.float32(np.iinfo(lr.dtype).max)
        for picture in (lr, small)
    )
    clear = (near.min(axis=2) > CLIPPED) & (near.max(axis=2) < 1 - CLIPPED)
    near, far = (np.asarray(cv2.blur(picture, (BLUR, BLUR)), np.float32) for picture in (near, far))
    luma = far.mean(axis=2)
    steepness = np.hypot(cv2.Sobel(luma, cv2.CV_32F, 1, 0), cv2.Sobel(luma, cv2.CV_32F, 0, 1))

    usable = clear & (steepness <= np.quantile(steepness, EDGES))
    usable[:BLUR] = usable[-BLUR:] = False
    usable[:, :BLUR] = usable[:, -BLUR:] = False
    places = np.argwhere(usable)
    places = places[:: max(1, len(places) // MOST_SAMPLES)]

    # A single pair is cut in two, so that one half can be left out
    halves = np.array_split(places[np.argsort(places[:, 1], kind="stable")], 1 + (pairs < 2))
    return [
        _Samples(
            far[half[:, 0], half[:, 1]].astype(np.float64),
            near[half[:, 0], half[:, 1]].astype(np.float64),
        )
        for half in halves
        if len(half) >= FEWEST_SAMPLES
    ]


def _compare(parts: Sequence[_Samples], fit: Callable[[_Samples], ColourTransform]) -> float:
    """Return the cross-validated PSNR in dB of the transforms that `fit` returns.

    Each transform is fitted to all parts but one, and tested on that one. The worst tenth of the
    samples, where something may have moved, is left out.
    """
    errors = []
    for number, part in enumerate(parts):
        transform = fit(_join([*parts[:number], *parts[number + 1 :]]))
        errors.append(((transform.apply(part.hr) - part.lr) ** 2).mean(axis=1))
    joined = np.concatenate(errors)
    kept = joined[joined <= np.quantile(joined, 1 - OUTLIERS)]
    return -10 * log10(max(float(kept.mean()), 1e-12))


def _fit_curves_alone(samples: _Samples) -> ColourTransform:
    return ColourTransform(_fit_curves(samples.hr, samples.lr), np.eye(3))


def _fit_matrix_alone(samples: _Samples) -> ColourTransform:
    plain = make_plain_transform()
    return ColourTransform(plain.curves, _fit_matrix(samples.hr, samples.lr))


def _fit_both(samples: _Samples) -> ColourTransform:
    """Return curves and a matrix, fitted alternately, each with the other held fixed."""
    matrix = np.eye(3)
    for _ in range(ROUNDS):
        # The matrix must map the output of the curves to LR
        curves = _fit_curves(samples.hr, samples.lr @ np.linalg.pinv(matrix).T)
        bent = ColourTransform(curves, np.eye(3)).apply(samples.hr)
        matrix = _fit_matrix(bent, samples.lr)
    return ColourTransform(curves, matrix)


def _fit_curves(hr: Array, lr: Array) -> Array:
    return np.stack([_fit_curve(hr[:, c], lr[:, c]) for c in range(3)])


def _fit_curve(hr: Array, lr: Array) -> Array:
    """Return the values at the knots of a smooth, increasing curve from `hr` to `lr` (N each).

    Where there are no samples, the curve is extrapolated smoothly.
    """
    place = hr.clip(0, 1) * (KNOTS - 1)
    below = np.minimum(place.astype(np.int64), KNOTS - 2)
    share = place - below

    bends = np.diff(np.eye(KNOTS), 2, axis=0)
    held = len(hr) * (SMOOTHNESS * bends.T @ bends + UNSEEN * np.eye(KNOTS))
    change: Array = np.zeros(KNOTS)
    weights: Array = np.ones(len(hr))
    for _ in range(ROUNDS):
        gram, cross = _sum_products(below, share, weights, lr - hr)
        change = np.asarray(np.linalg.solve(gram + held, cross), np.float64)
        weights = _weigh(lr - hr - (1 - share) * change[below] - share * change[below + 1])
    return np.asarray(np.maximum.accumulate(np.linspace(0, 1, KNOTS) + change), np.float64)


def _sum_products(
    below: NDArray[np.int64], share: Array, weights: Array, values: Array
) -> tuple[Array, Array]:
    """Return the normal equations of a curve that is linear between its knots.

    The result is the matrix (KNOTS x KNOTS) and the right-hand side (KNOTS).
    """

    def add_up(addends: Array) -> Array:
        return np.asarray(np.bincount(below, weights * addends, KNOTS), np.float64)

    gram = np.diag(add_up((1 - share) ** 2))
    gram[1:, 1:] += np.diag(add_up(share**2)[:-1])
    beside = np.diag(add_up((1 - share) * share)[:-1], 1)
    cross = add_up((1 - share) * values)
    cross[1:] += add_up(share * values)[:-1]
    return gram + beside + beside.T, cross


def _fit_matrix(hr: Array, lr: Array) -> Array:
    """Return the 3 x 3 matrix that maps `hr` to `lr` (N x 3 each).

    It does not change colours that no sample shows.
    """
    weights = np.ones(len(hr))
    for _ in range(ROUNDS):
        gram = np.einsum("n,ni,nj->ij", weights, hr, hr)
        cross = np.einsum("n,ni,nj->ij", weights, hr, lr - hr)
        change = np.linalg.solve(gram + UNSEEN * len(hr) * np.eye(3), cross)
        matrix = np.eye(3) + change.T
        weights = _weigh(np.abs(lr - hr @ matrix.T).max(axis=1))
    return np.asarray(matrix, np.float64)


def _weigh(errors: Array) -> Array:
    """Return Huber weights: 1 for errors up to about twice the median, falling for larger ones."""
    usual = 2 * float(np.median(np.abs(errors))) + 1e-4
    return np.asarray(np.minimum(1.0, usual / np.maximum(np.abs(errors), 1e-9)), np.float64)
