"""Segments hold every frame once and start at key frames where they can."""

from __future__ import annotations

from fractions import Fraction

from hypothesis import given
from hypothesis import strategies as st

from pipeline.planning.segments import cut_segments

MS = Fraction(1, 1000)


def test_segments_start_at_key_frames() -> None:
    pts = list(range(0, 30_000, 40))
    segments = cut_segments(pts, list(range(0, 30_000, 3_000)), 30_000, MS, 5.0)
    assert [s.start_pts for s in segments] == [0, 6_000, 12_000, 18_000, 24_000]
    assert sum(s.frames for s in segments) == len(pts)


def test_without_key_frames_a_segment_has_the_requested_length() -> None:
    pts = list(range(0, 30_000, 40))
    segments = cut_segments(pts, [0], 30_000, MS, 10.0)
    assert [s.start_pts for s in segments] == [0, 10_000, 20_000]


def test_one_frame_is_one_segment() -> None:
    (segment,) = cut_segments([7], [7], 8, MS, 10.0)
    assert (segment.start_pts, segment.end_pts, segment.frames) == (7, 8, 1)


@given(
    steps=st.lists(st.integers(1, 900), min_size=1, max_size=80),
    first=st.integers(-5_000, 5_000),
    every=st.integers(1, 20),
    seconds=st.floats(0.05, 5),
)
def test_every_frame_is_in_exactly_one_segment(
    steps: list[int], first: int, every: int, seconds: float
) -> None:
    pts = [first]
    for step in steps:
        pts.append(pts[-1] + step)
    segments = cut_segments(pts, pts[::every], pts[-1] + 40, MS, seconds)
    counted = [[p for p in pts if s.start_pts <= p < s.end_pts] for s in segments]
    assert [p for part in counted for p in part] == pts
    assert [len(part) for part in counted] == [s.frames for s in segments]
    assert all(part and part[0] == s.start_pts for part, s in zip(counted, segments, strict=True))
    assert [s.index for s in segments] == list(range(len(segments)))
