"""The choice of a reference frame for each input frame, by time and by content."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.pairing.choose_frames import choose_by_content, choose_by_time
from pipeline.pairing.rules import FrameRules, References, find_half_interval
from pipeline.schema.reference_map import ReferenceChoice


def choose_by_position(
    lr: list[float], ref: list[float], rules: FrameRules
) -> list[ReferenceChoice]:
    """Choose by time, with pts equal to the position in each list."""
    references = References(list(range(len(ref))), ref)
    return choose_by_time(list(range(len(lr))), lr, references, rules)


def test_key_frames_every_15_serve_the_frames_around_them() -> None:
    lr = [i / 30 for i in range(46)]
    choices = choose_by_position(
        lr, [0.0, 0.5, 1.0, 1.5], FrameRules(2.0, margin=find_half_interval(lr))
    )
    used = [c.ref_pts for c in choices]
    assert used == [0] * 8 + [1] * 15 + [2] * 15 + [3] * 8
    assert choices[16].seconds == pytest.approx(15 / 30 - 16 / 30, abs=1e-6)
    assert {c.why for c in choices} == {"nearest"}


def test_a_tie_goes_to_the_reference_in_use() -> None:
    assert [
        c.ref_pts for c in choose_by_position([0.0, 0.5, 1.0], [0.0, 1.0], FrameRules(2.0))
    ] == [0, 0, 1]


def test_nothing_is_borrowed_across_a_cut() -> None:
    choices = choose_by_position(
        [0.0, 0.1, 0.2, 0.3, 0.4], [0.0, 0.35], FrameRules(2.0, cuts=[0.2])
    )
    assert [c.ref_pts for c in choices] == [0, 0, 1, 1, 1]
    alone = choose_by_position([0.0, 0.1, 0.2], [0.0], FrameRules(2.0, cuts=[0.2]))
    assert [(c.ref_pts, c.why) for c in alone][-1] == (None, "cut")


def test_a_reference_at_the_cut_belongs_to_the_new_scene() -> None:
    choices = choose_by_position([0.1, 0.2], [0.0, 0.2], FrameRules(2.0, cuts=[0.2]))
    assert [c.ref_pts for c in choices] == [0, 1]


def test_a_reference_that_is_too_far_is_recorded() -> None:
    choices = choose_by_position([0.0, 1.0, 5.0], [0.0], FrameRules(2.0))
    assert [(c.ref_pts, c.why) for c in choices] == [
        (0, "nearest"),
        (0, "nearest"),
        (None, "too far"),
    ]


def test_jitter_around_the_middle_does_not_flip_flop() -> None:
    lr = [0.48, 0.505, 0.495, 0.51, 0.49]
    free = [c.ref_pts for c in choose_by_position(lr, [0.0, 1.0], FrameRules(2.0))]
    held = [c.ref_pts for c in choose_by_position(lr, [0.0, 1.0], FrameRules(2.0, margin=0.05))]
    assert free == [0, 1, 0, 1, 0]
    assert held == [0] * 5


@given(
    lr=st.lists(st.floats(0, 20), min_size=1, max_size=40).map(sorted),
    ref=st.lists(st.floats(0, 20), min_size=1, max_size=12, unique=True).map(sorted),
    cuts=st.lists(st.floats(0, 20), max_size=4, unique=True).map(sorted),
    margin=st.floats(0, 0.5),
)
def test_every_choice_is_within_the_rules(
    lr: list[float], ref: list[float], cuts: list[float], margin: float
) -> None:
    choices = choose_by_position(lr, ref, FrameRules(3.0, cuts, margin))
    assert len(choices) == len(lr)

    def scene(at: float) -> int:
        return sum(cut <= at for cut in cuts)

    for at, choice in zip(lr, choices, strict=True):
        allowed = [t for t in ref if scene(t) == scene(at) and abs(t - at) <= 3.0]
        if choice.ref_pts is None:
            assert not allowed
            continue
        chosen = ref[choice.ref_pts]
        assert chosen in allowed
        assert abs(chosen - at) <= min(abs(t - at) for t in allowed) + margin + 1e-9


def test_content_takes_the_most_alike_within_the_window_and_keeps_it() -> None:
    table = np.array(
        [[0.9, 0.5, 0.99], [0.9, 0.905, 0.99], [0.5, 0.9, 0.99], [-0.2, -0.1, 0.99]], np.float32
    )
    choices = choose_by_content(
        [0, 1, 2, 3],
        [0.0, 0.1, 0.2, 0.3],
        References([0, 1, 2], [0.0, 0.2, 9.0]),
        FrameRules(2.0),
        lambda number, first, last: table[number, first:last],
        timed=True,
    )
    assert [c.ref_pts for c in choices] == [0, 0, 1, None]
    assert [c.why for c in choices] == ["content", "kept", "content", "unlike"]


def test_content_without_times_compares_all_references() -> None:
    choices = choose_by_content(
        [0],
        [100.0],
        References([0, 1], [0.0, 0.0]),
        FrameRules(2.0),
        lambda *_: np.array([0.4, 0.8], np.float32),
        timed=False,
    )
    assert (choices[0].ref_pts, choices[0].seconds, choices[0].similarity) == (1, None, 0.8)


def test_a_burst_of_quick_frames_gets_its_exact_references() -> None:
    # 25 fps with a burst of 100 fps, and a reference for every frame: half an interval is 20 ms
    lr = [0.0, 0.04, 0.08, 0.09, 0.10, 0.11, 0.15, 0.19, 0.23, 0.27, 0.31]
    choices = choose_by_position(lr, lr, FrameRules(2.0, margin=find_half_interval(lr)))
    assert find_half_interval(lr) == pytest.approx(0.02)
    assert [c.ref_pts for c in choices] == list(range(len(lr)))


def test_a_reference_is_not_kept_past_the_middle() -> None:
    lr = [i / 25 for i in range(101)]
    references = [0.0, 2.0, 4.0]
    for at, choice in zip(
        lr, choose_by_position(lr, references, FrameRules(2.0, margin=0.02)), strict=True
    ):
        assert choice.ref_pts is not None
        nearest = min(abs(t - at) for t in references)
        assert abs(references[choice.ref_pts] - at) <= nearest + 0.02 + 1e-9


def test_content_compares_only_references_in_the_window() -> None:
    windows: list[tuple[int, int]] = []

    def similarity(number: int, first: int, last: int) -> np.ndarray:
        windows.append((first, last))
        return np.full(last - first, 0.5, np.float32)

    references = References(list(range(1000)), [i / 10 for i in range(1000)])
    rules = FrameRules(2.0, cuts=[51.0])
    choose_by_content([0, 1], [50.0, 99.0], references, rules, similarity, timed=True)
    assert windows == [(480, 510), (970, 1000)]
