"""Recordings that appear in a folder are enhanced once they have stopped growing."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import pytest

from pipeline.errors import InputError, Interrupted
from pipeline.interrupt import Interrupts
from pipeline.runs.items import failed_item
from pipeline.runs.manifest import Entry, make_entries
from pipeline.runs.result import ItemResult
from pipeline.runs.watch import FolderWatch, Pauses, watch_folder
from tests.support import ROOT
from tests.support.commands import invoke

PAIR_FRAMES = 8
CHOSEN = ("--engine", "bicubic", "--runner", "inline", "--preset", "ultrafast")
run_command = partial(invoke, "run", *CHOSEN, "-q")


class Clock:
    """A clock that a test sets."""

    now = 100.0

    def __call__(self) -> float:
        return self.now


def test_a_recording_is_returned_once_when_it_has_stopped_growing(tmp_path: Path) -> None:
    clock = Clock()
    watch = FolderWatch(str(tmp_path), settled=5, clock=clock)
    growing = tmp_path / "take_10.mkv"
    (tmp_path / "notes.txt").write_text("no recording")
    (tmp_path / ".take.mkv").write_text("hidden")
    (tmp_path / "empty.mkv").touch()
    (tmp_path / "take_2.mkv").write_text("complete")
    growing.write_text("half")
    assert watch.list_settled() == []
    assert watch.has_growing()

    clock.now += 4
    growing.write_text("half and more")
    assert watch.list_settled() == []
    assert watch.changed_at == clock.now
    clock.now += 4
    assert watch.list_settled() == [str(tmp_path / "take_2.mkv")]
    clock.now += 4
    assert watch.list_settled() == [str(growing)]
    clock.now += 10
    assert watch.list_settled() == []
    assert not watch.has_growing()

    gone = tmp_path / "gone.mkv"
    gone.write_text("half")
    watch.list_settled()
    gone.unlink()
    assert watch.list_settled() == []
    assert not watch.has_growing()


def test_a_folder_is_watched_until_it_is_idle(
    pair: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Outputs beside the recordings are no new recordings, even of an earlier command."""
    monkeypatch.chdir(tmp_path)
    takes = tmp_path / "takes"
    takes.mkdir()
    shutil.copy(pair[0], takes / "a.mkv")
    rest = ("--watch", takes, "--watch-until-idle", "0.1", "--ref-stream", pair[1], "--json")
    first = run_command(*rest)
    assert first.exit_code == 0, first.stderr
    assert json.loads(first.stdout)["done"] == 1
    shutil.copy(pair[0], takes / "b.mkv")
    (takes / "broken.mkv").write_text("no video")
    second = run_command(*rest, "--skip-existing")
    assert second.exit_code == 1
    items = json.loads(second.stdout)["items"]
    assert {Path(item["input"]).name: item["status"] for item in items} == {
        "a.mkv": "skipped",
        "b.mkv": "done",
        "broken.mkv": "failed",
    }
    assert len(Path("pipeline.failed.jsonl").read_text().splitlines()) == 1


def test_a_folder_that_vanishes_is_waited_for_and_no_result_is_lost(tmp_path: Path) -> None:
    folder = tmp_path / "takes"
    folder.mkdir()
    (folder / "a.mkv").write_text("complete")
    seen = []

    def unplug(
        entries: Sequence[Entry], results: list[ItemResult], *, interrupts: Interrupts
    ) -> Interrupted | None:
        for entry in entries:
            seen.append(Path(entry.given["input"]).name)
            results.append(failed_item(entry, None, "failed"))
        shutil.rmtree(folder)
        return Interrupted("enough") if "b.mkv" in seen else None

    def plug_in(text: str) -> None:
        notes.append(text)
        folder.mkdir()
        (folder / "b.mkv").write_text("complete")

    notes: list[str] = []
    watched = watch_folder(
        str(folder),
        lambda names: make_entries(names, None, {}, found=True),
        unplug,
        Pauses(settled=0, poll=0.01),
        plug_in,
    )
    assert seen == ["a.mkv", "b.mkv"]
    assert len(watched.results) == 2
    assert notes == [f"waiting for {folder}, which cannot be read (No such file or directory)"]


@pytest.mark.skipif(sys.platform == "win32", reason="sends a signal of Unix")
def test_a_watch_ends_by_a_signal_with_a_summary(pair: tuple[Path, Path], tmp_path: Path) -> None:
    takes = tmp_path / "takes"
    takes.mkdir()
    (tmp_path / "out").mkdir()
    command = [sys.executable, "-m", "pipeline", "run", *CHOSEN, "--watch", takes]
    command += ["--ref-stream", pair[1], "-o", tmp_path / "out", "--json-progress"]
    process = subprocess.Popen(
        [str(word) for word in command],
        cwd=tmp_path,
        env={"PYTHONPATH": str(ROOT), "PATH": "", "XDG_CONFIG_HOME": str(tmp_path)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    shutil.copy(pair[0], takes / "a.mkv")
    assert process.stderr is not None
    ended = next(line for line in process.stderr if json.loads(line)["event"] == "end")
    assert json.loads(ended)["status"] == "done"
    process.send_signal(signal.SIGINT)
    stdout, stderr = process.communicate(timeout=60)
    assert process.returncode == 130, stderr
    assert (tmp_path / "out" / "a.mkv").exists()
    assert "1 done, 0 failed, 8 frames in" in stdout


def test_what_cannot_be_watched_is_refused_in_one_line(
    pair: tuple[Path, Path], tmp_path: Path
) -> None:
    with pytest.raises(InputError, match="is not an existing folder"):
        FolderWatch(str(tmp_path / "none"), 5)
    for words, message in (
        (("--watch", tmp_path / "none"), "is not an existing folder"),
        (("--watch", tmp_path, "-o", tmp_path / "x.mkv"), "cannot be used for several outputs"),
        (("--watch", tmp_path, pair[0]), "--watch cannot be combined with INPUT or --manifest"),
        (("--watch", tmp_path, "--dry-run"), "--watch cannot be combined with --dry-run"),
        ((pair[0], "--watch-until-idle", "3"), "--watch-until-idle needs --watch"),
        (("--watch", tmp_path, "--watch-until-idle", "-1"), "-1"),
        (("--watch", tmp_path, "--watch-until-idle", "nan"), "must be a finite number of seconds"),
        (("--watch", tmp_path, "-o", "-"), "-o - is for one input"),
    ):
        done = run_command(*words, "--ref-stream", pair[1])
        assert done.exit_code == 2, words
        assert message in done.stderr
