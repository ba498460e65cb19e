"""Inputs and references that change during a run, or between a run and its resumption."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from deploy.protocol import Engine
from pipeline.assembly.finish import find_differences, finish
from pipeline.errors import ChangedInputError, StageError
from pipeline.execution.infer import enhance_batch
from pipeline.execution.task import Batch, Enhanced
from pipeline.ledger.run_folder import run_folder_of
from pipeline.paths import sha256
from pipeline.runs.parts import RunParts
from pipeline.runs.run import run
from pipeline.schema.plan import Plan
from tests.support.commands import invoke
from tests.support.recordings import settings_for


@pytest.fixture
def copies(pair: tuple[Path, Path], tmp_path: Path) -> tuple[Path, Path]:
    """Return an LR and an HR recording that a test may change."""
    lr, hr = (Path(shutil.copy(path, tmp_path)) for path in pair)
    return lr, hr


def change_middle(path: Path) -> None:
    """Change bytes in the middle of a file, but neither its size nor its ends."""
    with path.open("r+b") as file:
        file.seek(path.stat().st_size // 2)
        content = file.read(64)
        file.seek(-64, 1)
        file.write(bytes(byte ^ 0x55 for byte in content))


def act_once(at: int, action: Callable[[], object]) -> Callable[[Plan, Engine, Batch], Enhanced]:
    """Return the usual enhancement, which calls `action` before the batch that begins at pts."""
    waiting = [action]

    def enhance(plan: Plan, engine: Engine, batch: Batch) -> Enhanced:
        if batch.task.segment.index >= at and waiting:
            waiting.pop()()
        return enhance_batch(plan, engine, batch)

    return enhance


@pytest.mark.parametrize("role", ["input", "reference"])
@pytest.mark.parametrize("how", ["in place", "replaced", "deleted"])
def test_a_recording_that_changes_during_a_run_ends_it(
    copies: tuple[Path, Path], tmp_path: Path, role: str, how: str
) -> None:
    lr, hr = copies
    file = {"input": lr, "reference": hr}[role]
    original = Path(shutil.copy(file, tmp_path / "original"))
    output = tmp_path / "out.mkv"

    def spoil() -> None:
        if how == "replaced":
            other = Path(shutil.copy(file, tmp_path / "other"))
            change_middle(other)
            other.replace(file)
        elif how == "in place":
            change_middle(file)
        else:
            file.unlink()

    parts = RunParts(enhance=act_once(0, spoil))
    settings = settings_for(copies, output)
    with pytest.raises(ChangedInputError, match=f"the {role} {file}"):
        run(settings, parts=parts)
    assert not output.exists()

    original.replace(file)
    run(settings)
    whole = tmp_path / "whole.mkv"
    run(settings_for(copies, whole))
    assert sha256(output) == sha256(whole)


def test_a_change_after_the_last_segment_is_noticed_before_publishing(
    copies: tuple[Path, Path], tmp_path: Path
) -> None:
    output = tmp_path / "out.mkv"

    def compare(plan: Plan, files: list[Path], finished: Path) -> list[str]:
        found = find_differences(plan, files, finished)
        change_middle(copies[0])
        return found

    def finish_late(*arguments: object, force: bool) -> str:
        return finish(*arguments, force=force, compare=compare)  # type: ignore[arg-type]

    with pytest.raises(ChangedInputError, match="run the same command again"):
        run(settings_for(copies, output), parts=RunParts(finish=finish_late))
    assert not output.exists()
    assert run_folder_of(output).exists()


def interrupt(copies: tuple[Path, Path], output: Path) -> None:
    """Run until the last segment fails, so that those before it are kept."""

    def fail(plan: Plan, engine: Engine, batch: Batch) -> Enhanced:
        if batch.task.segment.index == 3:
            raise RuntimeError("stopped here")
        return enhance_batch(plan, engine, batch)

    with pytest.raises(StageError, match="stopped here"):
        run(settings_for(copies, output), parts=replace(RunParts(), enhance=fail))


@pytest.mark.parametrize("role", ["input", "reference"])
def test_a_change_between_two_runs_discards_the_segments(
    copies: tuple[Path, Path], tmp_path: Path, role: str
) -> None:
    output, fresh = tmp_path / "out.mkv", tmp_path / "fresh.mkv"
    interrupt(copies, output)
    change_middle(copies[0] if role == "input" else copies[1])

    given = ["--ref-stream", copies[1], "--engine", "bicubic", "--runner", "inline"]
    given += ["--segment", "0.4", "--preset", "ultrafast", "--batch", "4", "-q"]
    given += ["--on-error", "conceal"]
    invoke("run", copies[0], "-o", output, *given)
    invoke("run", copies[0], "-o", fresh, *given)
    assert output.exists() == fresh.exists()
    if output.exists():
        assert sha256(output) == sha256(fresh)


def test_a_changed_recording_is_named_when_segments_are_discarded(
    copies: tuple[Path, Path], tmp_path: Path
) -> None:
    output = tmp_path / "out.mkv"
    interrupt(copies, output)
    with copies[1].open("ab") as file:
        file.write(bytes(16))
    given = ["--ref-stream", copies[1], "--engine", "bicubic", "--runner", "inline"]
    given += ["--segment", "0.4", "--preset", "ultrafast", "--batch", "4"]
    result = invoke("run", copies[0], "-o", output, *given)
    assert result.exit_code == 0, result.output
    assert "with another version of the reference was discarded (3 segments)" in result.output


def test_moved_recordings_resume(copies: tuple[Path, Path], tmp_path: Path) -> None:
    output = tmp_path / "out.mkv"
    interrupt(copies, output)
    (tmp_path / "moved").mkdir()
    moved = [file.rename(tmp_path / "moved" / f"other_{file.name}") for file in copies]

    result = run(settings_for((moved[0], moved[1]), output))
    assert result.resumed_segments == 3
    whole = tmp_path / "whole.mkv"
    run(settings_for((moved[0], moved[1]), whole))
    assert sha256(output) == sha256(whole)
