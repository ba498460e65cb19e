"""The choice of further references for each input frame, by time and by content."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.pairing.choose_frames import choose_by_content, choose_by_time
from pipeline.pairing.rules import FrameRules, References, find_half_interval
from pipeline.schema.reference_map import ReferenceChoice

FRAME = 0.04  # seconds


def choose(
    lr: list[float],
    ref: list[float],
    count: int | None,
    *,
    cuts: tuple[float, ...] = (),
    max_distance: float = 2.0,
) -> list[ReferenceChoice]:
    """Choose by time, with pts equal to the position in each list."""
    rules = FrameRules(max_distance, cuts, find_half_interval(lr), count)
    references = References(list(range(len(ref))), ref)
    return list(choose_by_time(list(range(len(lr))), lr, references, rules))


def list_frames(count: int) -> list[float]:
    return [i * FRAME for i in range(count)]


def test_frames_between_two_key_frames_borrow_from_both() -> None:
    choices = choose(list_frames(31), [0.0, 15 * FRAME, 30 * FRAME], None)
    # the key frame itself, and the two frames beside it, need no other
    assert [c.also for c in choices] == (
        [()] * 3 + [(1,)] * 5 + [(0,)] * 5 + [()] * 5 + [(2,)] * 5 + [(1,)] * 5 + [()] * 3
    )
    assert (choices[4].ref_pts, choices[4].seconds) == (0, -0.16)
    assert choices[4].also_seconds == (0.44,)
    assert all(len(c.also) == len(c.also_seconds) for c in choices)


def test_frames_outside_all_key_frames_borrow_from_one() -> None:
    choices = choose(list_frames(30), [10 * FRAME, 20 * FRAME], None)
    assert {c.also for c in choices[:10] + choices[21:]} == {()}
    assert all(c.also for c in choices[11:20])


@pytest.mark.parametrize("count", [None, 2, 3])
def test_no_reference_comes_from_the_other_side_of_a_cut(count: int | None) -> None:
    choices = choose(
        list_frames(31), [0.0, 15 * FRAME, 30 * FRAME], count, cuts=(8 * FRAME, 9 * FRAME)
    )
    assert {c.also for c in choices[:8]} == {()}
    assert choices[8].ref_pts is None
    assert all(2 in (c.ref_pts, *c.also) for c in choices[18:30])
    assert all(0 not in (c.ref_pts, *c.also) for c in choices[9:])


def test_a_second_reference_far_behind_the_first_is_not_worth_its_time() -> None:
    key = 60
    choices = choose(list_frames(key + 1), [0.0, key * FRAME], None, max_distance=9.0)
    assert [n for n, c in enumerate(choices) if c.also] == list(range(25, 36))
    both = choose(list_frames(key + 1), [0.0, key * FRAME], 2, max_distance=9.0)
    assert all(c.also for c in both)
    near = choose(list_frames(key + 1), [0.0, key * FRAME], 2, max_distance=40.5 * FRAME)
    assert [n for n, c in enumerate(near) if c.also] == list(range(20, 41))


@pytest.mark.parametrize("rate", [1.0, 0.8, 0.5])
@pytest.mark.parametrize("phase", [0.0, 0.3, 0.5])
def test_a_second_camera_needs_no_second_frame_unless_it_is_requested(
    rate: float, phase: float
) -> None:
    lr = list_frames(50)
    ref = [(i / rate + phase) * FRAME for i in range(round(50 * rate))]
    assert {c.also for c in choose(lr, ref, None)} == {()}
    requested = choose(lr, ref, 2)
    assert all(len(c.also) == 1 for c in requested[2:-3])
    assert all(c.also == () for c in choose(lr, ref, 1))


def test_more_references_follow_by_distance() -> None:
    ref = [0.0, 0.4, 0.8, 1.2, 1.6]
    (_, choice, _) = choose([0.0, 0.5, 1.0], ref, 3)
    assert (choice.ref_pts, choice.also) == (1, (2, 0))
    (_, choice, _) = choose([0.0, 0.5, 1.0], ref, 8)
    assert (choice.ref_pts, choice.also) == (1, (2, 0, 3, 4))
    # the other side is preferred, but the nearest come first
    (_, _, choice) = choose([0.0, 0.5, 1.5], [1.1, 1.2, 1.3, 1.4, 1.9], 3)
    assert (choice.ref_pts, choice.also) == (3, (2, 4))


def test_at_the_ends_two_references_would_be_on_one_side() -> None:
    choices = choose([0.0, 0.4, 3.0], [0.5, 1.0, 2.0, 2.5], 2)
    assert [c.also for c in choices] == [(), (), ()]
    choices = choose([0.0, 0.4, 3.0], [0.5, 1.0, 2.0, 2.5], 3)
    assert [c.also for c in choices] == [(1, 2), (1, 2), (2, 1)]


def test_a_reference_whose_time_occurs_twice_is_used_once() -> None:
    references = References([7, 7, 8, 9, 9], [0.0, 0.0, 0.4, 0.8, 0.8])
    choices = choose_by_time([0], [0.5], references, FrameRules(2.0, count=8))
    assert (choices[0].ref_pts, choices[0].also) == (8, (9, 7))


@given(
    lr=st.lists(st.floats(0, 20), min_size=1, max_size=40, unique=True).map(sorted),
    ref=st.lists(st.floats(0, 20), min_size=1, max_size=12, unique=True).map(sorted),
    cuts=st.lists(st.floats(0, 20), max_size=4, unique=True).map(sorted),
    count=st.none() | st.integers(1, 8),
)
def test_every_reference_is_within_the_rules(
    lr: list[float], ref: list[float], cuts: list[float], count: int | None
) -> None:
    choices = choose(lr, ref, count, cuts=tuple(cuts), max_distance=3.0)
    alone = choose(lr, ref, 1, cuts=tuple(cuts), max_distance=3.0)
    # the first is the same, whatever follows it
    assert [(c.ref_pts, c.why) for c in choices] == [(c.ref_pts, c.why) for c in alone]

    def scene(at: float) -> int:
        return sum(cut <= at for cut in cuts)

    for at, choice in zip(lr, choices, strict=True):
        if choice.ref_pts is None:
            assert choice.also == ()
            continue
        used = [choice.ref_pts, *choice.also]
        assert len(set(used)) == len(used) <= (count or 2)
        assert all(scene(ref[i]) == scene(at) and abs(ref[i] - at) <= 3.0 for i in used)
        distances = [abs(ref[i] - at) for i in choice.also]
        assert distances == sorted(distances)
        assert choice.also_seconds == pytest.approx([ref[i] - at for i in choice.also], abs=1e-6)
        if count is not None and count > 2:
            allowed = [t for t in ref if scene(t) == scene(at) and abs(t - at) <= 3.0]
            assert len(used) == min(count, len(allowed))


def choose_alike(
    likeness: list[list[float]],
    among: list[list[float]],
    count: int | None,
    seconds: list[float] | None = None,
) -> list[ReferenceChoice]:
    """Choose by content from tables of similarity: frame x reference, reference x reference."""
    table, between = np.array(likeness, np.float32), np.array(among, np.float32)
    frames = len(likeness)
    return list(
        choose_by_content(
            list(range(frames)),
            list_frames(frames),
            References(list(range(len(among))), seconds or [0.0] * len(among)),
            FrameRules(2.0, margin=FRAME / 2, count=count),
            lambda number, first, last: table[number, first:last],
            timed=seconds is not None,
            among=lambda number, first, last: between[number, first:last],
        )
    )


APART = [[1.0, 0.8, 0.8], [0.8, 1.0, 0.8], [0.8, 0.8, 1.0]]


def test_the_second_by_content_is_the_next_most_similar() -> None:
    (choice,) = choose_alike([[0.92, 0.9, 0.95]], APART, None)
    assert (choice.ref_pts, choice.also, choice.also_seconds) == (2, (0,), ())
    (choice,) = choose_alike([[0.92, 0.9, 0.95]], APART, 3)
    assert choice.also == (0, 1)
    (choice,) = choose_alike([[0.92, 0.9, 0.95]], APART, 1)
    assert choice.also == ()


def test_a_copy_of_the_first_and_another_scene_add_nothing() -> None:
    copies = [[1.0, 0.8, 0.99999], [0.8, 1.0, 0.8], [0.99999, 0.8, 1.0]]
    (choice,) = choose_alike([[0.95, 0.9, 0.95]], copies, None)
    assert (choice.ref_pts, choice.also) == (0, (1,))
    (choice,) = choose_alike([[0.95, 0.3, 0.95]], copies, 3)
    assert (choice.ref_pts, choice.also) == (0, ())
    # pictures with another field of view all correlate little
    (choice,) = choose_alike([[0.5, 0.3, 0.2]], APART, None)
    assert (choice.ref_pts, choice.also) == (0, (1,))


def test_the_second_by_content_is_kept() -> None:
    near = [[0.95, 0.9, 0.9 + sign * 0.004] for sign in (1, -1, 1, -1)]
    assert [c.also for c in choose_alike(near, APART, None)] == [(2,)] * 4
    clear = [[0.95, 0.9, 0.92], [0.95, 0.92, 0.9]]
    assert [c.also for c in choose_alike(clear, APART, None)] == [(2,), (1,)]


def test_by_content_the_own_instant_needs_no_second() -> None:
    likeness = [[0.97, 0.95, 0.9]] * 2
    choices = choose_alike(likeness, APART, None, [0.0, 0.6, 1.2])
    assert [c.also for c in choices] == [(), (1,)]
    assert choices[1].also_seconds == (0.56,)
    both = choose_alike(likeness, APART, 2, [0.0, 0.6, 1.2])
    assert [c.also for c in both] == [(1,), (1,)]
