"""References of frames that arrive one by one are those that a plan of the whole clip chooses."""

from __future__ import annotations

from fractions import Fraction

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from pipeline.arrays.choosing import ArrivingFrames
from pipeline.media.read.frames import Frame
from pipeline.pairing.choose_frames import choose_by_time
from pipeline.pairing.cuts import survey_frames
from pipeline.pairing.rules import FrameRules, References, find_half_interval

RATE = Fraction(25)


def make_frames(
    random: np.random.Generator, total: int, cuts: list[int]
) -> list[NDArray[np.uint8]]:
    """Return frames of slow pans, over another texture after each cut."""
    frames: list[NDArray[np.uint8]] = []
    for number in range(total):
        if number == 0 or number in cuts:
            coarse = random.integers(0, 255, (6, 12, 3), np.uint8).astype(np.uint8)
            ground = cv2.resize(coarse, (96, 36), interpolation=cv2.INTER_CUBIC)
        frames.append(np.ascontiguousarray(np.roll(ground, number, axis=1)[:, :64], np.uint8))
    return frames


@pytest.mark.parametrize("count", [None, 1, 2, 4])
@pytest.mark.parametrize("seed", range(5))
def test_the_choices_are_those_of_the_whole_clip(seed: int, count: int | None) -> None:
    random = np.random.default_rng(seed)
    total = 90
    cuts = sorted(random.choice(np.arange(6, total - 6), 4, replace=False).tolist())
    frames = make_frames(random, total, cuts)
    # references before and after all frames, at the times of frames, and between them
    between = random.uniform(-1, total / 25 + 1, 6)
    times = np.sort([*between, *random.choice(total, 6, replace=False) / 25])
    references = References(range(12), times.tolist())

    seen = survey_frames((Frame(n, rgb) for n, rgb in enumerate(frames)), cuts=True)
    assert len(seen.cuts) >= 3
    seconds = [n / 25 for n in range(total)]
    rules = FrameRules(0.6, [n / 25 for n in seen.cuts], find_half_interval(seconds), count)
    expected = list(choose_by_time(range(total), seconds, references, rules))
    assert {"cut"} <= {choice.why for choice in expected}

    arriving = ArrivingFrames(references, RATE, 0.6, count)
    found = []
    most_behind = 0
    for number, frame in enumerate(frames):
        found += arriving.add(frame)
        most_behind = max(most_behind, number - len(found))
    found += arriving.finish()
    assert found == expected
    assert most_behind <= 0.6 * 25 + 4
