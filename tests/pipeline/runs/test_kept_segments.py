"""How much work an interrupted run keeps: the length of segments, and what the message says."""

from __future__ import annotations

from pathlib import Path

from deploy.speed import Speed
from pipeline.ledger.ledger import Ledger
from pipeline.planning.pinned import pin_plan
from pipeline.planning.plan import make_plan
from pipeline.runs.conductor import OpenRun, describe_interruption
from pipeline.schema.plan import SegmentRecord
from pipeline.schema.settings import RunSettings
from tests.support.recordings import plan_pair, settings_for

PAIR_FRAMES = 60


def test_segments_of_a_slow_engine_are_short_and_stay_when_the_speed_changes(
    pair: tuple[Path, Path], tmp_path: Path
) -> None:
    settings = RunSettings(
        input=str(pair[0]),
        ref_stream=str(pair[1]),
        output=str(tmp_path / "out.mkv"),
        engine="torch",
    )
    pixels = 96 * 128

    def is_slow(engine: str, model: str, count: int) -> Speed:
        assert (engine, model, count) == ("torch", "fast", PAIR_FRAMES * pixels)
        return Speed(engine, pixels / 6, 1.0)  # 10 frames in a minute

    usual = make_plan(settings)
    slow = make_plan(settings, find_speed=is_slow)
    assert len(usual.segments) == 1
    assert [segment.frames for segment in slow.segments] == [10] * (PAIR_FRAMES // 10)
    assert make_plan(settings, find_speed=is_slow) == slow
    assert make_plan(settings, find_speed=lambda *_: None) == usual
    set_by_user = settings.model_copy(update={"segment": 10.0})
    assert make_plan(set_by_user, find_speed=is_slow).segments == usual.segments

    begun = pin_plan(slow, recut=True)
    with Ledger(begun):
        assert pin_plan(usual, recut=True) == begun
        assert pin_plan(usual).segments == usual.segments
        other = usual.model_copy(update={"batch": 5})
        assert pin_plan(other, recut=True).segments == usual.segments


def test_an_interrupted_run_says_what_is_kept(pair: tuple[Path, Path], tmp_path: Path) -> None:
    plan = plan_pair(pair, tmp_path / "out.mkv")
    settings = settings_for(pair, tmp_path / "out.mkv")
    with Ledger(plan) as ledger:
        opened = OpenRun(settings, ledger, 0.0, frames_before=0)
        nothing = describe_interruption(opened)
        assert "no frame is kept" in nothing
        assert "start over" in nothing

        first = plan.segments[0]
        record = SegmentRecord(
            segment=0,
            plan=plan.digest(),
            file="",
            frames=first.frames,
            first_pts=first.start_pts,
            last_pts=first.end_pts - 1,
            sha256="",
        )
        ledger.add_record(record)
        text = describe_interruption(opened)
    of = f"1 of {len(plan.segments)} segments ({first.frames} of {PAIR_FRAMES} frames)"
    assert f"interrupted with {of} kept" in text
