"""Choose the frames of a recording that would help most as its references.

A set of key frames is rated by the likeness of each frame to the most similar key frame of its
scene, summed over all frames. The choice of references by content uses the same likeness. The sum
is submodular, so repeatedly adding the frame with the largest gain reaches at least 63 % of the
best sum (Nemhauser, Wolsey and Fisher 1978). This bound does not take into account the rule that
every scene gets a key frame.
"""

from __future__ import annotations

from array import array
from bisect import bisect_left
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

import cv2
import numpy as np
from numpy.typing import NDArray

from pipeline.media.read.frames import Frame
from pipeline.pairing.choose_frames import LIKENESS_MARGIN, LIKENESS_PER_SECOND
from pipeline.pairing.cuts import Survey
from pipeline.pairing.thumbnails import correlate_thumbnails
from pipeline.pixels import Pixels, high_byte

# Approximate limit on the number of frames that are compared with each other. In a longer
# recording, the sharpest frame of each small group represents the group.
MOST_COMPARED = 4096
# Reduction of a key frame's score if it is completely blurred compared with the sharpest frame
# nearby. A key frame that is half as sharp as that frame scores as if it were five seconds farther
# away.
SOFTNESS = 0.1
NEARBY = 0.5  # seconds
ROUNDING = 1e-6  # seconds; a frame that precedes a part by less than this belongs to the part

Score = NDArray[np.float32]


@dataclass(frozen=True)
class Wish:
    """The requested number of key frames.

    Without `count` and `every`, key frames are added as long as each raises the mean likeness by
    LIKENESS_MARGIN or more.
    """

    count: int | None = None
    """Maximum number of key frames."""
    every: float | None = None
    """Approximate length, in seconds, of the parts of a scene that get one key frame each."""


def measure_sharpness(rgb: Pixels) -> float:
    """Return a frame's sharpness: the variance of its Laplacian, which is lower for blurred frames.

    `rgb` is H x W x 3.
    """
    gray = cv2.cvtColor(high_byte(rgb), cv2.COLOR_RGB2GRAY)
    return float(cv2.Laplacian(gray, cv2.CV_32F).var())


def note_sharpness(frames: Iterable[Frame], found: array[float]) -> Iterator[Frame]:
    """Yield the frames, and append the sharpness of each to `found`."""
    for frame in frames:
        found.append(measure_sharpness(frame.rgb))
        yield frame


def list_scenes(pts: Sequence[int], cuts: Sequence[int]) -> list[tuple[int, int]]:
    """Return each scene as a range (first, end) of positions in `pts`."""
    bounds = {0, len(pts), *(bisect_left(pts, cut) for cut in cuts)}
    return list(pairwise(sorted(bounds)))


def choose_key_frames(
    look: Survey, seconds: Sequence[float], sharpness: Sequence[float], wish: Wish
) -> list[int]:
    """Choose the key frames, and return their positions in `look.pts` in ascending order.

    Every scene, or every part of a scene if `wish.every` is set, gets a key frame. If `wish.count`
    is too small for that, the scenes or parts that gain most get one.
    """
    parts = list_parts(list_scenes(look.pts, look.cuts), seconds, wish.every)
    scenes = _score_scenes(look, seconds, sharpness, parts)
    frames = len(look.pts)
    most = frames if wish.count is None else min(wish.count, frames)

    chosen: list[int] = []
    while len(chosen) < most and any(scene.has_open_part for scene in scenes):
        chosen.append(max(scenes, key=lambda scene: scene.part_gain).pick_in_part())

    while len(chosen) < most and wish.every is None:
        best = max(scenes, key=lambda scene: scene.gain)
        if not best.has_more or (wish.count is None and best.gain < LIKENESS_MARGIN * frames):
            break
        chosen.append(best.pick())
    return sorted(chosen)


def list_parts(
    scenes: Sequence[tuple[int, int]], seconds: Sequence[float], every: float | None
) -> list[list[tuple[int, int]]]:
    """Return the parts of each scene as ranges (first, end) of frames.

    If `every` is None, each scene is one part. Otherwise, each scene is divided into parts of equal
    length, about `every` seconds; parts without a frame are left out.
    """
    if every is None:
        return [[scene] for scene in scenes]

    found = []
    for first, last in scenes:
        at = np.asarray(seconds[first:last], np.float64)
        count = max(1, round((at[-1] - at[0]) / every))
        ends = np.linspace(at[0], at[-1], count + 1)[1:-1] - ROUNDING
        bounds = {first, last, *(first + np.searchsorted(at, ends)).tolist()}
        found.append(list(pairwise(sorted(bounds))))
    return found


