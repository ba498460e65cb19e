"""Segments hold every frame once and start at key frames where they can."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from deploy.speed import Speed
from pipeline.planning.segments import (
    FEWEST_FRAMES,
    FURTHER_REFERENCE,
    LARGEST_GROUP,
    MOST_WORK,
    count_passes,
    cut_segments,
    cut_views,
    limit_frames,
)
from pipeline.recording import open_recording
from pipeline.schema.clip import LightField
from pipeline.schema.reference_map import ReferenceChoice, ReferenceMap, ViewChoice
from tests.support import scenes

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


def choices(served: int, plain: int = 0) -> ReferenceMap:
    """Return a map of frames with a reference, and of frames that are up-sampled plainly."""
    near = [ReferenceChoice(n, 0, 0.5, "nearest") for n in range(served)]
    none = [ReferenceChoice(served + n, None, None, "cut") for n in range(plain)]
    return ReferenceMap([*near, *none])


def test_a_slow_engine_gets_a_minute_of_work_in_a_segment() -> None:
    size = (320, 512)
    pixels = size[0] * size[1]
    assert limit_frames(choices(100), size, Speed("torch", 0.5 * pixels, 2.0)) == MOST_WORK * 0.5
    # frames without a reference cost nothing
    assert limit_frames(choices(50, 50), size, Speed("torch", 0.5 * pixels, 2.0)) == MOST_WORK
    assert limit_frames(choices(100), size, Speed("torch", 0.01 * pixels, 2.0)) == FEWEST_FRAMES


def test_further_references_cost_time() -> None:
    clip = ReferenceChoice(0, 0, 0.2, "nearest", also=(9, 18), also_seconds=(0.4, 0.6))
    assert count_passes(ReferenceMap([clip, clip])) == 2 * (1 + 2 * FURTHER_REFERENCE)
    view = ReferenceChoice(0, 5, 0.0, "nearest", views=ViewChoice(0, 1, 0, 0, 1, 0, (6, 7), (2, 3)))
    copied = ReferenceChoice(0, 5, 0.0, "given", views=ViewChoice(0, 0, 0, 0, 0))
    assert count_passes(ReferenceMap([view, copied])) == 3


def test_an_unknown_speed_changes_no_segment() -> None:
    assert limit_frames(choices(100), (320, 512), None) is None
    assert limit_frames(choices(0, 100), (320, 512), Speed("torch", 1.0, 0.0)) is None


def test_groups_of_views_hold_a_minute_of_work(tmp_path: Path) -> None:
    for row in range(2):
        for col in range(10):
            name = f"view_{row:02}_{col:02}.png"
            scenes.save_picture(tmp_path / "lf" / name, scenes.flowers(0, 0)[:16, :16])
    found = open_recording(str(tmp_path / "lf"))
    assert isinstance(found, LightField)
    assert [part.frames for part in cut_views(found, 10.0, None)] == [10, 10]
    assert [part.frames for part in cut_views(found, 10.0, None, most=8)] == [8, 8, 4]
    assert LARGEST_GROUP > 10
