"""Photographs with synthetic parallax: up to four surfaces in depth, each moved by a known map."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from crossnetpp.data.layers import (
    Layer,
    inverse,
    pixel_grid,
    resample,
    resample_cover,
    stack,
    within,
)
from crossnetpp.data.sample import DataError, Pair, crop_origin, read_rgb, shrunk

LARGEST_SHIFT = 36.0
"""Pixels of common displacement at the end of the curriculum."""
LARGEST_PARALLAX = 30.0
"""Pixels by which the nearest surface moves against the farthest at the end of the curriculum."""
SMALLEST_SIDE = 300
"""Pixels; photographs shrunk below that are not used."""
CALM = 0.35
"""Share of pairs that move an eighth as far, as neighbouring views and frames do."""
WIDE = 0.3
"""Share of pairs that move 2.4 times as far, as those of a second camera do."""
MARGIN = 88
"""Pixels around a crop from which motion brings something in."""


def _smooth_field(rng: np.random.Generator, size: int, amplitude: float) -> NDArray[np.float32]:
    """Return size x size x 2 smooth random displacements of about `amplitude` pixels."""
    knots = int(rng.integers(2, 7))
    grid = rng.normal(0, amplitude / 2, (knots, knots, 2)).astype(np.float32)
    return np.asarray(
        cv2.resize(grid, (size, size), interpolation=cv2.INTER_CUBIC), dtype=np.float32
    ).reshape(size, size, 2)


def random_displacement(rng: np.random.Generator, size: int, motion: float) -> NDArray[np.float32]:
    """Return size x size x 2 displacements in pixels: shift, rotation, zoom and bending."""
    x, y = (axis - (size - 1) / 2 for axis in pixel_grid(size))
    turning = min(motion, 1.0)
    angle = rng.normal(0, 0.035 * turning)
    zoom = np.exp(rng.normal(0, 0.05 * turning))
    cos, sin = zoom * np.cos(angle) - 1, zoom * np.sin(angle)
    # Small shifts matter as much as large ones: neighbouring views and frames move little.
    shift = rng.uniform(-1, 1, 2) * (3 + (LARGEST_SHIFT - 3) * motion) * rng.beta(1, 1.5)
    affine = np.stack((cos * x - sin * y + shift[0], sin * x + cos * y + shift[1]), axis=-1)
    bending = _smooth_field(rng, size, float(rng.uniform(0, 5) * turning))
    return np.asarray(affine + bending, dtype=np.float32)


def _blob(rng: np.random.Generator, size: int) -> NDArray[np.float32]:
    """Return size x size cover in 0..1 of smooth random shapes: a fifth to a half, soft edges."""
    knots = int(rng.integers(3, 9))
    noise = cv2.resize(
        rng.normal(0, 1, (knots, knots)).astype(np.float32),
        (size, size),
        interpolation=cv2.INTER_CUBIC,
    )
    mask = (noise > np.quantile(noise, rng.uniform(0.5, 0.8))).astype(np.float32)
    return np.asarray(cv2.GaussianBlur(mask, (0, 0), 0.7), dtype=np.float32)


class Photographs:
    """Draw pairs from still photographs; the flow between the two is known."""

    def __init__(self, paths: list[Path], shrink: tuple[float, ...] = (1.0, 0.6)) -> None:
        """Read each photograph at each size of `shrink`; raises DataError if none is left."""
        self.images = [
            shrunk(image, factor)
            for image in map(read_rgb, paths)
            for factor in shrink
            if min(image.shape[:2]) * factor >= SMALLEST_SIDE
        ]
        if not self.images:
            raise DataError(
                f"found no photograph of {SMALLEST_SIDE} pixels along both sides "
                f"among {len(paths)}; give larger ones"
            )

    def _patch(self, rng: np.random.Generator, size: int) -> NDArray[np.uint8]:
        """Return a square of `size` pixels and as much of a margin around them as there is."""
        fitting = [image for image in self.images if min(image.shape[:2]) >= size]
        if not fitting:
            raise DataError(f"found no photograph of {size}x{size}; try smaller crops")
        image = fitting[int(rng.integers(len(fitting)))]
        # an even margin, the same on all sides
        margin = min(MARGIN, (min(image.shape[:2]) - size) // 2)
        side = size + 2 * margin
        row, col = crop_origin(rng, image.shape[0], image.shape[1], side)
        patch = image[row : row + side, col : col + side]
        return np.ascontiguousarray(np.rot90(patch, int(rng.integers(4))))

    def draw(self, rng: np.random.Generator, size: int, motion: float) -> Pair:
        """Return a pair of which one side is resampled; half show 2 to 4 surfaces in depth.

        A camera's turn, zoom and shift are common to all; parallax grows from the farthest surface
        to the nearest, and each bends on its own. At `motion` 1 shifts go to 36 pixels, parallax
        to 30; some pairs move much less or much more.
        """
        kind = rng.random()
        motion *= 0.12 if kind < CALM else 2.4 if kind > 1 - WIDE else 1.0
        depths = int(rng.integers(2, 5)) if rng.random() < 0.5 else 1
        swap = bool(rng.random() < 0.5)
        camera = random_displacement(rng, size, motion)
        reach = 4 + (LARGEST_PARALLAX - 4) * motion
        parallax = rng.uniform(-reach, reach, 2)
        nearness = np.sort(rng.uniform(0.1, 1, depths - 1))
        layers = [self._layer(rng, size, camera, swap=swap, covers_all=True)]
        for near in nearness:
            bending = _smooth_field(rng, size, float(rng.uniform(0, 3) * motion))
            moved = np.asarray(camera + parallax * near + bending, dtype=np.float32)
            layers.append(self._layer(rng, size, moved, swap=swap, covers_all=False))
        return stack(layers)

    def _layer(
        self,
        rng: np.random.Generator,
        size: int,
        displacement: NDArray[np.float32],
        *,
        swap: bool,
        covers_all: bool,
    ) -> Layer:
        """Return a surface that is resampled in the reference, or in the target if `swap`."""
        patch = self._patch(rng, size)
        side = patch.shape[0]
        margin = (side - size) // 2
        middle = np.s_[margin : margin + size, margin : margin + size]
        still, moved = patch[middle], resample(patch, displacement)
        if covers_all:
            still_cover = moved_cover = np.ones((size, size), np.float32)
        else:
            cover = _blob(rng, side)
            still_cover, moved_cover = cover[middle], resample_cover(cover, displacement)
        if swap:
            # moved(x) = still(x + displacement): this way round the flow needs no inverse
            known = within(side, displacement)
            flow = np.where(known[..., None], displacement, np.float32(np.nan))
            return Layer(moved, still, flow, moved_cover, still_cover)
        return Layer(still, moved, inverse(displacement), still_cover, moved_cover)
