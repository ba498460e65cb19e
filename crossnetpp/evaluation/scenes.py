"""Scenes and cases of the evaluation: pictures to enlarge, with their references and truths."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Picture = NDArray[np.uint8]  # H x W x 3 RGB
Image = NDArray[np.float32]  # H x W x 3 RGB in 0..1, or H x W for a single plane


class EvaluationError(Exception):
    """Arguments or data that cannot be used, described in one line."""


@dataclass(frozen=True, eq=False)
class Case:
    """A picture to enlarge, given by its ground truth; its LR is made when it is measured."""

    truth: Picture
    """Ground truth; height and width are multiples of the scene's scale."""
    reference: Picture
    """As large as `truth`; cases with the same reference share one object."""
    condition: str
    """The row in the tables: a view, a distance to the reference in frames, or a fault."""
    frame: int = 0
    """Frame number in the clip; 0 for other data."""
    shown: bool = False
    """True to show the case on the contact sheet."""


@dataclass(frozen=True, eq=False)
class Scene:
    """Cases of one recording at one scale."""

    group: str
    name: str
    split: str
    scale: int
    cases: list[Case]
    in_order: bool = False
    """True if cases with successive frame numbers are successive frames of a clip."""


def as_image(picture: Picture) -> Image:
    """Return a picture as float32 in 0..1."""
    return np.asarray(picture, np.float32) / np.float32(255)


def as_picture(image: Image) -> Picture:
    """Return an image clamped and rounded to 8 bits."""
    return np.asarray(np.rint(image.clip(0, 1) * 255), np.uint8)


def crop_to_multiple(picture: Picture, scale: int) -> Picture:
    """Crop `picture` at the bottom and right to a multiple of `scale`."""
    height, width = (side // scale * scale for side in picture.shape[:2])
    return np.ascontiguousarray(picture[:height, :width])
