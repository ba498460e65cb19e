"""What is evaluated: pictures to be made large, each with its reference and its truth."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Picture = NDArray[np.uint8]
"""H x W x 3 RGB."""
Image = NDArray[np.float32]
"""H x W x 3 RGB in 0..1; or one plane of it, H x W."""


class EvaluationError(Exception):
    """Report in one line what was given and cannot be used."""


@dataclass(frozen=True, eq=False)
class Case:
    """One picture whose truth is known; its LR is made by `degrade` when it is measured."""

    truth: Picture
    """Height and width are multiples of the scene's scale."""
    reference: Picture
    """As large as `truth`; cases that share a reference hold the same object."""
    condition: str
    """The row of the tables it counts in: view, frames to the reference, fault of the reference."""
    frame: int = 0
    """Its number in the clip, where there is one."""
    shown: bool = False
    """Whether it is on the contact sheet."""


@dataclass(frozen=True, eq=False)
class Scene:
    """Cases of one recording at one scale."""

    group: str
    name: str
    split: str
    scale: int
    cases: list[Case]
    in_order: bool = False
    """Whether cases with successive numbers are successive frames seen by a viewer."""


def as_image(picture: Picture) -> Image:
    """Return a picture in 0..1."""
    return np.asarray(picture, np.float32) / np.float32(255)


def as_picture(image: Image) -> Picture:
    """Return an image rounded to 8 bit and clamped."""
    return np.asarray(np.rint(image.clip(0, 1) * 255), np.uint8)


def cut(picture: Picture, scale: int) -> Picture:
    """Return `picture` without the rows and columns at the bottom and right beyond a multiple."""
    height, width = (side // scale * scale for side in picture.shape[:2])
    return np.ascontiguousarray(picture[:height, :width])
