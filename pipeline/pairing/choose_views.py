"""Choose the HR view for each LR view from positions and times, without reading pixels.

Candidates are ranked by time, then by Euclidean distance in grid steps (between camera centres, if
known). In a tie, a candidate in the same row wins, then one in the same column, then the first one
in the list.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass

from pipeline.schema.reference_map import ReferenceChoice, ViewChoice, Why

# Seconds within which a frame and its reference show the same instant. A reference of the frame's
# own view is then the frame's HR original.
SAME_INSTANT = 1e-3
# Maximum distance in grid steps at which the published networks were trained and tested: from
# (0, 0) to (7, 7).
TRAINED_STEPS = 9.9


@dataclass(frozen=True)
class CameraPosition:
    """A camera position in grid steps: x counts columns, y counts rows."""

    x: float
    y: float
    row: int | None = None
    """Row of the view, or None for a camera that is not a view of the grid."""
    col: int | None = None
    """Column of the view, or None for a camera that is not a view of the grid."""


@dataclass(frozen=True)
class Candidate:
    """A reference view with its frames and their times."""

    place: CameraPosition
    numbers: Sequence[int]
    seconds: Sequence[float] | None
    """Frame times in ascending order, or None for a view that may be used at all times."""
    timed: bool = True
    """False if the input has several moments and it is unknown which one this view shows."""
    own_view_only: bool = False
    """Whether the view is vignetted, so that only the LR view at its own position may use it."""


@dataclass(frozen=True)
class ViewTarget:
    """An LR frame that needs a reference."""

    number: int
    place: CameraPosition
    moment: int
    seconds: float
    empty: bool = False
    """Whether the frame shows nothing, so that it borrows from no other view."""


@dataclass(frozen=True)
class ViewRules:
    """Limits and preferences for the choice of references."""

    count: int = 1
    """Maximum number of references per frame."""
    seconds: float = 2.0
    """Maximum distance in seconds between a frame and its reference."""
    same_time: float = 0.0
    """A candidate counts as equally near in time if it is at most this many seconds farther away
    than the nearest one."""
    whole: bool = True
    """Whether references have the size of the network's frames, so that given views can pass
    through unchanged."""


@dataclass(frozen=True)
class _NearestFrame:
    """The frame of a candidate that is nearest in time to a target.

    `seconds` is its time minus the target's, and `steps` the distance between the views.
    """

    index: int
    number: int
    seconds: float
    steps: float
    place: CameraPosition
    timed: bool


def choose_view(
    target: ViewTarget, candidates: Sequence[Candidate], limits: ViewRules
) -> ReferenceChoice:
    """Choose the reference view of one LR frame, and up to `limits.count` - 1 further views."""
    here = target.place
    row = here.row or 0
    col = here.col or 0
    near = [_find_nearest_frame(target, i, candidate) for i, candidate in enumerate(candidates)]
    near = [found for found in near if abs(found.seconds) <= limits.seconds]
    nothing = ViewChoice(row, col, None, None, None, target.moment)
    if not near:
        return ReferenceChoice(target.number, None, None, "too far", views=nothing)

    # vignetted views may be used at other positions only if every candidate is vignetted
    if not all(candidate.own_view_only for candidate in candidates):
        excluded = [c.own_view_only and not _is_same_view(here, c.place) for c in candidates]
        near = [found for found in near if not excluded[found.index]]
    if target.empty:
        near = [found for found in near if _is_same_view(here, found.place)]
    if not near:
        return ReferenceChoice(target.number, None, None, "dark", views=nothing)

    # prefer candidates that are nearest in time, then those nearest on the grid
    soonest = min(abs(found.seconds) for found in near)
    now = [found for found in near if abs(found.seconds) <= soonest + limits.same_time]
    now.sort(key=lambda found: _rank_frame(here, found))
    best = now[0]

    given = (
        limits.whole
        and best.timed
        and best.steps == 0
        and abs(best.seconds) < SAME_INSTANT
        and _is_same_view(here, best.place)
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


def _find_nearest_frame(target: ViewTarget, index: int, candidate: Candidate) -> _NearestFrame:
    """Return the candidate's frame nearest in time to the target; in a tie, the earlier one."""
    here = target.place
    there = candidate.place
    steps = ((here.x - there.x) ** 2 + (here.y - there.y) ** 2) ** 0.5
    if _is_same_view(here, there):
        steps = 0.0
    if candidate.seconds is None:
        return _NearestFrame(index, candidate.numbers[0], 0.0, steps, there, candidate.timed)

    times = candidate.seconds
    after = bisect_left(times, target.seconds)
    if after == len(times) or (
        after > 0 and target.seconds - times[after - 1] <= times[after] - target.seconds
    ):
        after -= 1
    away = times[after] - target.seconds
    return _NearestFrame(index, candidate.numbers[after], away, steps, there, candidate.timed)


def _is_same_view(here: CameraPosition, there: CameraPosition) -> bool:
    return here.row is not None and (here.row, here.col) == (there.row, there.col)


def _rank_frame(here: CameraPosition, found: _NearestFrame) -> tuple[float, bool, bool, int]:
    """Return the sort key of a frame; the frame with the smallest key is the best reference."""
    # rounding preserves ties between sums of squares added in a different order
    return (
        round(found.steps, 6),
        here.row is None or here.row != found.place.row,
        here.col is None or here.col != found.place.col,
        found.index,
    )
