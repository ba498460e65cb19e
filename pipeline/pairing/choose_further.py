"""Choose the references of an LR frame beyond its first, which show what that one hides."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from pipeline.pairing.rules import FrameRules, References, Similarity

# When the number of references is left to the program, a second one has to be worth its time. These
# limits are in frames of the input.
# A nearer first reference shows the frame's own instant: there is nothing that another could add.
# The frames of a second camera are at most half a frame away, whatever their phase.
SAME_INSTANT = 0.75
# Two references that are closer together are neighbours in a second camera's recording, and show
# nearly the same. Key frames are farther apart.
ADJACENT = 3.5
# A second reference that is farther than the first by more weighs less than a third. It gains about
# 0.02 dB (the bundled clip at x4, a key frame in every 15 frames) for 0.6 of a frame's time.
MOST_FARTHER = 10.5

# Correlation above which a reference is a copy of another one.
COPY_LIKENESS = 0.9995
# A further reference may lack this many times the correlation that the best one lacks, and a little
# more, which is all that counts in a still scene.
LACK_RATIO = 2.0
LACK_MARGIN = 0.02
# Gain in correlation required to replace a further reference of the previous frame.
KEPT_MARGIN = 0.01


def choose_further_by_time(
    at: float, best: int, scene: tuple[int, int], references: References, rules: FrameRules
) -> list[int]:
    """Return the indices of further references for the frame at `at` seconds, the nearest first.

    `best` is the index of its first reference, and `scene` the index range of its scene. The second
    is the nearest one on the other side of the frame. If `rules.count` is more than 2, others
    follow by distance. If it is None, there is a second one only where it is worth its time.
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
    """Return enough indices of references in reach other than `best`, the nearest first."""
    first, last = scene
    here = bisect_left(references.seconds, at, first, last)
    reach = (rules.count or 2) + 1

    found: dict[int, int] = {}
    for i in range(max(first, here - reach), min(last, here + reach)):
        in_reach = abs(references.seconds[i] - at) <= rules.max_distance
        # damaged recordings may have several frames with one pts
        if in_reach and references.pts[i] != references.pts[best]:
            found.setdefault(references.pts[i], i)
    return sorted(found.values(), key=lambda i: (abs(references.seconds[i] - at), i))


def _is_worthwhile(nearest: float, second: float, rules: FrameRules) -> bool:
    """Return whether a reference on the other side of the frame is worth the engine's time."""
    interval = rules.interval
    return (
        nearest >= SAME_INSTANT * interval
        and nearest + second >= ADJACENT * interval
        and second - nearest <= MOST_FARTHER * interval
    )


class FurtherByContent:
    """Chooses further references by similarity, and keeps those of the previous frame."""

    def __init__(self, rules: FrameRules, among: Similarity | None) -> None:
        self._rules = rules
        self._among = among
        self._kept: list[int] = []

    def choose(
        self, best: int, first: int, likeness: NDArray[np.float32], distance: float | None
    ) -> list[int]:
        """Return the indices of further references, the most similar first.

        `likeness` has the similarity to the frame of every reference from index `first` on, and
        `distance` the seconds to the best one, None without times. Near copies of a reference that
        is already chosen are left out, and so are those that are much less similar than `best`.
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
    """Return the pts of references and their distances in seconds from the frame at `at`."""
    return (
        tuple(references.pts[i] for i in chosen),
        tuple(round(references.seconds[i] - at, 6) for i in chosen),
    )
