"""Photographs with synthetic parallax: two layers, each moved by a known smooth map."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from crossnetpp.data.sample import Pair, crop_origin, read_rgb

LARGEST_SHIFT = 36.0
"""Pixels of common displacement at the end of the curriculum."""


def _smooth_field(rng: np.random.Generator, size: int, amplitude: float) -> NDArray[np.float32]:
    """Return size x size x 2 smooth random displacements of about `amplitude` pixels."""
    knots = int(rng.integers(2, 7))
    grid = rng.normal(0, amplitude / 2, (knots, knots, 2)).astype(np.float32)
    return np.asarray(
        cv2.resize(grid, (size, size), interpolation=cv2.INTER_CUBIC), dtype=np.float32
    ).reshape(size, size, 2)


def random_displacement(rng: np.random.Generator, size: int, motion: float) -> NDArray[np.float32]:
    """Return size x size x 2 displacements in pixels: shift, rotation, zoom and bending."""
    y, x = np.mgrid[:size, :size].astype(np.float32) - (size - 1) / 2
    angle = rng.normal(0, 0.035 * motion)
    zoom = np.exp(rng.normal(0, 0.05 * motion))
    cos, sin = zoom * np.cos(angle) - 1, zoom * np.sin(angle)
    # Small shifts matter as much as large ones: neighbouring views and frames move little.
    shift = rng.uniform(-1, 1, 2) * (3 + (LARGEST_SHIFT - 3) * motion) * rng.beta(1, 1.5)
    affine = np.stack((cos * x - sin * y + shift[0], sin * x + cos * y + shift[1]), axis=-1)
    bending = _smooth_field(rng, size, float(rng.uniform(0, 5) * motion))
    return np.asarray(affine + bending, dtype=np.float32)


def _resample(image: NDArray[np.uint8], displacement: NDArray[np.float32]) -> NDArray[np.uint8]:
    size = displacement.shape[0]
    y, x = np.mgrid[:size, :size].astype(np.float32)
    margin = (image.shape[0] - size) / 2
    return np.asarray(
        cv2.remap(
            image,
            x + displacement[..., 0] + margin,
            y + displacement[..., 1] + margin,
            cv2.INTER_LANCZOS4,
            borderMode=cv2.BORDER_REFLECT_101,
        ),
        dtype=np.uint8,
    )


def _inverse(displacement: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return V with displacement(x + V) + V = 0, by fixed-point iteration."""
    size = displacement.shape[0]
    y, x = np.mgrid[:size, :size].astype(np.float32)
    flow: NDArray[np.float32] = -displacement
    for _ in range(8):
        flow = -np.asarray(
            cv2.remap(
                displacement,
                x + flow[..., 0],
                y + flow[..., 1],
                cv2.INTER_LINEAR,
                borderMode=cv2.BORDER_REPLICATE,
            ),
            dtype=np.float32,
        )
    return flow


def _blob(rng: np.random.Generator, size: int) -> NDArray[np.bool_]:
    """Return a size x size mask of a smooth random shape covering a fifth to a half."""
    noise = cv2.resize(
        rng.normal(0, 1, (5, 5)).astype(np.float32), (size, size), interpolation=cv2.INTER_CUBIC
    )
    return np.asarray(noise > np.quantile(noise, rng.uniform(0.5, 0.8)), dtype=np.bool_)


class Photographs:
    """Draw pairs from still photographs; the flow between the two is known."""

    def __init__(self, paths: list[Path], shrink: tuple[float, ...] = (1.0, 0.6)) -> None:
        self.images: list[NDArray[np.uint8]] = []
        for path in paths:
            image = read_rgb(path)
            for factor in shrink:
                if min(image.shape[:2]) * factor >= 300:
                    self.images.append(
                        np.asarray(
                            cv2.resize(
                                image, None, fx=factor, fy=factor, interpolation=cv2.INTER_AREA
                            ),
                            dtype=np.uint8,
                        )
                    )

    def _patch(self, rng: np.random.Generator, size: int) -> NDArray[np.uint8]:
        image = self.images[int(rng.integers(len(self.images)))]
        side = min(size + 96, *image.shape[:2])
        row, col = crop_origin(rng, image.shape[0], image.shape[1], side)
        patch = image[row : row + side, col : col + side]
        return np.ascontiguousarray(np.rot90(patch, int(rng.integers(4))))

    def draw(self, rng: np.random.Generator, size: int, motion: float) -> Pair:
        """Return a pair whose reference is moved; half have a layer that moves otherwise."""
        patch = self._patch(rng, size)
        margin = (patch.shape[0] - size) // 2
        still = patch[margin : margin + size, margin : margin + size]
        displacement = random_displacement(rng, size, motion)
        moved = _resample(patch[: 2 * margin + size, : 2 * margin + size], displacement)
        flow = _inverse(displacement)
        if rng.random() < 0.5:
            # moved(x) = still(x + displacement): with the roles changed the flow needs no inverse
            still, moved, flow = moved, still, displacement
        if rng.random() < 0.5:
            still, moved, flow = self._add_layer(rng, size, motion, still, moved, flow)
        return Pair(np.ascontiguousarray(still), np.ascontiguousarray(moved), flow)

    def _add_layer(
        self,
        rng: np.random.Generator,
        size: int,
        motion: float,
        still: NDArray[np.uint8],
        moved: NDArray[np.uint8],
        flow: NDArray[np.float32],
    ) -> tuple[NDArray[np.uint8], NDArray[np.uint8], NDArray[np.float32]]:
        """Lay a piece of another photograph over both, moved by a whole number of pixels."""
        patch = self._patch(rng, size)[: size + 64, : size + 64]
        mask = _blob(rng, size + 64)
        reach = int(min(30, 4 + 26 * motion))
        dx, dy = (int(v) for v in rng.integers(-reach, reach + 1, 2))
        at_still = np.s_[32 : 32 + size, 32 : 32 + size]
        at_moved = np.s_[32 - dy : 32 - dy + size, 32 - dx : 32 - dx + size]
        front_still, front_moved = mask[at_still], mask[at_moved]
        still = np.where(front_still[..., None], patch[at_still], still)
        moved = np.where(front_moved[..., None], patch[at_moved], moved)
        flow = np.where(front_still[..., None], np.array((dx, dy), np.float32), flow)
        # Background of the target that the layer hides in the reference has no true place there.
        y, x = np.mgrid[:size, :size].astype(np.float32)
        hidden = cv2.remap(
            front_moved.astype(np.float32), x + flow[..., 0], y + flow[..., 1], cv2.INTER_LINEAR
        )
        flow = np.where(((hidden > 0) & ~front_still)[..., None], np.float32(np.nan), flow)
        return still, moved, np.asarray(flow, dtype=np.float32)
