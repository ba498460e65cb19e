"""References of a clip, and the rules by which they may serve a frame."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

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


def hysteresis_margin(lr_seconds: Sequence[float]) -> float:
    """Return half the median frame interval: more than time-stamp jitter, less than one frame."""
    if len(lr_seconds) < 2:
        return 0.0
    return 0.5 * float(np.median(np.diff(np.asarray(lr_seconds))))
