"""Kills in the last moments of a run, and recovery by the same command."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from crossnetpp.data.degradation import degrade
from pipeline.assembly.finish import finish
from pipeline.errors import InputError, Interrupted, StageError
from pipeline.interrupt import Interrupts
from pipeline.ledger.ledger import Ledger
from pipeline.ledger.names import PUBLISHING
from pipeline.ledger.plan_beside import plan_path
from pipeline.ledger.run_folder import WrittenSegment, run_folder_of
from pipeline.paths import sha256
from pipeline.runs.parts import RunParts
from pipeline.runs.run import run
from pipeline.schema.plan import RunRecord
from pipeline.schema.plan_file import read_plan
from tests.support import scenes
from tests.support.commands import invoke
from tests.support.killed_command import run_until
from tests.support.recordings import plan_pair, settings_for


@pytest.mark.parametrize("gone", ["nothing", "segments", "all but the plan", "all"])
def test_a_run_killed_after_publishing_is_found_complete(
    pair: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, gone: str
) -> None:
    output = tmp_path / "out.mkv"

    def killed(ledger: Ledger) -> None:
        if gone != "nothing":
            shutil.rmtree(ledger.folder.segments)
        if gone.startswith("all"):
            (ledger.folder.path / PUBLISHING).unlink()
        if gone == "all":
            (ledger.folder.path / "plan.json").unlink()
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(Ledger, "remove_run_folder", killed)
        # leaving the ledger must not clean up, as a killed process does not
        patch.setattr(Ledger, "__exit__", lambda ledger, *_: ledger._lock.release())
        with pytest.raises(Interrupted):
            run(settings_for(pair, output))
    bits = sha256(output)
    with pytest.raises(InputError, match="already exists"):
        run(settings_for(pair, output, crf=30))
    result = run(settings_for(pair, output))
    assert (result.frames, result.resumed_segments) == (40, result.segments)
    assert sha256(output) == bits
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out.mkv", "out.plan.json"]


@pytest.mark.parametrize("spoilt", ["a flipped byte", "a shortened segment", "no segment"])
def test_a_segment_that_changed_after_its_commit_is_never_published(
    pair: tuple[Path, Path], tmp_path: Path, spoilt: str
) -> None:
    whole, output = tmp_path / "whole.mkv", tmp_path / "out.mkv"
    run(settings_for(pair, whole))

    def spoil(
        ledger: Ledger,
        interrupts: Interrupts,
        make_record: Callable[[], RunRecord],
        *,
        force: bool,
    ) -> str:
        record = ledger.records[2]
        file = ledger.folder.segment_path(record)
        content = bytearray(file.read_bytes())
        content[len(content) // 2] ^= 1
        if spoilt == "no segment":
            file.unlink()
        else:
            file.write_bytes(content if spoilt == "a flipped byte" else content[:-1])
        return finish(ledger, interrupts, make_record, force=force)

    with pytest.raises(StageError, match="the file of segment 2 changed after it was committed"):
        run(settings_for(pair, output), parts=RunParts(finish=spoil))
    assert not output.exists()
    assert run(settings_for(pair, output)).resumed_segments == 3
    assert sha256(output) == sha256(whole)


def test_of_two_attempts_that_end_together_either_is_used(
    pair: tuple[Path, Path], tmp_path: Path
) -> None:
    """The driver received the record of one, and the other wrote its own last."""
    output = tmp_path / "out.mkv"

    def second(
        ledger: Ledger,
        interrupts: Interrupts,
        make_record: Callable[[], RunRecord],
        *,
        force: bool,
    ) -> str:
        record = ledger.records[2]
        other = ledger.folder.segments / f"00002-{'0' * 32}.nut"
        shutil.copy(ledger.folder.segment_path(record), other)
        changed = record.model_copy(update={"file": other.name})
        ledger.folder.record_path(2).write_text(changed.model_dump_json())
        return finish(ledger, interrupts, make_record, force=force)

    assert run(settings_for(pair, output), parts=RunParts(finish=second)).frames == 40
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out.mkv", "out.plan.json"]


def test_an_output_of_other_settings_is_still_refused(
    pair: tuple[Path, Path], tmp_path: Path
) -> None:
    output = tmp_path / "out.mkv"
    run(settings_for(pair, output))
    plan = plan_pair(pair, output)
    with Ledger(plan) as ledger:
        attempt = ledger.folder.new_attempt(0)
        attempt.write_bytes(b"of an unfinished run with --force")
        ledger.folder.commit(attempt, WrittenSegment(0, 10, 0, plan.segments[0].end_pts - 1))
    with pytest.raises(InputError, match="already exists"):
        run(settings_for(pair, output))
    assert len(list(run_folder_of(output).glob("segments/[0-9]*.json"))) == 1


@pytest.mark.parametrize(
    ("event", "ending"),
    [
        ("os.rename", "assembled.plan.json"),
        ("os.rename", "publishing.json"),
        ("os.rename", "out.plan.json"),
        ("os.rename", "out.mkv"),
        ("shutil.rmtree", "segments"),
    ],
)
def test_a_run_killed_while_it_publishes_leaves_nothing_after_the_next(
    pair: tuple[Path, Path], tmp_path: Path, event: str, ending: str
) -> None:
    output = tmp_path / "out.mkv"
    options = ("--engine", "bicubic", "--runner", "inline", "--preset", "ultrafast")
    command = ("run", pair[0], "--ref-stream", pair[1], "-o", output, *options)

    run_until(event, ending, *command)
    beside = {path.name for path in tmp_path.iterdir()}
    assert beside <= {".out.mkv.run", "out.plan.json", "out.mkv"}
    if "out.plan.json" in beside:
        assert read_plan(plan_path(output)).record is not None

    done = invoke(*command)
    assert done.exit_code == 0, done.output
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out.mkv", "out.plan.json"]
    assert read_plan(plan_path(output)).record is not None


@pytest.mark.parametrize(
    ("event", "ending", "found"),
    [
        ("shutil.rmtree", "/.out.run/segments", True),
        ("os.remove", "/.out.plan.json", False),
        ("shutil.rmtree", "/.out.first", False),
    ],
)
def test_a_second_pass_killed_at_its_end_leaves_nothing_after_the_next(
    tmp_path: Path, event: str, ending: str, found: bool
) -> None:
    lr, hr = tmp_path / "lr", tmp_path / "hr"
    for row, col in ((0, 0), (0, 1), (1, 0), (1, 1)):
        view = degrade(scenes.flowers(row, col), 2)
        scenes.save_picture(lr / f"view_{row:02}_{col:02}.png", view)
    scenes.save_picture(hr / "view_00_00.png", scenes.flowers(0, 0))
    made = tmp_path / "made"
    made.mkdir()
    options = ("--engine", "bicubic", "--runner", "inline", "--scale", "2", "--consistent")
    command = ("run", lr, "--ref-stream", hr, "-o", made / "out", *options)

    run_until(event, ending, *command)
    done = invoke(*command)
    assert done.exit_code == (0 if found else 2), done.output
    assert found or "already exists" in done.stderr
    assert sorted(path.name for path in made.iterdir()) == ["out", "out.plan.json"]
