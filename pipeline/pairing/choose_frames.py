"""Which reference serves which LR frame: pure logic on times and similarities, no pixels."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pipeline.schema.reference_map import ReferenceChoice, ReferenceMap, Why

# A reference is left only for one that is more alike by this (normalised correlation).
LIKENESS_MARGIN = 0.01
# Below this normalised correlation two pictures hardly show the same scene; another field of view
# still correlates a little, and the network judges the rest.
LEAST_LIKENESS = 0.0
# What a second of distance costs against likeness.
LIKENESS_PER_SECOND = 0.01

# A kept reference may be farther than the nearest by this share of its distance, no more.
NEARLY_AS_NEAR = 0.1

# (LR frame, first, last) -> likeness of the references first..last-1 to that frame, -1..1.
Similarity = Callable[[int, int, int], NDArray[np.float32]]


@dataclass(frozen=True)
class References:
    """The references in rising order of time."""

    pts: Sequence[int]
    seconds: Sequence[float]
    """On the input's clock, after offset and drift."""


@dataclass(frozen=True)
class FrameRules:
    """When a reference may be used."""

    max_distance: float
    """Seconds."""
    cuts: Sequence[float] = ()
    """Times of the first frames after scene cuts; nothing is borrowed across one."""
    margin: float = 0.0
    """Seconds by which another reference must be nearer before it replaces the one in use."""


def hysteresis_margin(lr_seconds: Sequence[float]) -> float:
    """Return half the usual frame interval: above the jitter of time stamps, below one frame."""
    if len(lr_seconds) < 2:
        return 0.0
    return 0.5 * float(np.median(np.diff(np.asarray(lr_seconds))))


def choose_by_time(
    lr_pts: Sequence[int], lr_seconds: Sequence[float], references: References, rules: FrameRules
) -> ReferenceMap:
    """Choose for each LR frame the reference nearest in time.

    Ties go to the one in use, or else to the earlier.
    """
    return ReferenceMap(_by_time(lr_pts, lr_seconds, references, rules))


def _by_time(
    lr_pts: Sequence[int], lr_seconds: Sequence[float], references: References, rules: FrameRules
) -> Iterator[ReferenceChoice]:
    current: int | None = None
    for pts, at in zip(lr_pts, lr_seconds, strict=True):
        first, last = _scene(at, references, rules)
        best = _nearest(at, references.seconds, first, last)
        if best is None or abs(references.seconds[best] - at) > rules.max_distance:
            current = None
            yield ReferenceChoice(pts, None, None, _why_none(at, references, rules))
            continue
        why: Why = "nearest"
        if current is not None and current != best and first <= current < last:
            distance = abs(references.seconds[current] - at)
            nearer = distance - abs(references.seconds[best] - at)
            # the share keeps a burst of quick frames from passing over exact references
            if nearer <= min(rules.margin, NEARLY_AS_NEAR * distance) and (
                distance <= rules.max_distance
            ):
                best = current
                why = "kept"
        current = best
        seconds = references.seconds[best] - at
        yield ReferenceChoice(pts, references.pts[best], round(seconds, 6), why)


def choose_by_content(
    lr_pts: Sequence[int],
    lr_seconds: Sequence[float],
    references: References,
    rules: FrameRules,
    similarity: Similarity,
    *,
    timed: bool,
) -> ReferenceMap:
    """Choose the most alike reference within the window; without times, among all of them."""
    chosen = _by_content(lr_pts, lr_seconds, references, rules, similarity, timed=timed)
    return ReferenceMap(chosen)


def _by_content(
    lr_pts: Sequence[int],
    lr_seconds: Sequence[float],
    references: References,
    rules: FrameRules,
    similarity: Similarity,
    *,
    timed: bool,
) -> Iterator[ReferenceChoice]:
    current: int | None = None
    for number, (pts, at) in enumerate(zip(lr_pts, lr_seconds, strict=True)):
        first, last = _window(at, references, rules) if timed else (0, len(references.pts))
        if first >= last:
            current = None
            yield ReferenceChoice(pts, None, None, _why_none(at, references, rules))
            continue
        likeness = similarity(number, first, last)
        score = likeness.astype(np.float64)
        if timed:
            score -= LIKENESS_PER_SECOND * np.abs(np.asarray(references.seconds[first:last]) - at)
        best = first + int(score.argmax())
        if likeness[best - first] < LEAST_LIKENESS:
            current = None
            unlike = round(float(likeness[best - first]), 4)
            yield ReferenceChoice(pts, None, None, "unlike", unlike)
            continue
        why: Why = "content"
        if current is not None and current != best and first <= current < last:
            more_alike = score[best - first] - score[current - first]
            if more_alike <= LIKENESS_MARGIN:
                best = current
                why = "kept"
        current = best
        seconds = round(references.seconds[best] - at, 6) if timed else None
        value = round(float(likeness[best - first]), 4)
        yield ReferenceChoice(pts, references.pts[best], seconds, why, value)


def _window(at: float, references: References, rules: FrameRules) -> tuple[int, int]:
    """Return the range of references in the scene of `at` and within the greatest distance."""
    first, last = _scene(at, references, rules)
    times = references.seconds
    return (
        bisect_left(times, at - rules.max_distance, first, last),
        bisect_right(times, at + rules.max_distance, first, last),
    )


def _scene(at: float, references: References, rules: FrameRules) -> tuple[int, int]:
    """Return the range of references which lie between the same two cuts as `at`."""
    scene = bisect_right(rules.cuts, at)
    first = bisect_left(references.seconds, rules.cuts[scene - 1]) if scene else 0
    if scene == len(rules.cuts):
        return first, len(references.seconds)
    return first, bisect_left(references.seconds, rules.cuts[scene])


def _nearest(at: float, seconds: Sequence[float], first: int, last: int) -> int | None:
    """Return the index in [first, last) nearest to `at`, the earlier of two; None if empty."""
    if first >= last:
        return None
    after = bisect_left(seconds, at, first, last)
    if after == first:
        return first
    if after == last or at - seconds[after - 1] <= seconds[after] - at:
        return after - 1
    return after


def _why_none(at: float, references: References, rules: FrameRules) -> Why:
    nearest = _nearest(at, references.seconds, 0, len(references.seconds))
    if nearest is not None and abs(references.seconds[nearest] - at) <= rules.max_distance:
        return "cut"
    return "too far"
