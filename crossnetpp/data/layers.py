"""Compose surfaces at different depths into two views of one scene."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import cv2
import numpy as np
from numpy.typing import NDArray

from crossnetpp.data.sample import Pair

Picture = NDArray[np.uint8]
Field = NDArray[np.float32]

# A pixel whose cover is between CLEAR and OPAQUE mixes surfaces, and has no single true flow
OPAQUE = 0.98
CLEAR = 0.02

INVERSION_STEPS = 6  # number of fixed-point iterations


@dataclass(frozen=True)
class Layer:
    """One surface, as it looks in the target and in the reference."""

    target: Picture
    reference: Picture
    flow: Field
    """Flow from target to reference, size x size x 2 pixels; NaN where unknown."""
    target_cover: Field
    """How much of each pixel the surface covers in the target, size x size in 0..1."""
    reference_cover: Field
    """How much of each pixel the surface covers in the reference, size x size in 0..1."""


def compose_layers(layers: list[Layer]) -> Pair:
    """Return the pair composed of `layers`, ordered from far to near; the first is opaque.

    The flow is NaN where the visible layer's flow is NaN, where surfaces mix, and where a nearer
    surface hides the target's pixel in the reference.
    """
    farthest = layers[0]
    target = farthest.target
    reference = farthest.reference
    flow = farthest.flow
    x, y = make_pixel_grid(flow.shape[0])

    for layer in layers[1:]:
        target = _blend(target, layer.target, layer.target_cover)
        reference = _blend(reference, layer.reference, layer.reference_cover)

        # Cover at the end of the flow; unknown flow is made to point outside, where the cover is 0
        known = np.nan_to_num(flow, nan=-1e4)
        cover = cv2.remap(
            layer.reference_cover, x + known[..., 0], y + known[..., 1], cv2.INTER_LINEAR
        )
        lost = (cover > CLEAR) | (layer.target_cover > CLEAR)
        flow = np.where(lost[..., None], np.float32(np.nan), flow)
        flow = np.where((layer.target_cover > OPAQUE)[..., None], layer.flow, flow)

    return Pair(np.ascontiguousarray(target), np.ascontiguousarray(reference), flow)


@lru_cache(maxsize=8)
def make_pixel_grid(size: int) -> tuple[Field, Field]:
    """Return the x and y coordinates of size x size pixels; callers must not change the arrays."""
    y, x = np.mgrid[:size, :size].astype(np.float32)
    return x, y


def _blend(below: Picture, above: Picture, cover: Field) -> Picture:
    part = cover[..., None]
    return np.asarray((below * (1 - part) + above * part).round(), dtype=np.uint8)


def resample_picture(image: Picture, displacement: Field) -> Picture:
    """Return `image` sampled at each pixel's position plus `displacement`.

    `displacement` is an N x N x 2 array, in pixels. It is centred on `image`, which is square, and
    may be smaller; the result has N x N pixels.
    """
    x, y = _find_positions(image.shape[0], displacement)
    return np.asarray(
        cv2.remap(image, x, y, cv2.INTER_LANCZOS4, borderMode=cv2.BORDER_REFLECT_101),
        dtype=np.uint8,
    )


def resample_cover(cover: Field, displacement: Field) -> Field:
    """Return `cover` sampled as in `resample_picture`, but bilinearly and with 0 outside."""
    x, y = _find_positions(cover.shape[0], displacement)
    return np.asarray(cv2.remap(cover, x, y, cv2.INTER_LINEAR), dtype=np.float32)


def find_inside(side: int, displacement: Field) -> NDArray[np.bool_]:
    """Return a mask of the pixels that `displacement` maps into a `side` x `side` picture."""
    x, y = _find_positions(side, displacement)
    return (x >= 0) & (x <= side - 1) & (y >= 0) & (y <= side - 1)


def invert_displacement(displacement: Field) -> Field:
    """Return V such that displacement(x + V(x)) + V(x) = 0, found by fixed-point iteration.

    V is NaN where x + V(x) is outside the field, and where the iteration does not converge, for
    example in folds of the field.
    """
    size = displacement.shape[0]
    x, y = make_pixel_grid(size)
    flow: Field = -displacement
    before = flow
    for _ in range(INVERSION_STEPS):
        before = flow
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

    change = np.abs(flow - before)
    converged = (change[..., 0] < 0.02) & (change[..., 1] < 0.02)
    known = find_inside(size, flow) & converged
    return np.where(known[..., None], flow, np.float32(np.nan))


def _find_positions(side: int, displacement: Field) -> tuple[Field, Field]:
    """Return the positions (x and y) in a `side` x `side` picture to which `displacement` points.

    The displacement field is centred on the picture and may be smaller.
    """
    size = displacement.shape[0]
    x, y = make_pixel_grid(size)
    margin = (side - size) // 2
    return x + displacement[..., 0] + margin, y + displacement[..., 1] + margin
