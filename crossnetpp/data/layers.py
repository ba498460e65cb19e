"""Surfaces at different depths, laid one over the other in two views of one scene."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import cv2
import numpy as np
from numpy.typing import NDArray

from crossnetpp.data.sample import Pair

Picture = NDArray[np.uint8]
Field = NDArray[np.float32]
OPAQUE, CLEAR = 0.98, 0.02
"""A pixel between the two mixes surfaces and has no single true flow."""


@dataclass(frozen=True)
class Layer:
    """One surface as both views see it; covers are size x size in 0..1."""

    target: Picture
    reference: Picture
    flow: Field
    """size x size x 2 pixels from target to reference; NaN where it is not known."""
    target_cover: Field
    reference_cover: Field


def stack(layers: list[Layer]) -> Pair:
    """Return the pair that `layers` show, from the farthest, which covers all, to the nearest.

    The flow is NaN where surfaces mix and where the place is hidden in the reference.
    """
    farthest = layers[0]
    target, reference, flow = farthest.target, farthest.reference, farthest.flow
    x, y = pixel_grid(flow.shape[0])
    for layer in layers[1:]:
        target = _over(target, layer.target, layer.target_cover)
        reference = _over(reference, layer.reference, layer.reference_cover)
        # unknown places are looked up outside of the picture, where nothing covers them
        places = np.nan_to_num(flow, nan=-1e4)
        cover = cv2.remap(
            layer.reference_cover, x + places[..., 0], y + places[..., 1], cv2.INTER_LINEAR
        )
        lost = (cover > CLEAR) | (layer.target_cover > CLEAR)
        flow = np.where(lost[..., None], np.float32(np.nan), flow)
        flow = np.where((layer.target_cover > OPAQUE)[..., None], layer.flow, flow)
    return Pair(np.ascontiguousarray(target), np.ascontiguousarray(reference), flow)


@lru_cache(maxsize=8)
def pixel_grid(size: int) -> tuple[Field, Field]:
    """Return x and y of each of size x size pixels; not to be written to."""
    y, x = np.mgrid[:size, :size].astype(np.float32)
    return x, y


def _over(below: Picture, above: Picture, cover: Field) -> Picture:
    part = cover[..., None]
    return np.asarray((below * (1 - part) + above * part).round(), dtype=np.uint8)


def resample(image: Picture, displacement: Field) -> Picture:
    """Return size x size pixels of `image` at x + `displacement`, both measured from its middle."""
    x, y = _places(image.shape[0], displacement)
    return np.asarray(
        cv2.remap(image, x, y, cv2.INTER_LANCZOS4, borderMode=cv2.BORDER_REFLECT_101),
        dtype=np.uint8,
    )


def resample_cover(cover: Field, displacement: Field) -> Field:
    """Return `cover` as `resample` would, linearly and with nothing beyond its border."""
    x, y = _places(cover.shape[0], displacement)
    return np.asarray(cv2.remap(cover, x, y, cv2.INTER_LINEAR), dtype=np.float32)


def within(side: int, displacement: Field) -> NDArray[np.bool_]:
    """Return where x + `displacement` is inside a picture of `side` x `side`."""
    x, y = _places(side, displacement)
    return (x >= 0) & (x <= side - 1) & (y >= 0) & (y <= side - 1)


def inverse(displacement: Field) -> Field:
    """Return V with displacement(x + V) + V = 0 by fixed-point iteration.

    NaN where x + V leaves the field, so that V would be a guess, or where the field folds.
    """
    size = displacement.shape[0]
    x, y = pixel_grid(size)
    flow: Field = -displacement
    before = flow
    for _ in range(6):
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
    known = within(size, flow) & (change[..., 0] < 0.02) & (change[..., 1] < 0.02)
    return np.where(known[..., None], flow, np.float32(np.nan))


def _places(side: int, displacement: Field) -> tuple[Field, Field]:
    """Return x and y in a picture of `side` x `side`, for a field about the same middle."""
    size = displacement.shape[0]
    x, y = pixel_grid(size)
    margin = (side - size) // 2
    return x + displacement[..., 0] + margin, y + displacement[..., 1] + margin
