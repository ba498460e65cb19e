"""A grade: the colours of an edited picture as a smooth, local function of the original's colours.

A colourist bends the channels, mixes them, and darkens or tints regions of the picture. In this
model, a curve for each channel does the bending, and a matrix does the mixing. An affine map of the
colours, which varies over the picture as a cubic spline, changes the regions. All three are fitted
by robust least squares: places that fit badly hardly count, because anything painted into the
picture is not part of the grade.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from math import log10

import cv2
import numpy as np
from numpy.typing import NDArray

from crossnetpp.capture.colour import (
    Array,
    ColourTransform,
    Picture,
    fit_transform,
    transform_colours,
)

Planes = NDArray[np.float32]

ROWS, COLUMNS = 4, 6  # intervals of the spline along each axis
BLUR = 5  # pixels over which colours are averaged before they are compared
MOST_SAMPLES = 4_000
FEWEST_SAMPLES = 200
EDGES = 0.8  # share of the places that are compared; those at the strongest edges are left out
TURNS = 3  # alternations between fitting the global and the local part
ROUNDS = 3  # reweighted fits of the local part in each turn
LEAST_WEIGHT = 0.3  # places below this weight do not affect the curves and the matrix
LEAST_DETERMINANT = 0.05  # local maps with a smaller determinant are not inverted
STIFFNESS = 0.03  # weight of the spline's bends relative to its errors
HOLD = 1e-4  # penalty on any change of the colours
DIGITS = 6  # decimal places of a grade's numbers; further ones would depend on the processor

LEAST_ERROR = 1.0 / 255  # if the RMS difference between the pictures is smaller, there is no grade
LEAST_GAIN = 1.0  # dB by which a grade must bring the pictures closer


@dataclass(frozen=True)
class Grade:
    """Curves and a matrix for the whole picture, then an affine map that varies over it."""

    transform: ColourTransform
    local: Array
    """(ROWS + 3) x (COLUMNS + 3) x 3 x 4: coefficients of the spline. Its values are 3 x 4 matrices
    that map (red, green, blue, 1) to the change of red, green and blue."""

    def apply(self, picture: Picture) -> Planes:
        """Return a picture (h x w x 3 of 8 or 16 bits) with the grade applied.

        The result is scaled so that white is 1, and not clipped.
        """
        height, width = picture.shape[:2]
        mixed = transform_colours(picture, self.transform)
        change = np.tensordot(_make_basis(height, ROWS), self.local, (1, 0))
        graded = mixed.copy()
        across = _make_basis(width, COLUMNS).T.astype(np.float32)
        for out in range(3):
            for source in range(4):
                plane = change[..., out, source].astype(np.float32) @ across
                graded[..., out] += plane if source == 3 else plane * mixed[..., source]
        return np.asarray(graded, np.float32)


def estimate_grade(
    original: Picture, edited: Picture, seen: NDArray[np.bool_] | None = None
) -> Grade | None:
    """Return the grade from `original` to `edited`.

    Both are 8-bit or 16-bit RGB (h x w x 3) of the same scene. `seen` (h x w) is True where the
    edited picture has content; None means everywhere. The result is None if the colours already
    agree, if a grade explains too little, or if there are too few usable places.
    """
    places, before, after = _sample(original, edited, seen)
    if len(places) < FEWEST_SAMPLES:
        return None
    plain_db = _measure(before - after)
    if plain_db > -20 * log10(LEAST_ERROR):
        return None

    target, size = after, original.shape[:2]
    weights: Array = np.ones(len(places))
    for turn in range(TURNS):
        kept = weights > LEAST_WEIGHT
        transform = fit_transform(before[kept], target[kept])
        transform = ColourTransform(transform.curves.round(DIGITS), transform.matrix.round(DIGITS))
        mixed = transform.apply(before)
        if turn == 0:
            weights = _weigh(after - mixed, redescends=False)
        local, weights = _fit_local(places, size, mixed, after, weights)
        maps = _find_maps(places, size, local)
        target = _undo_maps(maps, after, mixed)

    found = mixed + np.einsum("nij,nj->ni", maps[..., :3], mixed) + maps[..., 3]
    if _measure(found - after) < plain_db + LEAST_GAIN:
        return None
    return Grade(transform, local)


def _sample(
    original: Picture, edited: Picture, seen: NDArray[np.bool_] | None
) -> tuple[NDArray[np.int64], Array, Array]:
    """Return N smooth places (N x 2: row, column), and the two pictures' colours there.

    The colours are N x 3 in 0..1.
    """
    near, far = (
        np.asarray(cv2.blur(_to_unit(picture), (BLUR, BLUR)), np.float32)
        for picture in (original, edited)
    )
    luma = near.mean(axis=2)
    steepness = np.hypot(cv2.Sobel(luma, cv2.CV_32F, 1, 0), cv2.Sobel(luma, cv2.CV_32F, 0, 1))
    usable = steepness <= np.quantile(steepness, EDGES)
    if seen is not None:
        usable &= cv2.erode(seen.astype(np.uint8), np.ones((BLUR, BLUR), np.uint8)) > 0
    places = np.argwhere(usable)
    # Random, because places at regular intervals could line up along the picture's columns
    order = np.random.default_rng(0).permutation(len(places))[:MOST_SAMPLES]
    places = places[np.sort(order)]
    rows, columns = places.T
    return places, near[rows, columns].astype(np.float64), far[rows, columns].astype(np.float64)


def _to_unit(picture: Picture) -> Planes:
    return np.asarray(picture, np.float32) / np.float32(np.iinfo(picture.dtype).max)


def _measure(errors: Array) -> float:
    """Return the PSNR in dB that corresponds to `errors` (N x 3), without the worst tenth."""
    squared = np.square(errors).mean(axis=1)
    kept = squared[squared <= np.quantile(squared, 0.9)]
    return -10 * log10(max(float(kept.mean()), 1e-12))


@lru_cache(maxsize=8)
def _make_basis(length: int, intervals: int) -> Array:
    """Return uniform cubic B-splines at `length` pixel centres, length x (intervals + 3)."""
    at = (np.arange(length) + 0.5) / length * intervals
    first = np.minimum(at.astype(np.int64), intervals - 1)
    t = at - first
    weights = np.stack(
        (
            (1 - t) ** 3 / 6,
            (3 * t**3 - 6 * t**2 + 4) / 6,
            (-3 * t**3 + 3 * t**2 + 3 * t + 1) / 6,
            t**3 / 6,
        ),
        axis=1,
    )
    basis = np.zeros((length, intervals + 3))
    for number in range(4):
        basis[np.arange(length), first + number] = weights[:, number]
    return basis


def _make_design(places: NDArray[np.int64], size: tuple[int, int], colours: Array) -> Array:
    """Return the design matrix (N x T): each basis function times red, green, blue and 1.

    N is the number of places, and T is four times the number of basis functions.
    """
    down = _make_basis(size[0], ROWS)[places[:, 0]]
    across = _make_basis(size[1], COLUMNS)[places[:, 1]]
    values = np.column_stack((colours, np.ones(len(colours))))
    products = np.einsum("nr,nc,nv->nrcv", down, across, values, optimize=True)
    return np.asarray(products.reshape(len(colours), -1), np.float64)


@lru_cache(maxsize=1)
def _make_penalty() -> Array:
    """Return the quadratic penalty (T x T) on bends of the spline and on any change of colours."""

    def bend(count: int) -> Array:
        differences = np.diff(np.eye(count), 2, axis=0)
        return np.asarray(differences.T @ differences, np.float64)

    rows, columns = ROWS + 3, COLUMNS + 3
    bends = np.kron(bend(rows), np.eye(columns)) + np.kron(np.eye(rows), bend(columns))
    held = STIFFNESS * bends + HOLD * np.eye(rows * columns)
    return np.asarray(np.kron(held, np.eye(4)) / (rows * columns), np.float64)


def _fit_local(
    places: NDArray[np.int64], size: tuple[int, int], mixed: Array, after: Array, weights: Array
) -> tuple[Array, Array]:
    """Return the coefficients of the spline, and the final weight of each place.

    The fit starts with `weights` and repeatedly lowers the weights of places that fit badly.
    """
    design = _make_design(places, size, mixed)
    missing = after - mixed
    penalty = len(places) * _make_penalty()

    change = np.zeros((design.shape[1], 3))
    for _ in range(ROUNDS):
        weighted = design * weights[:, None]
        gram = weighted.T @ design + weights.mean() * penalty
        change = np.linalg.solve(gram, weighted.T @ missing)
        weights = _weigh(missing - design @ change, redescends=True)
    shaped = change.T.reshape(3, ROWS + 3, COLUMNS + 3, 4)
    return np.asarray(shaped.transpose(1, 2, 0, 3), np.float64).round(DIGITS), weights


def _find_maps(places: NDArray[np.int64], size: tuple[int, int], local: Array) -> Array:
    """Return the affine map at each place, N x 3 x 4."""
    down = _make_basis(size[0], ROWS)[places[:, 0]]
    across = _make_basis(size[1], COLUMNS)[places[:, 1]]
    return np.asarray(np.einsum("nr,nc,rcij->nij", down, across, local, optimize=True), np.float64)


def _undo_maps(maps: Array, after: Array, mixed: Array) -> Array:
    """Return the colours (N x 3) from which the local maps would produce the edited colours.

    Where a map is almost singular, the result is `mixed`, the current output of the curves and the
    matrix.
    """
    linear = np.eye(3) + maps[..., :3]
    is_sound = np.linalg.det(linear) > LEAST_DETERMINANT
    linear[~is_sound] = np.eye(3)
    undone = np.linalg.solve(linear, (after - maps[..., 3])[..., None])[..., 0]
    return np.where(is_sound[:, None], undone.clip(-0.5, 1.5), mixed)


def _weigh(errors: Array, *, redescends: bool) -> Array:
    """Return the weight of each place, which is about 1 for small errors and less for large ones.

    Huber weights fall slowly. Redescending weights fall to almost 0, so that a painted part of the
    picture does not bend the spline at all (Geman and McClure, 1987).
    """
    size = np.sqrt(np.square(errors).mean(axis=1))
    usual = 2 * float(np.median(size)) + 1e-3
    if redescends:
        return np.asarray(1 / (1 + (size / (2 * usual)) ** 2) ** 2, np.float64)
    return np.asarray(np.minimum(1.0, usual / np.maximum(size, 1e-9)), np.float64)
