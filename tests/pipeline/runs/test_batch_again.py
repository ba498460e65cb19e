"""A batch that was interrupted, or has run before, goes on by the same command."""

from __future__ import annotations

import json
import shutil
from functools import partial
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from pipeline.paths import sha256
from pipeline.runs.manifest import make_entries
from tests.support.commands import invoke
from tests.support.killed_command import run_until
from tests.support.recordings import texture

PAIR_FRAMES = 8
CHOSEN = ("--engine", "bicubic", "--runner", "inline", "--preset", "ultrafast", "-q")
run_command = partial(invoke, "run", *CHOSEN)


@pytest.fixture
def folder(pair: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return the working directory with three inputs and a folder for outputs."""
    for name in ("a", "b", "c"):
        shutil.copy(pair[0], tmp_path / f"{name}.mkv")
    (tmp_path / "out").mkdir()
    monkeypatch.chdir(tmp_path)
    return tmp_path


def statuses(stdout: str) -> dict[str, str]:
    """Return the status of every input by its name."""
    items: list[dict[str, Any]] = json.loads(stdout)["items"]
    return {Path(item["input"]).name: item["status"] for item in items}


@pytest.mark.parametrize("moment", ["b_x2.plan.json", "b_x2.mkv"])
def test_a_killed_batch_goes_on_by_the_same_command(
    folder: Path, pair: tuple[Path, Path], moment: str
) -> None:
    """The pattern then also matches the outputs beside the inputs, which are no inputs."""
    command = [str(folder / "[abc]*.mkv"), "--ref-stream", pair[1]]
    run_until("os.rename", moment, "run", *command, *CHOSEN)
    assert (folder / "a_x2.mkv").exists()
    assert not (folder / "b_x2.mkv").exists()
    made = sha256(folder / "a_x2.mkv")

    again = run_command(*command, "--json")
    assert again.exit_code == 0, again.stderr
    assert statuses(again.stdout) == {
        "a.mkv": "done",
        "a_x2.mkv": "skipped",
        "b.mkv": "done",
        "c.mkv": "done",
    }
    answer = json.loads(again.stdout)
    assert (answer["done"], answer["skipped"], answer["failed"]) == (3, 1, 0)
    assert sha256(folder / "a_x2.mkv") == sha256(folder / "b_x2.mkv") == made
    assert not list(folder.glob("*_x2_x2*"))
    assert not (folder / "pipeline.failed.jsonl").exists()


def test_an_output_among_the_inputs_is_skipped_with_the_reason(
    folder: Path, pair: tuple[Path, Path]
) -> None:
    rest = ("--ref-stream", pair[1])
    assert run_command("a.mkv", *rest).exit_code == 0
    again = run_command("a.mkv", "a_x2.mkv", "b.mkv", *rest)
    assert again.exit_code == 0, again.stderr
    reason = "it is the output of a.mkv; pass it alone to enhance it again"
    assert f"skipped  a_x2.mkv  {reason}" in again.stdout.splitlines()
    assert "2 done, 1 skipped, 0 failed, 16 frames in" in again.stdout


@pytest.mark.parametrize("named", [True, False])
def test_existing_outputs_of_any_origin_are_skipped_if_the_user_says_so(
    folder: Path, pair: tuple[Path, Path], named: bool
) -> None:
    """Without -o, the name of the output is known only when the input is planned."""
    rest = ["--ref-stream", pair[1], *(["-o", "out/{stem}_x2.mkv"] if named else [])]
    outputs = folder / "out" if named else folder
    assert run_command("a.mkv", "c.mkv", *rest).exit_code == 0  # finished by the same command
    (outputs / "b_x2.mkv").write_text("of another program")

    refused = run_command("a.mkv", "b.mkv", "c.mkv", *rest, "--json")
    assert statuses(refused.stdout) == {"a.mkv": "done", "b.mkv": "failed", "c.mkv": "done"}
    (outputs / "c_x2.mkv").unlink()

    done = run_command("a.mkv", "b.mkv", "c.mkv", *rest, "--skip-existing")
    assert done.exit_code == 0, done.stderr
    lines = done.stdout.splitlines()
    assert lines[0].startswith("skipped  a.mkv  its output ")
    assert lines[1].startswith("skipped  b.mkv  its output ")
    assert lines[2].startswith("done     c.mkv  8 frames")
    assert "1 done, 2 skipped, 0 failed, 8 frames in" in lines[-1]
    assert (outputs / "b_x2.mkv").read_text() == "of another program"
    assert not (folder / "pipeline.failed.jsonl").exists()


def test_one_input_can_be_skipped(folder: Path, pair: tuple[Path, Path]) -> None:
    rest = ("--ref-stream", pair[1], "-o", "out/a.mkv", "--skip-existing", "--json")
    answers = [json.loads(run_command("a.mkv", *rest).stdout) for _ in range(2)]
    assert [answer["items"][0]["status"] for answer in answers] == ["done", "skipped"]
    assert answers[1]["items"][0]["output"] == "out/a.mkv"
    refused = run_command("a.mkv", *rest, "--force")
    assert refused.exit_code == 2
    assert "--skip-existing cannot be combined with --force" in refused.stderr
    piped = run_command("a.mkv", "--ref-stream", pair[1], "-o", "-", "--skip-existing")
    assert piped.exit_code == 2
    assert "-o - is for one input" in piped.stderr


def test_a_folder_is_no_output_of_a_video_to_skip(folder: Path, pair: tuple[Path, Path]) -> None:
    """A video for which the folder of outputs was given must not count as done."""
    rest = ("--ref-stream", pair[1], "-o", "out", "--skip-existing", "--json")
    refused = run_command("a.mkv", *rest)
    assert refused.exit_code == 1
    (item,) = json.loads(refused.stdout)["items"]
    assert item["status"] == "failed"
    assert "is a folder, but must be a file; try " in item["error"]


def test_a_folder_of_pictures_that_exists_is_skipped(folder: Path, pair: tuple[Path, Path]) -> None:
    words = ("run", "a.mkv", "--ref-stream", pair[1], "--engine", "bicubic", "--runner", "inline")
    rest = ("-o", "frames/%06d.png", "--skip-existing", "--json", "-q")
    answers = [json.loads(invoke(*words, *rest).stdout) for _ in range(2)]
    assert [answer["items"][0]["status"] for answer in answers] == ["done", "skipped"]


def test_an_output_that_was_only_published_is_no_reason_to_skip(
    folder: Path, pair: tuple[Path, Path]
) -> None:
    """Its run was killed before it deleted its folder, which the next run does."""
    rest = ("--ref-stream", pair[1], "-o", folder / "out" / "a.mkv")
    run_until("os.remove", "publishing.json", "run", folder / "a.mkv", *rest, *CHOSEN)
    assert (folder / "out" / "a.mkv").exists()
    done = run_command(folder / "a.mkv", *rest, "--skip-existing", "--json")
    assert done.exit_code == 0, done.stderr
    assert statuses(done.stdout) == {"a.mkv": "done"}
    assert sorted(path.name for path in (folder / "out").iterdir()) == ["a.mkv", "a.plan.json"]


def test_only_outputs_of_inputs_in_the_list_are_skipped(
    folder: Path, pair: tuple[Path, Path]
) -> None:
    assert run_command("a.mkv", "--ref-stream", pair[1]).exit_code == 0
    shutil.copy(folder / "c.mkv", folder / "a_x2.mp4")  # has the plan of a_x2.mkv beside it
    found = make_entries(("b.mkv", "a_x2.mkv", "a_x2.mp4"), None, {})
    assert [entry.skip for entry in found] == [None, None, None]
    found = make_entries(("a.mkv", "a_x2.mkv", "a_x2.mp4"), None, {})
    assert [entry.skip is None for entry in found] == [True, False, True]

    (folder / "a_x2.plan.json").write_text("{}")
    found = make_entries(("a.mkv", "a_x2.mkv"), None, {})
    assert [entry.skip for entry in found] == [None, None]


def test_finished_inputs_count_as_done_when_the_batch_is_run_again(
    folder: Path, pair: tuple[Path, Path]
) -> None:
    rest = ("--ref-stream", pair[1], "-o", "out", "--json")
    assert run_command("a.mkv", "b.mkv", *rest).exit_code == 0
    made = sha256(folder / "out" / "a.mkv")
    (folder / "broken.mkv").write_text("no video\n" * 50)
    first = run_command("[abc]*.mkv", *rest)
    items = json.loads(first.stdout)["items"]
    assert [item["status"] for item in items] == ["done", "done", "failed", "done"]
    assert [item["result"]["resumed_segments"] for item in items if item["result"]] == [1, 1, 0]

    shutil.copy(pair[0], folder / "broken.mkv")
    again = run_command("[abc]*.mkv", *rest)
    assert again.exit_code == 0, again.stderr
    assert json.loads(again.stdout)["done"] == 4
    assert not (folder / "pipeline.failed.jsonl").exists()
    assert sha256(folder / "out" / "a.mkv") == made


def test_a_list_of_failures_that_were_made_good_is_done(
    folder: Path, pair: tuple[Path, Path]
) -> None:
    (folder / "broken.mkv").write_text("no video\n" * 50)
    done = run_command("a.mkv", "broken.mkv", "--ref-stream", pair[1], "-o", "out")
    assert done.exit_code == 1
    listed = folder / "pipeline.failed.jsonl"
    shutil.copy(pair[0], folder / "broken.mkv")
    kept = listed.read_text()
    for _ in range(2):
        listed.write_text(kept)
        assert run_command("--manifest", listed).exit_code == 0


def test_a_list_of_failures_in_another_folder_means_the_same_files(
    folder: Path, pair: tuple[Path, Path]
) -> None:
    shutil.copy(pair[1], folder / "hr.mp4")
    (folder / "lists").mkdir()
    (folder / "lists" / "list.csv").write_text("input\n../a.mkv\n../late.mkv\n")
    # a relative path on the command line refers to the working directory, not to the list's folder
    common = ("--ref-stream", "hr.mp4", "-o", "out/{stem}.mkv")
    assert run_command("--manifest", "lists/list.csv", *common).exit_code == 1
    shutil.copy(pair[0], folder / "late.mkv")
    again = run_command("--manifest", "lists/list.failed.jsonl")
    assert again.exit_code == 0, again.stdout
    assert sha256(folder / "out" / "late.mkv") == sha256(folder / "out" / "a.mkv")


def test_default_outputs_of_the_same_name_do_not_replace_each_other(folder: Path) -> None:
    (folder / "keys").mkdir()
    sharp, picture = texture(0, 96, 128), np.zeros((48, 64, 3), np.uint8)
    assert cv2.imwrite("keys/hr.png", sharp)
    assert all(cv2.imwrite(f"still{suffix}", picture) for suffix in (".jpg", ".webp"))
    words = ("--ref-stream", "keys/hr.png", "--engine", "bicubic", "--force", "--json", "-q")
    done = invoke("run", "still.jpg", "still.webp", *words)
    assert done.exit_code == 1
    assert statuses(done.stdout) == {"still.jpg": "done", "still.webp": "failed"}
    assert "still_x2.png is also the output of still.jpg" in done.stdout
    assert not list(folder.glob(".still*.run"))
