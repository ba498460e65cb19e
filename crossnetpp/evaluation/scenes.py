"""Scenes and cases of the evaluation: pictures to enlarge, and the data that methods may use."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from crossnetpp.capture.estimate import CaptureEstimate, estimate_capture
from crossnetpp.capture.variants import refuse_wide_kernel
from crossnetpp.networks.taps import Taps

Picture = NDArray[np.uint8]  # H x W x 3 RGB
Image = NDArray[np.float32]  # H x W x 3 RGB in 0..1, or H x W for a single plane

MOST_MOMENTS = 6  # largest number of moments from which the kernel is measured


class EvaluationError(Exception):
    """Raised if arguments or data cannot be used, with a one-line message."""


@dataclass(frozen=True, eq=False)
class Reference:
    """An HR picture to borrow from."""

    picture: Picture
    """A picture of the same size as the truth; cases with the same reference share the array."""
    distance: int = 0
    """Distance in frames between the reference and the case."""


@dataclass(frozen=True, eq=False)
class Moment:
    """An instant that is known at both resolutions."""

    number: int
    """Frame number in the clip."""
    lr: Picture
    """uint8 h x w x 3."""
    hr: Picture
    """uint8 H x W x 3."""


@dataclass(frozen=True, eq=False)
class Material:
    """What the cases of a recording have in common, and what methods can use to prepare."""

    scale: int
    moments: tuple[Moment, ...] = ()
    """Moments sorted by frame number; empty if nothing is known at both resolutions."""

    @cached_property
    def capture(self) -> CaptureEstimate:
        """How the recording was captured, as measured at up to MOST_MOMENTS moments."""
        count = min(MOST_MOMENTS, len(self.moments))
        chosen = np.linspace(0, len(self.moments) - 1, count).round().astype(int).tolist()
        pairs = [(self.moments[i].lr, self.moments[i].hr) for i in chosen]
        return refuse_wide_kernel(estimate_capture(pairs, self.scale))

    @property
    def taps(self) -> Taps | None:
        """The downscaling kernel as measured at the moments; None means antialiased bicubic."""
        return self.capture.taps


@dataclass(frozen=True, eq=False)
class Case:
    """A picture to enlarge."""

    truth: Picture
    """The ground truth; its height and width are multiples of the scene's scale."""
    lr: Picture
    references: tuple[Reference, ...]
    """One or more, the nearest first."""
    material: Material
    """The material, which all cases of a recording share."""
    condition: str
    """The case's row in the tables: a view, a distance to the reference in frames, or a fault."""
    frame: int = 0
    """Frame number in the clip; 0 for other data."""
    shown: bool = False
    """Whether the case is shown on the contact sheet."""


@dataclass(frozen=True, eq=False)
class Scene:
    """Cases of one recording at one scale."""

    group: str
    name: str
    split: str
    scale: int
    cases: list[Case]
    in_order: bool = False
    """Whether cases with successive frame numbers are successive frames of a clip."""


def as_image(picture: Picture) -> Image:
    """Return a picture (uint8 H x W x 3) as float32 in 0..1."""
    return np.asarray(picture, np.float32) / np.float32(255)


def as_picture(image: Image) -> Picture:
    """Return an image clamped and rounded to 8 bits."""
    return np.asarray(np.rint(image.clip(0, 1) * 255), np.uint8)


def crop_to_multiple(picture: Picture, scale: int) -> Picture:
    """Return `picture` cropped at the bottom and right to multiples of `scale`."""
    height, width = (side // scale * scale for side in picture.shape[:2])
    return np.ascontiguousarray(picture[:height, :width])
