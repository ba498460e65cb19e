"""The references of a clip, the rules for choosing among them, and the result of pairing."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pipeline.schema.plan import ReferencePlan
from pipeline.schema.reference_map import ReferenceMap

# (number of a picture, first, last) -> similarities to references first..last-1, from -1 to 1.
Similarity = Callable[[int, int, int], NDArray[np.float32]]


@dataclass(frozen=True)
class References:
    """References sorted by time."""

    pts: Sequence[int]
    seconds: Sequence[float]
    """Times on the input's clock, with offset and drift applied."""


@dataclass(frozen=True)
class FrameRules:
    """Limits on the references that a frame may use."""

    max_distance: float
    """Greatest distance in seconds between a frame and its reference."""
    cuts: Sequence[float] = ()
    """Times in seconds of the first frames after scene cuts, across which nothing is borrowed."""
    margin: float = 0.0
    """Half the frame interval in seconds; a reference must be nearer by more than this to replace
    the current one, except in bursts of frames."""
    count: int | None = None
    """Greatest number of references per frame; None means two if the second is worth the work."""

    @property
    def interval(self) -> float:
        """The median interval in seconds between successive frames of the input."""
        return 2 * self.margin


@dataclass(frozen=True)
class Paired:
    """The reference, the choice for every frame of the input, scene cuts, and notes for users."""

    reference: ReferencePlan
    choices: ReferenceMap
    cuts: tuple[int, ...]
    """Pts of the first frame after each scene cut."""
    notes: list[str]


def find_half_interval(seconds: Sequence[float]) -> float:
    """Return half the median interval between ascending times, or 0 for fewer than two.

    That is more than the jitter of timestamps, but less than the interval between two frames.
    """
    if len(seconds) < 2:
        return 0.0
    return 0.5 * float(np.median(np.diff(np.asarray(seconds))))


def spread_evenly(total: int, most: int) -> list[int]:
    """Return at most `most` (2 or more) of the numbers 0 to total - 1, spread evenly.

    The first and the last number are included.
    """
    if total <= most:
        return list(range(total))
    return [int(number) for number in np.linspace(0, total - 1, most).round()]
