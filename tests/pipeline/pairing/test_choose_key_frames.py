"""The frames that are chosen as key frames: scenes, number, likeness and sharpness."""

from __future__ import annotations

from array import array
from functools import cache

import cv2
import numpy as np
import pytest

from pipeline.media.read.frames import Frame, read_frames
from pipeline.media.read.probe import probe
from pipeline.pairing.choose_key_frames import (
    Wish,
    choose_key_frames,
    compare_nearby,
    find_farthest,
    list_parts,
    list_scenes,
    measure_likeness,
    note_sharpness,
)
from pipeline.pairing.cuts import Survey, survey_frames
from tests.support import ROOT

MONSTER = ROOT / "pipeline" / "samples" / "monster.mp4"
BUNNY = ROOT / "tests" / "data" / "big_buck_bunny_720p.mp4"
RATE = 30


@cache
def read_clip(name: str) -> list[np.ndarray]:
    """Return the first 50 frames of a clip at 180 x 120."""
    found = []
    for frame in read_frames(probe(name)):
        found.append(cv2.resize(frame.rgb, (180, 120), interpolation=cv2.INTER_AREA))
        if len(found) == 50:
            break
    return found


def survey(pictures: list[np.ndarray]) -> tuple[Survey, list[float], array[float]]:
    """Return the survey, the times and the sharpness of pictures at 30 per second."""
    sharpness = array("d")
    frames = (Frame(pts=100 + 3 * number, rgb=rgb) for number, rgb in enumerate(pictures))
    look = survey_frames(note_sharpness(frames, sharpness), cuts=True)
    return look, [number / RATE for number in range(len(pictures))], sharpness


def show_two_scenes() -> list[np.ndarray]:
    return [*read_clip(str(MONSTER))[:25], *read_clip(str(BUNNY))[:35]]


@pytest.mark.parametrize("wish", [Wish(), Wish(count=2), Wish(count=5), Wish(every=0.5)])
def test_every_scene_gets_a_key_frame(wish: Wish) -> None:
    look, seconds, sharpness = survey(show_two_scenes())
    assert list_scenes(look.pts, look.cuts) == [(0, 25), (25, 60)]
    chosen = choose_key_frames(look, seconds, sharpness, wish)
    assert chosen == sorted(set(chosen))
    assert min(chosen) < 25 <= max(chosen)


@pytest.mark.parametrize("count", [1, 2, 3, 7, 59, 60, 500])
def test_the_number_of_key_frames_is_exact(count: int) -> None:
    chosen = choose_key_frames(*survey(show_two_scenes()), Wish(count=count))
    assert len(set(chosen)) == len(chosen) == min(count, 60)


def test_a_single_key_frame_is_in_the_longer_scene() -> None:
    (only,) = choose_key_frames(*survey(show_two_scenes()), Wish(count=1))
    assert only >= 25


def test_every_part_of_a_scene_gets_one_key_frame() -> None:
    look, seconds, sharpness = survey(show_two_scenes())
    parts = list_parts(list_scenes(look.pts, look.cuts), seconds, 0.4)
    assert parts == [[(0, 12), (12, 25)], [(25, 37), (37, 48), (48, 60)]]
    chosen = choose_key_frames(look, seconds, sharpness, Wish(every=0.4))
    assert len(chosen) == 5
    for first, last in [part for scene in parts for part in scene]:
        assert len([key for key in chosen if first <= key < last]) == 1


def test_parts_are_cut_by_time_at_a_variable_rate() -> None:
    sparse = [10.0 * number for number in range(10)]
    dense = [100 + number * 10 / 990 for number in range(990)]
    (parts,) = list_parts([(0, 1000)], sparse + dense, 10)
    assert parts == [*((number, number + 1) for number in range(10)), (10, 1000)]


def test_parts_without_a_frame_are_left_out() -> None:
    seconds = [5.0, 5.5, 6.0, 35.0, 35.5, 46.0, 47.0]
    parts = list_parts([(0, 5), (5, 7)], seconds, 10)
    assert parts == [[(0, 3), (3, 5)], [(5, 7)]]


def rate(pictures: list[np.ndarray], keys: list[int]) -> float:
    """Return the mean over all frames of the correlation with the key frame most like them."""
    small = [cv2.resize(p, (32, 18), interpolation=cv2.INTER_AREA) for p in pictures]
    gray = [cv2.cvtColor(p, cv2.COLOR_RGB2GRAY).ravel() for p in small]
    table = np.corrcoef(np.stack(gray).astype(np.float64))
    return float(table[:, keys].max(axis=1).mean())


@pytest.mark.parametrize("count", [1, 2, 4])
def test_chosen_key_frames_are_more_alike_than_random_ones(count: int) -> None:
    pictures = read_clip(str(MONSTER))
    look, seconds, sharpness = survey(pictures)
    chosen = choose_key_frames(look, seconds, sharpness, Wish(count=count))
    random = np.random.default_rng(2)
    others = [rate(pictures, random.permutation(50)[:count].tolist()) for _ in range(200)]
    assert rate(pictures, chosen) > np.quantile(others, 0.8)
    assert measure_likeness(look, chosen) == pytest.approx(rate(pictures, chosen), abs=0.005)


def test_a_blurred_frame_is_not_chosen() -> None:
    pictures = list(read_clip(str(MONSTER)))
    (best,) = choose_key_frames(*survey(pictures), Wish(count=1))
    pictures[best] = cv2.blur(pictures[best], (9, 1))
    (other,) = choose_key_frames(*survey(pictures), Wish(count=1))
    assert other != best
    assert abs(other - best) < 10


def test_a_still_scene_needs_one_key_frame_and_motion_needs_more() -> None:
    still = [read_clip(str(MONSTER))[0]] * 50
    assert len(choose_key_frames(*survey(still), Wish())) == 1
    assert len(choose_key_frames(*survey(read_clip(str(MONSTER))), Wish())) > 1


def test_frames_are_at_most_wholly_like_their_key_frames() -> None:
    for picture in read_clip(str(MONSTER)):
        look, *_ = survey([picture] * 2)
        assert 0.99 < measure_likeness(look, [0]) <= 1


def test_sharpness_is_compared_with_frames_nearby_only() -> None:
    at = np.array([0.0, 0.4, 0.8, 3.0])
    shares = compare_nearby(np.array([8.0, 4.0, 2.0, 1.0]), at)
    assert shares.tolist() == [1.0, 0.5, 0.5, 1.0]
    assert compare_nearby(np.zeros(4), at).tolist() == [1.0] * 4


def test_the_farthest_frame_is_found_within_its_scene() -> None:
    seconds = [0.0, 1.0, 2.0, 3.0, 4.0, 9.0, 20.0]
    assert find_farthest([(0, 5), (5, 7)], seconds, [1, 6]) == 11.0
    assert find_farthest([(0, 5), (5, 7)], seconds, [1]) == 3.0
    assert find_farthest([(0, 7)], seconds, [1, 4]) == 16.0
