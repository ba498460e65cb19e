"""Choose further references for an LR frame, which show what its first reference does not."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from pipeline.pairing.rules import FrameRules, References, Similarity

# Unless the user sets the number of references, a second one has to be worth the work. The limits
# below are in frame intervals of the input.
# If the first reference is nearer than this, it shows the frame's own instant, and another one can
# add nothing. Frames of a second camera are at most half an interval away, whatever their phase.
SAME_INSTANT = 0.75
# Two references that are closer together than this are neighbouring frames of a second camera, and
# show nearly the same picture. Key frames are farther apart.
ADJACENT = 3.5
# If the second reference is farther away than the first by more than this, its weight is below a
# third. It would gain only about 0.02 dB (on the bundled clip at x4, with every 15th frame a key
# frame), but the frame would take about 60 % longer than with one reference.
MOST_FARTHER = 10.5

# Correlation above which a reference counts as a copy of another one.
COPY_LIKENESS = 0.9995
# The lack of a reference is 1 minus its correlation. A further reference may lack up to LACK_RATIO
# times as much as the best one, plus LACK_MARGIN, so that still scenes can have further references.
LACK_RATIO = 2.0
LACK_MARGIN = 0.02
# Gain in correlation required to replace a further reference of the previous frame.
KEPT_MARGIN = 0.01


def choose_further_by_time(
    at: float, best: int, scene: tuple[int, int], references: References, rules: FrameRules
) -> list[int]:
    """Return the indices of further references for the frame at `at` seconds, nearest first.

    `best` is the index of the frame's first reference, and `scene` is the index range of the
    references in its scene. The nearest reference on the other side of the frame from `best` is
    preferred, and is the only one unless `rules.count` is above 2. If `rules.count` is None, that
    reference is included only if the gain is worth the work.
    """
    if rules.count == 1:
        return []

    near = _list_near(at, best, scene, references, rules)
    times = references.seconds
    across = [i for i in near if np.sign(times[i] - at) != np.sign(times[best] - at)][:1]
    if rules.count is None:
        return [
            i for i in across if _is_worthwhile(abs(times[best] - at), abs(times[i] - at), rules)
        ]

    others = [i for i in near if i not in across][: rules.count - 1 - len(across)]
    chosen = across if rules.count == 2 else across + others
    return [i for i in near if i in chosen]


def _list_near(
    at: float, best: int, scene: tuple[int, int], references: References, rules: FrameRules
) -> list[int]:
    """Return the indices of references within `rules.max_distance`, except `best`, nearest first.

    On each side of the frame, no more are included than `rules.count` can require.
    """
    first, last = scene
    here = bisect_left(references.seconds, at, first, last)
    reach = (rules.count or 2) + 1

    found: dict[int, int] = {}
    for i in range(max(first, here - reach), min(last, here + reach)):
        in_reach = abs(references.seconds[i] - at) <= rules.max_distance
        # damaged recordings may have several frames with the same pts
        if in_reach and references.pts[i] != references.pts[best]:
            found.setdefault(references.pts[i], i)
    return sorted(found.values(), key=lambda i: (abs(references.seconds[i] - at), i))


def _is_worthwhile(nearest: float, second: float, rules: FrameRules) -> bool:
    """Return whether a second reference, on the other side of the frame, is worth the work.

    `nearest` and `second` are the references' distances from the frame in seconds.
    """
    interval = rules.interval
    return (
        nearest >= SAME_INSTANT * interval
        and nearest + second >= ADJACENT * interval
        and second - nearest <= MOST_FARTHER * interval
    )


class FurtherByContent:
    """Chooses further references by similarity, preferring those of the previous frame."""

    def __init__(self, rules: FrameRules, among: Similarity | None) -> None:
        self._rules = rules
        self._among = among
        self._kept: list[int] = []

    def choose(
        self, best: int, first: int, likeness: NDArray[np.float32], distance: float | None
    ) -> list[int]:
        """Return the indices of further references, most similar first.

        `likeness` contains the similarity between the frame and each reference from `first` on.
        `distance` is the distance of `best` from the frame in seconds, or None without times.
        References that nearly equal one already chosen, or are much less similar than `best`, are
        left out. If `rules.count` is None, at most one is chosen, and none if `best` shows the
        frame's instant.
        """
        count = 2 if self._rules.count is None else self._rules.count
        same_instant = distance is not None and distance < SAME_INSTANT * self._rules.interval
        if self._among is None or count == 1 or (self._rules.count is None and same_instant):
            return []

        last = first + len(likeness)
        lack = LACK_RATIO * (1 - float(likeness[best - first])) + LACK_MARGIN
        score = np.where(likeness >= 1 - lack, likeness.astype(np.float64), -np.inf)
        for i in self._kept:
            if first <= i < last:
                score[i - first] += KEPT_MARGIN

        chosen = [best]
        while len(chosen) < count:
            score[self._among(chosen[-1], first, last) > COPY_LIKENESS] = -np.inf
            score[chosen[-1] - first] = -np.inf
            most = int(score.argmax())
            if score[most] == -np.inf:
                break
            chosen.append(first + most)

        self._kept = chosen[1:]
        return self._kept


def list_distances(
    at: float, chosen: Sequence[int], references: References
) -> tuple[tuple[int, ...], tuple[float, ...]]:
    """Return the pts of the chosen references, and their times minus `at`, in seconds."""
    return (
        tuple(references.pts[i] for i in chosen),
        tuple(round(references.seconds[i] - at, 6) for i in chosen),
    )
