"""Moments of picture pairs, from which the error of any downscaling kernel is computed.

The squared error between LR luma and HR luma reduced by a kernel depends only on the products of
the HR pixels under the kernel with each other and with the LR pixel. These are summed once for each
part of the pictures. A fit then costs the same for one pair as for many, and a part can be left out
by subtracting its moments.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias, TypeVar, cast

import cv2
import numpy as np
from numpy.typing import NDArray

Array: TypeAlias = NDArray[np.float64]
Plane: TypeAlias = NDArray[np.float32]
Picture: TypeAlias = NDArray[np.uint8] | NDArray[np.uint16]
AnyPicture = TypeVar("AnyPicture", bound=Picture)

LUMA = np.array([0.299, 0.587, 0.114], np.float32)
NO_TERM = 1e-6  # fraction of a kernel's strongest term; weaker terms are rounding errors

MARGIN = 2  # LR pixels at each border, where the kernel would extend beyond the picture
LEAST_CLEAR = 1.5 / 255  # distance from black or white within which a level counts as clipped
FLAT = 1 / 255  # gradient per LR pixel below which a pixel reveals nothing about the kernel
AGREEMENT = 0.5  # largest squared error of a matching neighbourhood, as a share of its variance
NOISE = 2 / 255  # RMS error that is allowed in addition to AGREEMENT
GAINS = (0.25, 4.0)  # limits of the ratio of LR contrast to HR contrast
NEIGHBOURHOOD = 9  # LR pixels
CHUNK = 4096  # number of LR pixels gathered at a time


@dataclass(frozen=True)
class Moments:
    """Sums of products of LR pixels and the T = (4s)^2 HR pixels under the kernel at each of them.

    All values are relative to their means over the part of the pictures from which they were
    gathered. If moments are added, each part stays relative to its own means.
    """

    count: int
    """Number of LR pixels."""
    gram: Array
    """T x T: products of the HR pixels with each other."""
    cross: Array
    """T: products of the HR pixels with the LR pixel."""
    power: float
    """Sum of the squared LR pixels."""

    def __add__(self, other: Moments) -> Moments:
        return Moments(
            self.count + other.count,
            self.gram + other.gram,
            self.cross + other.cross,
            self.power + other.power,
        )

    def __sub__(self, other: Moments) -> Moments:
        return Moments(
            self.count - other.count,
            self.gram - other.gram,
            self.cross - other.cross,
            self.power - other.power,
        )

    def fit_gain(self, kernel: Array) -> float:
        """Return the gain by which to multiply a kernel for the best fit to the LR pixels.

        `kernel` has the shape T or 4s x 4s.
        """
        flat = kernel.ravel()
        return float(flat @ self.cross) / max(float(flat @ self.gram @ flat), 1e-12)

    def sum_errors(self, kernel: Array, gain: float) -> float:
        """Return the sum of squared errors of `gain` times a kernel (T, or 4s x 4s)."""
        flat = gain * kernel.ravel()
        return max(float(self.power - 2 * flat @ self.cross + flat @ self.gram @ flat), 0.0)


def get_luma(rgb: Picture) -> Plane:
    """Return the luma of a picture (H x W x 3, 8-bit or 16-bit RGB) in 0..1."""
    return np.asarray(rgb @ LUMA / np.float32(np.iinfo(rgb.dtype).max), np.float32)


def reduce_plane(plane: Plane, kernel: NDArray[np.floating]) -> Plane:
    """Return a plane (H x W) reduced by a kernel (4s x 4s); edge pixels are repeated outside it.

    The kernel is split into separable terms; most kernels have only one or two.
    """
    scale = len(kernel) // 4
    before = 3 * scale // 2  # taps before the first pixel that an LR pixel covers
    height, width = plane.shape[0] // scale, plane.shape[1] // scale
    border = cv2.BORDER_REPLICATE

    reduced = np.zeros((height, width), np.float32)
    rows, strengths, columns = np.linalg.svd(np.asarray(kernel, np.float64))
    for row, strength, column in zip(rows.T, strengths, columns, strict=True):
        if strength < NO_TERM * strengths[0]:
            break
        down = (strength * row).astype(np.float32)[:, None]
        across = column.astype(np.float32)[None]
        low = cv2.filter2D(plane, -1, down, anchor=(0, before), borderType=border)
        low = np.ascontiguousarray(low[: height * scale : scale])
        low = cv2.filter2D(low, -1, across, anchor=(before, 0), borderType=border)
        reduced += low[:, : width * scale : scale]
    return reduced


def reduce_picture(picture: AnyPicture, kernel: NDArray[np.floating]) -> AnyPicture:
    """Return a picture (H x W x 3) reduced by a kernel (4s x 4s), rounded to its data type."""
    planes = [reduce_plane(picture[..., c].astype(np.float32), kernel) for c in range(3)]
    top = np.iinfo(picture.dtype).max
    reduced = np.rint(np.stack(planes, axis=-1)).clip(0, top).astype(picture.dtype)
    return cast("AnyPicture", reduced)


def find_usable(lr: Picture, lr_luma: Plane, reduced: Plane) -> tuple[NDArray[np.bool_], float]:
    """Return a mask (h x w) of the LR pixels that reveal the kernel, and how well LR and HR agree.

    These pixels are away from the border, textured and not clipped, and their neighbourhood agrees
    with `reduced`, the reduced HR luma, except for contrast. The agreement is a share in 0..1: of
    the pixels that meet the first three conditions, it counts those that also meet the last.
    """
    full_scale = np.iinfo(lr.dtype).max
    clear = (lr.min(axis=2) >= LEAST_CLEAR * full_scale) & (
        lr.max(axis=2) <= (1 - LEAST_CLEAR) * full_scale
    )
    textured = measure_gradient(reduced) > FLAT

    detail, expected = _remove_mean(lr_luma), _remove_mean(reduced)
    gain = float((detail * expected).sum() / max(float((expected**2).sum()), 1e-9))
    error = _average((detail - np.clip(gain, *GAINS) * expected) ** 2)
    agrees = error <= AGREEMENT * _average(detail**2) + NOISE**2

    shown = np.asarray(clear & textured, np.bool_)
    shown[:MARGIN] = shown[-MARGIN:] = False
    shown[:, :MARGIN] = shown[:, -MARGIN:] = False
    usable = np.asarray(shown & agrees, np.bool_)
    return usable, float(usable.sum()) / max(int(shown.sum()), 1)


def measure_gradient(plane: Plane) -> Plane:
    """Return the magnitude of the gradient at each pixel of a plane (h x w)."""
    across = cv2.Sobel(plane, cv2.CV_32F, 1, 0, ksize=3, scale=1 / 8)
    down = cv2.Sobel(plane, cv2.CV_32F, 0, 1, ksize=3, scale=1 / 8)
    return np.asarray(np.hypot(across, down), np.float32)


def _average(plane: Plane) -> Plane:
    return np.asarray(cv2.blur(plane, (NEIGHBOURHOOD, NEIGHBOURHOOD)), np.float32)


def _remove_mean(plane: Plane) -> Plane:
    return plane - _average(plane)


def choose_pixels(usable: NDArray[np.bool_], reduced: Plane, most: int) -> NDArray[np.int64]:
    """Return the rows and columns (N x 2) of the usable LR pixels, at most `most` of them.

    If there are more, those with the strongest gradient in the reduced HR picture are kept. The
    gradient in the LR picture would favour noisy pixels.
    """
    places = np.argwhere(usable)
    if len(places) <= most:
        return places
    strength = measure_gradient(reduced)[usable]
    kept = np.sort(np.argpartition(-strength, most)[:most])
    return np.asarray(places[kept], np.int64)


def gather_moments(
    lr_luma: Plane, hr_luma: Plane, places: NDArray[np.int64], scale: int
) -> Moments:
    """Return the moments of the LR pixels at `places` (N x 2: row, column)."""
    taps = 4 * scale
    windows = np.lib.stride_tricks.sliding_window_view(hr_luma, (taps, taps))
    corners = places * scale - 3 * scale // 2
    middle = float(lr_luma.mean())

    gram = np.zeros((taps * taps, taps * taps))
    cross, total = np.zeros(taps * taps), np.zeros(taps * taps)
    power = lr_total = 0.0
    for start in range(0, len(places), CHUNK):
        part = slice(start, start + CHUNK)
        pixels = windows[corners[part, 0], corners[part, 1]].reshape(-1, taps * taps)
        under = pixels.astype(np.float64) - middle
        values = lr_luma[places[part, 0], places[part, 1]].astype(np.float64) - middle
        gram += under.T @ under
        cross += under.T @ values
        total += under.sum(axis=0)
        power += float(values @ values)
        lr_total += float(values.sum())

    count = max(len(places), 1)
    return Moments(
        len(places),
        gram - np.outer(total, total) / count,
        cross - total * (lr_total / count),
        power - lr_total**2 / count,
    )
