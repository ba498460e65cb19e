"""Pairs with synthetic parallax from photographs: up to four surfaces with known displacement."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from crossnetpp.data.layers import (
    Layer,
    compose_layers,
    find_inside,
    invert_displacement,
    make_pixel_grid,
    resample_cover,
    resample_picture,
)
from crossnetpp.data.sample import DataError, Pair, draw_crop_origin, read_rgb, shrink_picture

MAX_SHIFT = 36.0  # largest common shift in pixels if `motion` is 1
MAX_PARALLAX = 30.0  # largest parallax of the nearest surface in pixels if `motion` is 1
MIN_SIDE = 300  # pixels; smaller photographs are not used
SMALL_MOTION_SHARE = 0.35  # share of pairs that move an eighth as far, like neighbouring views
LARGE_MOTION_SHARE = 0.3  # share of pairs that move 2.4 times as far, like views of two cameras
CROP_MARGIN = 88  # pixels around a crop that motion can bring into view


def _draw_smooth_field(
    rng: np.random.Generator, size: int, amplitude: float
) -> NDArray[np.float32]:
    """Return size x size x 2 smooth random displacements of about `amplitude` pixels."""
    knots = int(rng.integers(2, 7))
    grid = rng.normal(0, amplitude / 2, (knots, knots, 2)).astype(np.float32)
    return np.asarray(
        cv2.resize(grid, (size, size), interpolation=cv2.INTER_CUBIC), dtype=np.float32
    ).reshape(size, size, 2)


def draw_displacement(rng: np.random.Generator, size: int, motion: float) -> NDArray[np.float32]:
    """Return random displacements (size x size x 2 pixels), as caused by a moving camera.

    They combine shift, rotation, zoom and smooth bending.
    """
    x, y = (axis - (size - 1) / 2 for axis in make_pixel_grid(size))
    turning = min(motion, 1.0)

    # Rotation and zoom about the centre
    angle = rng.normal(0, 0.035 * turning)
    zoom = np.exp(rng.normal(0, 0.05 * turning))
    cos = zoom * np.cos(angle) - 1
    sin = zoom * np.sin(angle)

    # Small shifts are as important as large ones, because neighbouring views and frames move little
    shift = rng.uniform(-1, 1, 2) * (3 + (MAX_SHIFT - 3) * motion) * rng.beta(1, 1.5)
    affine = np.stack((cos * x - sin * y + shift[0], sin * x + cos * y + shift[1]), axis=-1)

    bending = _draw_smooth_field(rng, size, float(rng.uniform(0, 5) * turning))
    return np.asarray(affine + bending, dtype=np.float32)


def _draw_cover(rng: np.random.Generator, size: int) -> NDArray[np.float32]:
    """Return a size x size cover in 0..1 with smooth random shapes and soft edges.

    The shapes fill a fifth to a half of the area.
    """
    knots = int(rng.integers(3, 9))
    noise = cv2.resize(
        rng.normal(0, 1, (knots, knots)).astype(np.float32),
        (size, size),
        interpolation=cv2.INTER_CUBIC,
    )
    mask = (noise > np.quantile(noise, rng.uniform(0.5, 0.8))).astype(np.float32)
    return np.asarray(cv2.GaussianBlur(mask, (0, 0), 0.7), dtype=np.float32)


class Photographs:
    """Source of pairs with known flow, synthesised from still photographs."""

    def __init__(self, paths: list[Path], shrink: tuple[float, ...] = (1.0, 0.6)) -> None:
        """Read the photographs, and scale each by every factor in `shrink`.

        Results with a side below MIN_SIDE are left out. Raises DataError if a photograph cannot be
        read, or if no result remains.
        """
        self.images = [
            shrink_picture(image, factor)
            for image in map(read_rgb, paths)
            for factor in shrink
            if min(image.shape[:2]) * factor >= MIN_SIDE
        ]
        if not self.images:
            raise DataError(
                f"found no photograph of at least {MIN_SIDE}x{MIN_SIDE} (tried {len(paths)}); "
                "use larger photographs"
            )

    def _draw_patch(self, rng: np.random.Generator, size: int) -> NDArray[np.uint8]:
        """Return a random, rotated square of `size` x `size` pixels with a margin on all sides.

        The margin is CROP_MARGIN, or less if the photograph is too small for that. Raises DataError
        if every photograph is smaller than `size` x `size`.
        """
        fitting = [image for image in self.images if min(image.shape[:2]) >= size]
        if not fitting:
            raise DataError(f"found no photograph of at least {size}x{size}; try smaller crops")
        image = fitting[int(rng.integers(len(fitting)))]

        margin = min(CROP_MARGIN, (min(image.shape[:2]) - size) // 2)
        side = size + 2 * margin
        row, col = draw_crop_origin(rng, image.shape[0], image.shape[1], side)
        patch = image[row : row + side, col : col + side]
        return np.ascontiguousarray(np.rot90(patch, int(rng.integers(4))))

    def draw(self, rng: np.random.Generator, size: int, motion: float) -> Pair:
        """Return a pair of which one picture is resampled; half of the pairs show 2 to 4 surfaces.

        All surfaces share the camera's rotation, zoom and shift. Parallax grows from the farthest
        surface to the nearest, and every surface but the farthest also bends on its own. If
        `motion` is 1, shifts reach MAX_SHIFT and parallax reaches MAX_PARALLAX; some pairs move an
        eighth as far, and some 2.4 times as far.
        """
        kind = rng.random()
        if kind < SMALL_MOTION_SHARE:
            motion *= 0.12
        elif kind > 1 - LARGE_MOTION_SHARE:
            motion *= 2.4

        # Camera and depths
        depths = int(rng.integers(2, 5)) if rng.random() < 0.5 else 1
        swap = bool(rng.random() < 0.5)
        camera = draw_displacement(rng, size, motion)
        reach = 4 + (MAX_PARALLAX - 4) * motion
        parallax = rng.uniform(-reach, reach, 2)
        nearness = np.sort(rng.uniform(0.1, 1, depths - 1))

        # Surfaces from the farthest to the nearest
        layers = [self._make_layer(rng, size, camera, swap=swap, opaque=True)]
        for near in nearness:
            bending = _draw_smooth_field(rng, size, float(rng.uniform(0, 3) * motion))
            displacement = np.asarray(camera + parallax * near + bending, dtype=np.float32)
            layers.append(self._make_layer(rng, size, displacement, swap=swap, opaque=False))
        return compose_layers(layers)

    def _make_layer(
        self,
        rng: np.random.Generator,
        size: int,
        displacement: NDArray[np.float32],
        *,
        swap: bool,
        opaque: bool,
    ) -> Layer:
        """Return a surface that is displaced in the reference, or in the target if `swap` is set.

        An `opaque` surface covers the whole picture; others have a random shape.
        """
        patch = self._draw_patch(rng, size)
        side = patch.shape[0]
        margin = (side - size) // 2
        centre = np.s_[margin : margin + size, margin : margin + size]
        still = patch[centre]
        moved = resample_picture(patch, displacement)

        if opaque:
            still_cover = moved_cover = np.ones((size, size), np.float32)
        else:
            cover = _draw_cover(rng, side)
            still_cover = cover[centre]
            moved_cover = resample_cover(cover, displacement)

        if swap:
            # moved(x) = still(x + displacement), so in this direction the flow is the displacement
            known = find_inside(side, displacement)
            flow = np.where(known[..., None], displacement, np.float32(np.nan))
            return Layer(moved, still, flow, moved_cover, still_cover)
        flow = invert_displacement(displacement)
        return Layer(still, moved, flow, still_cover, moved_cover)
