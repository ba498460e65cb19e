"""References of a clip, the rules by which they may serve a frame, and the result of pairing."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pipeline.schema.plan import ReferencePlan
from pipeline.schema.reference_map import ReferenceMap

# (picture, first, last) -> similarity of references first..last-1 to that picture, -1..1.
Similarity = Callable[[int, int, int], NDArray[np.float32]]


@dataclass(frozen=True)
class References:
    """References sorted by time."""

    pts: Sequence[int]
    seconds: Sequence[float]
    """Times on the input's clock, with offset and drift applied."""


@dataclass(frozen=True)
class FrameRules:
    """Limits on the references that may serve a frame."""

    max_distance: float
    """Greatest distance in seconds between a frame and its reference."""
    cuts: Sequence[float] = ()
    """Times of the first frames after scene cuts; no reference serves a frame across a cut."""
    margin: float = 0.0
    """Seconds by which another reference must be nearer to replace the one in use."""
    count: int | None = None
    """Number of references per frame; None = a second one only where it is worth its time."""

    @property
    def interval(self) -> float:
        """Seconds between two frames of the input."""
        return 2 * self.margin


@dataclass(frozen=True)
class Paired:
    """The reference, its frame for every frame of the input, the scene cuts and notes for users."""

    reference: ReferencePlan
    choices: ReferenceMap
    cuts: tuple[int, ...]
    notes: list[str]


def find_half_interval(seconds: Sequence[float]) -> float:
    """Return half the median interval between rising times; 0 for fewer than two.

    That is more than the jitter of time stamps, and less than one frame.
    """
    if len(seconds) < 2:
        return 0.0
    return 0.5 * float(np.median(np.diff(np.asarray(seconds))))


def spread_evenly(total: int, most: int) -> list[int]:
    """Return at most `most` of the numbers 0 to total - 1, evenly spread with both ends."""
    if total <= most:
        return list(range(total))
    return [int(number) for number in np.linspace(0, total - 1, most).round()]
