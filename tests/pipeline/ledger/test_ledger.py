"""The run folder: what counts as committed, resuming, staleness, locking."""

from __future__ import annotations

import hashlib
import json
import os
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest

from pipeline.errors import InputError, StageError
from pipeline.ledger.durable import write_atomically
from pipeline.ledger.ledger import Ledger
from pipeline.ledger.run_folder import RunFolder, WrittenSegment, run_folder_of
from pipeline.paths import sha256
from pipeline.schema.clip import VideoClip
from pipeline.schema.encoding import Encoding
from pipeline.schema.plan import Plan, ReferencePlan, Segment
from pipeline.schema.plan_file import dump_plan
from pipeline.schema.reference_map import ReferenceChoice, ReferenceMap


def clip(name: str) -> VideoClip:
    return VideoClip(
        path=name,
        codec="h264",
        pix_fmt="yuv420p",
        bit_depth=8,
        width=64,
        height=48,
        time_base=Fraction(1, 25),
        size_bytes=1,
        fingerprint=name,
    )


def plan_for(output: Path, *, segments: int = 3, crf: float = 16) -> Plan:
    reference = ReferencePlan(clip=clip("ref"), select="time", max_distance=1.0)
    return Plan(
        input=clip("lr"),
        reference=reference,
        output=str(output),
        scale=2,
        width=128,
        height=96,
        engine="bicubic",
        model="fast",
        batch=4,
        encoding=Encoding(crf=crf, threads=1),
        segments=tuple(
            Segment(index=i, start_pts=10 * i, end_pts=10 * i + 10, frames=10)
            for i in range(segments)
        ),
        reference_map=tuple(
            ReferenceChoice(pts=i, ref_pts=i, seconds=0.0, why="nearest")
            for i in range(10 * segments)
        ),
    )


def commit(folder: RunFolder, segment: int, content: bytes = b"picture") -> Path:
    attempt = folder.new_attempt(segment)
    attempt.write_bytes(content)
    record = folder.commit(attempt, WrittenSegment(segment, 10, 10 * segment, 10 * segment + 9))
    return folder.segment_path(record)


def test_committed_segments_are_found_again(tmp_path: Path) -> None:
    plan = plan_for(tmp_path / "out.mkv")
    with Ledger(plan) as ledger:
        assert ledger.pending_segments() == [0, 1, 2]
        commit(ledger.folder, 1, b"one")
    with Ledger(plan) as ledger:
        assert ledger.pending_segments() == [0, 2]
        assert ledger.resumed == 1
        assert ledger.note is None
        record = ledger.records[1]
        assert (record.frames, record.first_pts, record.last_pts) == (10, 10, 19)
        assert record.sha256 == hashlib.sha256(b"one").hexdigest()


def test_only_a_valid_record_means_done(tmp_path: Path) -> None:
    plan = plan_for(tmp_path / "out.mkv", segments=6)
    with Ledger(plan) as ledger:
        files = [commit(ledger.folder, index) for index in range(6)]
        segments = ledger.folder.segments
    files[0].write_bytes(b"pictura")  # same size, other content
    files[1].write_bytes(b"pict")
    files[2].unlink()
    (segments / "00003.json").unlink()
    (segments / "00004.json").write_text("{", encoding="utf-8")
    with Ledger(plan) as ledger:
        assert ledger.pending_segments() == [0, 1, 2, 3, 4]
        assert sorted(path.name for path in segments.iterdir()) == [files[5].name, "00005.json"]


def test_a_record_that_lies_about_its_frames_is_refused(tmp_path: Path) -> None:
    plan = plan_for(tmp_path / "out.mkv")
    for forgery in ({"frames": 9}, {"first_pts": -1}, {"last_pts": 10}, {"file": "../plan.json"}):
        with Ledger(plan) as ledger:
            commit(ledger.folder, 0)
            commit(ledger.folder, 1)
            record = ledger.folder.record_path(0)
            record.write_text(json.dumps(json.loads(record.read_text()) | forgery))
        with Ledger(plan) as ledger:
            assert ledger.pending_segments() == [0, 2]


def test_the_first_commit_of_a_segment_stays(tmp_path: Path) -> None:
    with Ledger(plan_for(tmp_path / "out.mkv")) as ledger:
        first = commit(ledger.folder, 0, b"first")
        assert commit(ledger.folder, 0, b"second") == first
        assert first.read_bytes() == b"first"
        names = {path.name for path in ledger.folder.segments.iterdir()}
        assert names == {"00000.json", first.name}


def test_two_commits_at_one_moment_leave_a_valid_record(tmp_path: Path) -> None:
    with Ledger(plan_for(tmp_path / "out.mkv")) as ledger:
        with ThreadPoolExecutor(8) as pool:
            files = list(pool.map(lambda i: commit(ledger.folder, 0, b"%d" % i), range(32)))
        assert all(file.exists() for file in files)
        record = ledger.folder.read_record(0)
        assert record is not None
        assert ledger.folder.segment_path(record) in files


