"""Choose the references of each LR frame from times and similarities, without reading pixels."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Iterator, Sequence

import numpy as np

from pipeline.pairing.choose_further import (
    FurtherByContent,
    choose_further_by_time,
    list_distances,
)
from pipeline.pairing.rules import FrameRules, References, Similarity
from pipeline.schema.reference_map import ReferenceChoice, ReferenceMap, Why

# Gain in normalised correlation that is required to switch to another reference.
LIKENESS_MARGIN = 0.01
# The required gain is at most SHARE_OF_LACK times (1 - the correlation of the current reference),
# because in a slow scene, even a picture of the frame itself gains little. A gain of SAME_LIKENESS
# or less is never enough, because the two references then look the same.
SAME_LIKENESS = 0.0005
SHARE_OF_LACK = 0.3
# Normalised correlation below which two pictures can hardly show the same scene. It is low, because
# pictures with different fields of view correlate only weakly.
LEAST_LIKENESS = 0.0
# Reduction of a reference's score per second of distance from the LR frame.
LIKENESS_PER_SECOND = 0.01
# The current reference is kept only if it is farther than the nearest one by at most this share of
# its own distance.
NEARLY_AS_NEAR = 0.1


def choose_by_time(
    lr_pts: Sequence[int], lr_seconds: Sequence[float], references: References, rules: FrameRules
) -> ReferenceMap:
    """Choose the references nearest in time for each LR frame.

    Candidates are the references in the frame's scene within `rules.max_distance`. The reference of
    the previous frame is kept unless another is nearer by more than a margin. If two references are
    equally near, the earlier one wins. `choose_further_by_time` adds further references.
    """
    return ReferenceMap(iterate_by_time(lr_pts, lr_seconds, references, rules))


def iterate_by_time(
    lr_pts: Iterable[int], lr_seconds: Iterable[float], references: References, rules: FrameRules
) -> Iterator[ReferenceChoice]:
    """Yield the choices that `choose_by_time` returns, one LR frame after another.

    A choice depends only on cuts up to the last reference that the frame can use, so later cuts may
    be appended to `rules.cuts` during the iteration.
    """
    current: int | None = None
    for pts, at in zip(lr_pts, lr_seconds, strict=True):
        first, last = _find_scene(at, references, rules)
        best = _find_nearest(at, references.seconds, first, last)
        if best is None or abs(references.seconds[best] - at) > rules.max_distance:
            current = None
            yield ReferenceChoice(pts, None, None, _explain_none(at, references, rules))
            continue

        why: Why = "nearest"
        if current is not None and current != best and first <= current < last:
            distance = abs(references.seconds[current] - at)
            nearer = distance - abs(references.seconds[best] - at)
            # without NEARLY_AS_NEAR, closely spaced frames would keep a neighbour's reference even
            # if an exact one exists
            if nearer <= min(rules.margin, NEARLY_AS_NEAR * distance) and (
                distance <= rules.max_distance
            ):
                best = current
                why = "kept"

        current = best
        seconds = round(references.seconds[best] - at, 6)
        further = choose_further_by_time(at, best, (first, last), references, rules)
        also, also_seconds = list_distances(at, further, references)
        yield ReferenceChoice(
            pts, references.pts[best], seconds, why, also=also, also_seconds=also_seconds
        )


def choose_by_content(
    lr_pts: Sequence[int],
    lr_seconds: Sequence[float],
    references: References,
    rules: FrameRules,
    similarity: Similarity,
    *,
    timed: bool,
    among: Similarity | None = None,
) -> ReferenceMap:
    """Choose the most similar references for each LR frame.

    If `timed`, the candidates are the references in the frame's scene within `rules.max_distance`,
    and nearer ones are preferred; otherwise all references are candidates. `similarity` compares
    the references with LR frames, and `among` compares them with each other; without `among`, each
    frame has at most one reference.
    """
    further = FurtherByContent(rules, among)
    choices = _iterate_by_content(
        lr_pts, lr_seconds, references, rules, similarity, further, timed=timed
    )
    return ReferenceMap(choices)


def _iterate_by_content(
    lr_pts: Sequence[int],
    lr_seconds: Sequence[float],
    references: References,
    rules: FrameRules,
    similarity: Similarity,
    further: FurtherByContent,
    *,
    timed: bool,
) -> Iterator[ReferenceChoice]:
    current: int | None = None
    for number, (pts, at) in enumerate(zip(lr_pts, lr_seconds, strict=True)):
        first, last = _find_window(at, references, rules) if timed else (0, len(references.pts))
        if first >= last:
            current = None
            yield ReferenceChoice(pts, None, None, _explain_none(at, references, rules))
            continue

        likeness = similarity(number, first, last)
        score = likeness.astype(np.float64)
        if timed:
            score -= LIKENESS_PER_SECOND * np.abs(np.asarray(references.seconds[first:last]) - at)
        best = first + int(score.argmax())
        if likeness[best - first] < LEAST_LIKENESS:
            current = None
            best_likeness = round(float(likeness[best - first]), 4)
            yield ReferenceChoice(pts, None, None, "unlike", best_likeness)
            continue

        why: Why = "content"
        if current is not None and current != best and first <= current < last:
            gain = score[best - first] - score[current - first]
            lack = SHARE_OF_LACK * (1.0 - float(likeness[current - first]))
            if gain <= max(SAME_LIKENESS, min(LIKENESS_MARGIN, lack)):
                best = current
                why = "kept"

        current = best
        seconds = round(references.seconds[best] - at, 6) if timed else None
        value = round(float(likeness[best - first]), 4)
        distance = None if seconds is None else abs(seconds)
        also, away = list_distances(at, further.choose(best, first, likeness, distance), references)
        also_seconds = away if timed else ()
        yield ReferenceChoice(
            pts, references.pts[best], seconds, why, value, also=also, also_seconds=also_seconds
        )


def _find_window(at: float, references: References, rules: FrameRules) -> tuple[int, int]:
    """Return the index range [first, last) of the references that the frame at `at` may use.

    They are in the frame's scene and within `rules.max_distance`. `at` is in seconds.
    """
    first, last = _find_scene(at, references, rules)
    times = references.seconds
    return (
        bisect_left(times, at - rules.max_distance, first, last),
        bisect_right(times, at + rules.max_distance, first, last),
    )


def _find_scene(at: float, references: References, rules: FrameRules) -> tuple[int, int]:
    """Return the index range [first, last) of the references in the scene at `at` seconds."""
    scene = bisect_right(rules.cuts, at)
    first = bisect_left(references.seconds, rules.cuts[scene - 1]) if scene else 0
    if scene == len(rules.cuts):
        return first, len(references.seconds)
    return first, bisect_left(references.seconds, rules.cuts[scene])


def _find_nearest(at: float, seconds: Sequence[float], first: int, last: int) -> int | None:
    """Return the index in [first, last) of the time nearest to `at`, or None if the range is empty.

    In a tie, the earlier time wins.
    """
    if first >= last:
        return None
    after = bisect_left(seconds, at, first, last)
    if after == first:
        return first
    if after == last or at - seconds[after - 1] <= seconds[after] - at:
        return after - 1
    return after


def _explain_none(at: float, references: References, rules: FrameRules) -> Why:
    """Return why the frame at `at` seconds has no reference."""
    nearest = _find_nearest(at, references.seconds, 0, len(references.seconds))
    if nearest is not None and abs(references.seconds[nearest] - at) <= rules.max_distance:
        return "cut"
    return "too far"
