"""Folders of videos as many inputs, and plans for many inputs."""

from __future__ import annotations

import json
import shutil
from functools import partial
from pathlib import Path

import cv2
import numpy as np
import pytest

from pipeline.errors import InputError
from pipeline.runs.manifest import is_batch, make_entries
from pipeline.schema.plan_file import read_plan
from tests.support.commands import invoke

PAIR_FRAMES = 8
QUICK = ("--engine", "bicubic", "--preset", "ultrafast", "-q")
run_command = partial(invoke, "run", *QUICK, "--runner", "inline")
plan_command = partial(invoke, "plan", *QUICK)


@pytest.fixture
def takes(pair: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a folder of videos, and of files that are no recordings."""
    folder = tmp_path / "takes"
    folder.mkdir()
    for name in ("take_2.mkv", "take_10.mkv"):
        shutil.copy(pair[0], folder / name)
    (folder / "notes.txt").touch()
    (folder / ".hidden.png").touch()
    (tmp_path / "out").mkdir()
    monkeypatch.chdir(tmp_path)
    return folder


def list_inputs(folder: Path, **common: object) -> list[str]:
    return [Path(entry.given["input"]).name for entry in make_entries((str(folder),), None, common)]


def test_the_videos_of_a_folder_are_inputs_in_natural_order(takes: Path) -> None:
    assert is_batch((str(takes),), None)
    assert list_inputs(takes) == ["take_2.mkv", "take_10.mkv"]
    assert list_inputs(takes, sandbox="on") == ["take_2.mkv", "take_10.mkv"]


def test_a_folder_of_videos_is_run_and_run_again(takes: Path, pair: tuple[Path, Path]) -> None:
    done = run_command("takes", "--ref-stream", pair[1], "--json")
    assert done.exit_code == 0, done.stderr
    again = run_command("takes", "--ref-stream", pair[1], "--json")
    answer = json.loads(again.stdout)
    assert (answer["done"], answer["skipped"], answer["failed"]) == (2, 2, 0)


def test_the_only_video_of_a_folder_goes_into_the_folder_of_outputs(
    takes: Path, pair: tuple[Path, Path]
) -> None:
    (takes / "take_10.mkv").unlink()
    done = run_command("takes", "--ref-stream", pair[1], "-o", "out", "--json")
    assert done.exit_code == 0, done.stderr
    assert Path("out/take_2.mkv").exists()


def test_pictures_and_views_in_a_folder_are_one_input(takes: Path, pair: tuple[Path, Path]) -> None:
    frames = Path("frames")
    frames.mkdir()
    for number in range(2):
        picture = np.full((16, 16, 3), 60 * number, np.uint8)
        cv2.imwrite(str(frames / f"frame_{number}.png"), picture)
    assert not is_batch((str(frames),), None)

    cameras = Path("cameras")
    cameras.mkdir()
    for number in range(4):
        shutil.copy(pair[0], cameras / f"cam{number:02}.mkv")
    assert not is_batch((str(cameras),), None)
    assert not is_batch((str(takes),), None, {"grid": (1, 2)})


def test_a_folder_of_videos_and_pictures_is_refused_in_one_line(
    takes: Path, pair: tuple[Path, Path]
) -> None:
    (takes / "still.jpg").touch()
    expected = "takes contains both 2 videos, each of which would be an input, and 1 picture"
    with pytest.raises(InputError, match=expected):
        is_batch(("takes",), None)
    for command in (run_command, plan_command):
        refused = command("takes", "--ref-stream", pair[1])
        assert refused.exit_code == 2
        assert expected in refused.stderr
        assert "'takes/*.mkv' or 'takes/*.jpg'" in refused.stderr
        assert refused.stderr.count("\n") == 1


def test_many_inputs_are_planned(takes: Path, pair: tuple[Path, Path]) -> None:
    shutil.copy(pair[0], "third.mkv")
    Path("broken.mkv").write_text("no video")
    rest = ("--ref-stream", pair[1], "-o", "out")
    fine = plan_command("takes", "third.mkv", *rest)
    assert fine.exit_code == 0, fine.stderr
    lines = fine.stdout.splitlines()
    heads = [line for line in lines if " -> " in line and not line.startswith(" ")]
    assert [Path(head.split(" -> ")[1]).name for head in heads] == [
        "take_2.mkv",
        "take_10.mkv",
        "third.mkv",
    ]
    assert lines[-1] == "3 planned, 0 failed, 24 frames"

    dry = run_command("takes", "broken.mkv", *rest, "--dry-run", "--json")
    assert dry.exit_code == 1
    items = json.loads(dry.stdout)["items"]
    assert [item["status"] for item in items] == ["planned", "planned", "failed"]
    assert items[0]["plan"]["output"].endswith("out/take_2.mkv")
    assert "broken.mkv" in items[2]["error"]
    assert "1 of 3 inputs cannot be run; correct the listed errors" in dry.stderr
    assert not list(Path("out").iterdir())
    assert not Path("pipeline.failed.jsonl").exists()


def test_the_plans_of_many_inputs_are_saved_and_run(takes: Path, pair: tuple[Path, Path]) -> None:
    rest = ("--ref-stream", pair[1], "-o", "out")
    refused = plan_command("takes", *rest, "--save", "plan.json")
    assert refused.exit_code == 2
    assert "--save plan.json cannot be used for several plans" in refused.stderr

    shutil.copy("takes/take_2.mkv", "take_2.mp4")
    alike = plan_command("takes", "take_2.mp4", *rest, "--save", ".")
    assert alike.exit_code == 2
    assert "would both be saved as take_2.plan.json" in alike.stderr
    assert not list(Path().glob("*.plan.json"))

    assert plan_command("takes", *rest, "--save", ".").exit_code == 0
    assert plan_command("takes", *rest, "--save", "my_{stem}.json").exit_code == 0
    for stem in ("take_2", "take_10"):
        plan = read_plan(f"{stem}.plan.json")
        assert Path(plan.input.path).stem == stem
        assert read_plan(f"my_{stem}.json").digest() == plan.digest()
    Path("list.csv").write_text("input,plan,output\ntakes/take_2.mkv,take_2.plan.json,out/2.mkv\n")
    done = run_command("--manifest", "list.csv", "--ref-stream", pair[1])
    assert done.exit_code == 0, done.stderr + done.stdout