def test_a_record_of_another_segment_or_plan_is_refused(tmp_path: Path) -> None:
    plan = plan_for(tmp_path / "out.mkv")
    with Ledger(plan) as ledger:
        commit(ledger.folder, 0)
        record = ledger.folder.record_path(0)
        content = json.loads(record.read_text())
        (ledger.folder.segments / "00001.json").write_text(json.dumps(content))
        write_atomically(record, json.dumps(content | {"plan": "0" * 64}))
    with Ledger(plan) as ledger:
        assert ledger.pending_segments() == [0, 1, 2]
        assert ledger.note is not None
        assert ledger.note == (
            "2 segments of an unfinished run of out.mkv will be enhanced again (broken, or made by "
            "another version)"
        )


def test_attempts_and_leftovers_are_removed_on_resume(tmp_path: Path) -> None:
    plan = plan_for(tmp_path / "out.mkv")
    with Ledger(plan) as ledger:
        kept = commit(ledger.folder, 0)
        ledger.folder.new_attempt(1).write_bytes(b"half")
        (ledger.folder.path / "assembled.mkv").write_bytes(b"half")
    with Ledger(plan) as ledger:
        names = {path.name for path in ledger.folder.segments.iterdir()}
        assert names == {kept.name, "00000.json"}
        assert not (ledger.folder.path / "assembled.mkv").exists()


def test_other_settings_discard_the_run_and_say_so(tmp_path: Path) -> None:
    with Ledger(plan_for(tmp_path / "out.mkv")) as ledger:
        commit(ledger.folder, 0)
    with Ledger(plan_for(tmp_path / "out.mkv", crf=20)) as ledger:
        assert ledger.pending_segments() == [0, 1, 2]
        assert ledger.note is not None
        assert "discarded (1 segment)" in ledger.note
        commit(ledger.folder, 0)
    with Ledger(plan_for(tmp_path / "out.mkv", crf=20)) as ledger:
        assert ledger.resumed == 1


def test_a_broken_stored_plan_discards_the_run(tmp_path: Path) -> None:
    plan = plan_for(tmp_path / "out.mkv")
    with Ledger(plan) as ledger:
        commit(ledger.folder, 0)
        (ledger.folder.path / "plan.json").write_text("not json")
    with Ledger(plan) as ledger:
        assert ledger.pending_segments() == [0, 1, 2]


def test_two_runs_on_one_output_give_one_clear_line(tmp_path: Path) -> None:
    plan = plan_for(tmp_path / "out.mkv")
    with Ledger(plan), pytest.raises(InputError, match=r"another run is writing .*out\.mkv"):
        Ledger(plan).__enter__()
    with Ledger(plan):
        pass


def test_a_run_that_committed_nothing_leaves_no_trace(tmp_path: Path) -> None:
    with Ledger(plan_for(tmp_path / "out.mkv")) as ledger:
        ledger.folder.new_attempt(0).write_bytes(b"half")
    assert list(tmp_path.iterdir()) == []


def test_removal_leaves_no_trace(tmp_path: Path) -> None:
    with Ledger(plan_for(tmp_path / "out.mkv")) as ledger:
        commit(ledger.folder, 0)
        ledger.remove_run_folder()
    assert list(tmp_path.iterdir()) == []


def test_missing_segments_are_not_assembled(tmp_path: Path) -> None:
    with Ledger(plan_for(tmp_path / "out.mkv")) as ledger:
        commit(ledger.folder, 0)
        with pytest.raises(StageError, match="3 of 3 segments are missing"):
            ledger.committed_files()


def test_the_output_folder_must_exist(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="does not exist"):
        Ledger(plan_for(tmp_path / "no" / "out.mkv")).__enter__()


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_folder_that_cannot_be_written(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    with pytest.raises(InputError, match="cannot write beside the output"):
        Ledger(plan_for(tmp_path / "out.mkv")).__enter__()


def test_a_file_in_the_place_of_the_run_folder(tmp_path: Path) -> None:
    run_folder_of(tmp_path / "out.mkv").write_text("")
    with pytest.raises(InputError, match="cannot write beside the output"):
        Ledger(plan_for(tmp_path / "out.mkv")).__enter__()


def test_a_failed_atomic_write_keeps_the_old_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    target = tmp_path / "record.json"
    write_atomically(target, "old")

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space"):
        write_atomically(target, "new")
    assert target.read_text() == "old"
    assert [path.name for path in tmp_path.iterdir()] == ["record.json"]
    assert sha256(target) == hashlib.sha256(b"old").hexdigest()


def test_the_digest_survives_the_plan_file(tmp_path: Path) -> None:
    plan = plan_for(tmp_path / "out.mkv")
    for text in (plan.model_dump_json(indent=1), dump_plan(plan)):
        assert Plan.model_validate_json(text).digest() == plan.digest()


@pytest.mark.parametrize(
    "change",
    [{"ref_pts": 5}, {"ref_pts": None}, {"seconds": 1e-6}, {"why": "edited"}, {"pts": 31}],
    ids=str,
)
def test_the_digest_covers_every_choice(tmp_path: Path, change: dict[str, Any]) -> None:
    plan = plan_for(tmp_path / "out.mkv")
    changed = [*plan.reference_map]
    changed[-1] = replace(changed[-1], **change)
    other = plan.model_copy(update={"reference_map": ReferenceMap(changed)})
    assert other.digest() != plan.digest()