@dataclass
class _Scene:
    """The compared frames of a scene, and how well each would represent the others."""

    frames: NDArray[np.int64]
    """Positions of the compared frames in the recording."""
    starts: NDArray[np.int64]
    """Row of `score` at which each part of the scene begins."""
    weights: NDArray[np.float32]
    """Number of frames that each compared frame represents."""
    score: Score
    """Score of each compared frame (row) as a key frame for each compared frame (column)."""

    def __post_init__(self) -> None:
        self._served = np.zeros(len(self.frames), np.float32)
        self._free = np.ones(len(self.frames), bool)
        self._open = np.ones(len(self.starts), bool)
        self._update()

    @property
    def gain(self) -> float:
        """How much the best additional key frame would add to the sum; -1 if no frame is left."""
        return float(self._gains.max())

    @property
    def has_more(self) -> bool:
        """Whether any compared frame is not a key frame yet."""
        return bool(self._free.any())

    @property
    def part_gain(self) -> float:
        """The gain of the best frame in parts without a key frame; -1 if every part has one."""
        return float(self._part_gains.max())

    @property
    def has_open_part(self) -> bool:
        """Whether any part has no key frame yet."""
        return bool(self._open.any())

    def pick(self) -> int:
        """Choose the frame with the largest gain as a key frame, and return its position."""
        return self._pick_row(int(self._gains.argmax()))

    def pick_in_part(self) -> int:
        """Choose a key frame for the part that gains most, and return the frame's position.

        Only parts without a key frame are considered.
        """
        part = int(self._part_gains.argmax())
        first = int(self.starts[part])
        last = int(self.starts[part + 1]) if part + 1 < len(self.starts) else len(self.frames)
        self._open[part] = False
        return self._pick_row(first + int(self._gains[first:last].argmax()))

    def _pick_row(self, row: int) -> int:
        self._served = np.maximum(self._served, self.score[row])
        self._free[row] = False
        self._update()
        return int(self.frames[row])

    def _update(self) -> None:
        gains = np.maximum(self.score - self._served, 0) @ self.weights
        self._gains = np.where(self._free, gains, -1.0)
        best = np.maximum.reduceat(self._gains, self.starts)
        self._part_gains = np.where(self._open, best, -1.0)


def _score_scenes(
    look: Survey,
    seconds: Sequence[float],
    sharpness: Sequence[float],
    parts: Sequence[Sequence[tuple[int, int]]],
) -> list[_Scene]:
    step = -(-len(look.pts) // MOST_COMPARED)
    return [_score_scene(look, seconds, sharpness, scene, step) for scene in parts]


def _score_scene(
    look: Survey,
    seconds: Sequence[float],
    sharpness: Sequence[float],
    parts: Sequence[tuple[int, int]],
    step: int,
) -> _Scene:
    """Compare the frames of a scene with each other, using the sharpest of every `step` frames."""
    first, last = parts[0][0], parts[-1][1]
    clear = np.asarray(sharpness[first:last], np.float64)
    frames: list[int] = []
    starts: list[int] = []
    weights: list[int] = []
    for start, end in parts:
        starts.append(len(frames))
        for begin in range(start, end, step):
            group = clear[begin - first : min(begin + step, end) - first]
            frames.append(begin + int(group.argmax()))
            weights.append(len(group))

    at = np.asarray(seconds[first:last], np.float64)
    chosen = np.asarray(frames, np.int64)
    softness = (1.0 - compare_nearby(clear, at))[chosen - first]
    pictures = look.thumbnails[chosen]
    away = np.abs(at[chosen - first][:, None] - at[chosen - first][None])

    score = correlate_thumbnails(pictures, pictures)
    score -= (LIKENESS_PER_SECOND * away + SOFTNESS * softness[:, None]).astype(np.float32)
    return _Scene(
        chosen, np.asarray(starts, np.int64), np.asarray(weights, np.float32), np.maximum(score, 0)
    )


def compare_nearby(sharpness: NDArray[np.float64], at: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the ratio (0 to 1) of each frame's sharpness to the highest within NEARBY seconds.

    `at` contains the frames' times in seconds, in ascending order.
    """
    first = np.searchsorted(at, at - NEARBY)
    last = np.searchsorted(at, at + NEARBY, side="right")
    most = [sharpness[a:b].max() for a, b in zip(first.tolist(), last.tolist(), strict=True)]
    greatest = np.asarray(most)
    return np.where(sharpness < greatest, sharpness / np.maximum(greatest, 1e-9), 1.0)


def measure_likeness(look: Survey, key_frames: Sequence[int]) -> float:
    """Return the mean likeness (0 to 1) of all frames to the most similar key frame of their scene.

    Frames of a scene without a key frame count as 0.
    """
    total = 0.0
    for first, last in list_scenes(look.pts, look.cuts):
        keys = [key for key in key_frames if first <= key < last]
        if not keys:
            continue
        pictures = look.thumbnails[np.asarray(keys, np.int64)]
        for begin in range(first, last, MOST_COMPARED):
            frames = look.thumbnails[begin : min(begin + MOST_COMPARED, last)]
            likeness = correlate_thumbnails(frames, pictures).max(axis=1)
            # the rounded thumbnails of equal pictures correlate by slightly more than 1
            total += float(np.clip(likeness, 0, 1).sum())
    return total / len(look.pts)


def find_farthest(
    scenes: Sequence[tuple[int, int]], seconds: Sequence[float], key_frames: Sequence[int]
) -> float:
    """Return the greatest distance in seconds between a frame and its scene's nearest key frame.

    Scenes without a key frame are ignored.
    """
    farthest = 0.0
    for first, last in scenes:
        keys = np.asarray([seconds[key] for key in key_frames if first <= key < last])
        if len(keys):
            at = np.asarray(seconds[first:last])
            after = np.searchsorted(keys, at).clip(max=len(keys) - 1)
            before = np.maximum(after - 1, 0)
            away = np.minimum(np.abs(keys[after] - at), np.abs(keys[before] - at))
            farthest = max(farthest, float(away.max()))
    return farthest
