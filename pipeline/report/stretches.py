"""Divide a clip into stretches of frames that have the same reference."""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import groupby

from pipeline.schema.plan import Plan
from pipeline.schema.reference_map import ReferenceChoice


@dataclass(frozen=True)
class Stretch:
    """Consecutive frames that have the same reference for the same reason."""

    first: int
    """Number of the first frame."""
    last: int
    """Number of the last frame."""
    begin: float
    """Time of the first frame in seconds."""
    end: float
    """Time of the last frame in seconds."""
    reference: float | None
    """Time of the reference in seconds on its own clock; None without a reference."""
    farthest: float | None
    """Largest distance to the reference in seconds; None if it is not known."""
    why: str
    """The reason for the first reference; "" for stretches of second references."""
    nearness: float
    """From 1 (no distance to the reference) to 0 (the largest distance in all stretches)."""
    further: tuple[float, ...]
    """Times in seconds of all further references of these frames, on their own clock, in order."""


def find_stretches(plan: Plan, rank: int = 0) -> list[Stretch]:
    """Return the stretches in the reference map of a clip's plan, in order.

    With `rank` 1, return the stretches of the frames' second references, if there are any.
    """
    choices = plan.reference_map
    if rank and all(len(choice.references) <= rank for choice in choices):
        return []

    distances = (abs(each) for choice in choices for each in _list_seconds(choice))
    most = max(distances, default=0.0)

    def key(numbered: tuple[int, ReferenceChoice]) -> tuple[int | None, str]:
        choice = numbered[1]
        pts = choice.references[rank] if len(choice.references) > rank else None
        return pts, "" if rank else choice.why

    found = []
    for (ref_pts, why), group in groupby(enumerate(choices), key=key):
        members = list(group)
        away = [abs(seconds[rank]) for _, c in members if len(seconds := _list_seconds(c)) > rank]
        farthest = max(away, default=None)
        further = {pts for _, choice in members for pts in choice.further}
        found.append(
            Stretch(
                first=members[0][0],
                last=members[-1][0],
                begin=plan.input.seconds(members[0][1].pts),
                end=plan.input.seconds(members[-1][1].pts),
                reference=None if ref_pts is None else plan.reference.clip.seconds(ref_pts),
                farthest=farthest,
                why=why,
                nearness=1 - (farthest or 0.0) / most if most else 1.0,
                further=tuple(sorted(plan.reference.clip.seconds(pts) for pts in further)),
            )
        )
    return found


def cut_stretches(stretches: list[Stretch], last: int) -> list[Stretch]:
    """Return the stretches up to frame `last`; the one that contains it is cut off there."""
    return [replace(each, last=min(each.last, last)) for each in stretches if each.first <= last]


def _list_seconds(choice: ReferenceChoice) -> tuple[float, ...]:
    """Return the times of a frame's references minus its own time, in seconds, in order.

    The result is empty if the times are not known.
    """
    return () if choice.seconds is None else (choice.seconds, *choice.also_seconds)
