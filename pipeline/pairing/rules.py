"""The references of a clip, the rules for choosing among them, and the result of pairing."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pipeline.schema.plan import ReferencePlan
from pipeline.schema.reference_map import ReferenceMap

# Maps (picture number, first, last) to the picture's similarities (-1 to 1) to the references
# first..last-1.
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
    """Maximum distance in seconds between a frame and its reference."""
    cuts: Sequence[float] = ()
    """Time in seconds of the first frame after each scene cut; nothing is borrowed across a cut."""
    margin: float = 0.0
    """Half the median frame interval in seconds. A reference that is nearer than the current one by
    more than this always replaces it."""
    count: int | None = None
    """Maximum number of references per frame; None allows a second one if it is worth the work."""

    @property
    def interval(self) -> float:
        """The median interval in seconds between successive frames of the input."""
        return 2 * self.margin


@dataclass(frozen=True)
class Paired:
    """The result of pairing an input with a reference."""

    reference: ReferencePlan
    choices: ReferenceMap
    """The references chosen for each frame of the input."""
    cuts: tuple[int, ...]
    """Pts of the first frame after each scene cut."""
    notes: list[str]
    """Notes for the user."""


def find_half_interval(seconds: Sequence[float]) -> float:
    """Return half the median interval between ascending times, in seconds; 0 for fewer than two.

    Half an interval exceeds the jitter of timestamps, but is less than the distance between frames.
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
