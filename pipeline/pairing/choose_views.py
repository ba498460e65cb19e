"""Which HR view serves which LR view: pure logic on places and times, no pixels.

The nearest in time first, then on the grid: Euclidean distance in grid steps (or between camera
centres where they are known); ties go to the same row, then the same column, then the lower index.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass

from pipeline.schema.reference_map import ReferenceChoice, ViewChoice, Why

# Seconds within which a frame of the same view is the same frame.
SAME_FRAME = 1e-3
# Grid steps up to which the published networks were trained and tested: (7, 7) from (0, 0).
TRAINED_STEPS = 9.9


@dataclass(frozen=True)
class CameraPosition:
    """Where a camera is: x along columns and y along rows, in grid steps."""

    x: float
    y: float
    row: int | None = None
    """Of a camera in the grid."""
    col: int | None = None


@dataclass(frozen=True)
class Candidate:
    """A reference view: its frames, and when they are."""

    place: CameraPosition
    numbers: Sequence[int]
    seconds: Sequence[float] | None
    """Rising; None where it stands for all times."""
    timed: bool = True
    """False where the input has several moments and nobody knows which of them it shows."""
    alone: bool = False
    """Serves its own view only: it is vignetted."""


@dataclass(frozen=True)
class ViewTarget:
    """An LR frame."""

    number: int
    place: CameraPosition
    moment: int
    seconds: float
    empty: bool = False
    """Shows nothing: nothing is borrowed for it."""


@dataclass(frozen=True)
class ViewRules:
    """How references are chosen."""

    count: int = 1
    """How many serve each view."""
    seconds: float = 2.0
    """Beyond this nothing is borrowed."""
    same_time: float = 0.0
    """Seconds by which times may differ and still count as the same."""
    whole: bool = True
    """Whether references have the output's size, so that a given view can pass through."""


@dataclass(frozen=True)
class _Found:
    index: int
    number: int
    seconds: float
    steps: float
    place: CameraPosition
    timed: bool


def choose_view(
    target: ViewTarget, candidates: Sequence[Candidate], limits: ViewRules
) -> ReferenceChoice:
    """Choose the reference view (and further ones to fuse) for one LR frame."""
    here = target.place
    row, col = here.row or 0, here.col or 0
    near = [_at(target, i, candidate) for i, candidate in enumerate(candidates)]
    near = [found for found in near if abs(found.seconds) <= limits.seconds]
    nothing = ViewChoice(row, col, None, None, None, target.moment)
    if not near:
        return ReferenceChoice(target.number, None, None, "too far", views=nothing)
    if not all(candidate.alone for candidate in candidates):
        apart = [c.alone and not _equal(here, c.place) for c in candidates]
        near = [found for found in near if not apart[found.index]]
    if target.empty:
        near = [found for found in near if _equal(here, found.place)]
    if not near:
        return ReferenceChoice(target.number, None, None, "dark", views=nothing)
    soonest = min(abs(found.seconds) for found in near)
    now = [found for found in near if abs(found.seconds) <= soonest + limits.same_time]
    now.sort(key=lambda found: _order(here, found))
    best = now[0]
    given = (
        limits.whole
        and best.timed
        and best.steps == 0
        and abs(best.seconds) < SAME_FRAME
        and _equal(here, best.place)
    )
    further = [] if given else now[1 : limits.count]
    views = ViewChoice(
        row,
        col,
        round(best.place.y, 3),
        round(best.place.x, 3),
        round(best.steps, 4),
        target.moment,
        tuple(found.number for found in further),
        tuple(round(found.steps, 4) for found in further),
    )
    seconds = round(best.seconds, 6)
    why: Why = "given" if given else "nearest"
    return ReferenceChoice(target.number, best.number, seconds, why, views=views)


def _at(target: ViewTarget, index: int, candidate: Candidate) -> _Found:
    """Return the frame of a candidate that is nearest in time, the earlier of two."""
    here, there = target.place, candidate.place
    steps = ((here.x - there.x) ** 2 + (here.y - there.y) ** 2) ** 0.5
    if _equal(here, there):
        steps = 0.0
    if candidate.seconds is None:
        return _Found(index, candidate.numbers[0], 0.0, steps, there, candidate.timed)
    times = candidate.seconds
    after = bisect_left(times, target.seconds)
    if after == len(times) or (
        after > 0 and target.seconds - times[after - 1] <= times[after] - target.seconds
    ):
        after -= 1
    away = times[after] - target.seconds
    return _Found(index, candidate.numbers[after], away, steps, there, candidate.timed)


def _equal(here: CameraPosition, there: CameraPosition) -> bool:
    return here.row is not None and (here.row, here.col) == (there.row, there.col)


def _order(here: CameraPosition, found: _Found) -> tuple[float, bool, bool, int]:
    # rounded: sums of squares in another order must not break a tie
    return (
        round(found.steps, 6),
        here.row is None or here.row != found.place.row,
        here.col is None or here.col != found.place.col,
        found.index,
    )
