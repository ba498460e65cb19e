"""No command writes over a file that it reads, under whatever name."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from pipeline.errors import InputError
from pipeline.paths import check_not_read
from pipeline.tools.convert import convert_light_field
from tests.support import scenes
from tests.support.clips import make_video
from tests.support.commands import invoke


def link(target: Path, name: Path) -> Path:
    name.symlink_to(target)
    return name


def hard_link(target: Path, name: Path) -> Path:
    os.link(target, name)
    return name


def respell(target: Path, _: Path) -> Path:
    return target.parent / "sub" / ".." / target.name


NAMES: tuple[Callable[[Path, Path], Path], ...] = (link, hard_link, respell)

COMMANDS = {
    "run": ["run", "{video}", "--ref-stream", "{other}", "--scale", "2", "-o", "{out}", "--force"],
    "run of a reference": [
        *["run", "{other}", "--ref-stream", "{video}", "--scale", "2", "-o", "{out}", "--force"]
    ],
    "plan": ["plan", "{video}", "--ref-stream", "{other}", "--scale", "2", "--save", "{out}"],
    "degrade": ["degrade", "{video}", "--scale", "2", "-o", "{out}", "--force"],
    "compare": ["compare", "{video}", "{other}", "-o", "{out}", "--force"],
}


# `run` replaces a hard link by renaming, which leaves the recording: tests/pipeline/test_paths.py
REFUSED = [
    (command, name)
    for command in COMMANDS
    for name in NAMES
    if name is not hard_link or not command.startswith("run")
]


@pytest.mark.parametrize(("command", "name"), REFUSED)
def test_a_recording_is_never_the_output(
    command: str, name: Callable[[Path, Path], Path], tmp_path: Path
) -> None:
    (tmp_path / "sub").mkdir()
    video = make_video(tmp_path / "a.mp4", pts=[0, 1])
    other = make_video(tmp_path / "b.mp4", pts=[0, 1])
    out = name(video, tmp_path / "sub" / "c.mp4")
    before = video.read_bytes()

    words = [word.format(video=video, other=other, out=out) for word in COMMANDS[command]]
    result = invoke(*words)
    assert result.exit_code == 2, result.output
    reasons = ("which is never replaced", "must not be replaced")
    assert any(reason in result.stderr for reason in reasons)
    assert len(result.stderr.splitlines()) == 1
    assert video.read_bytes() == before


@pytest.mark.parametrize("read", ["a.html", "--plan"])
def test_a_report_never_replaces_what_it_reads(read: str, tmp_path: Path) -> None:
    page = tmp_path / "a.html"
    page.write_text("precious")
    arguments = ["report", page] if read == "a.html" else ["report", "b.mp4", "--plan", page]
    result = invoke(*arguments, "-o", page, "--force")
    assert result.exit_code == 2
    assert "which is never replaced" in result.stderr
    assert page.read_text() == "precious"


@pytest.mark.parametrize("text", ["Dear all", '{"rows": 2}', '{"version": 1, "rows": 2}'])
def test_a_plan_is_not_saved_over_another_file(text: str, tmp_path: Path) -> None:
    video = make_video(tmp_path / "a.mp4", pts=[0, 1])
    letter = tmp_path / "letter.txt"
    letter.write_text(text)
    result = invoke("plan", video, "--ref-stream", video, "--scale", "2", "--save", letter)
    assert result.exit_code == 2
    assert "exists and is not a plan" in result.stderr
    assert letter.read_text() == text


def test_a_plan_replaces_a_plan_but_follows_no_link(tmp_path: Path) -> None:
    video = make_video(tmp_path / "a.mp4", pts=[0, 1])
    command = ("plan", video, "--ref-stream", video, "--scale", "2", "--save")
    plan = tmp_path / "plan.json"
    for _ in range(2):
        assert invoke(*command, plan).exit_code == 0

    before = plan.read_bytes()
    for target in (plan, tmp_path / "nothing"):
        name = link(target, tmp_path / f"{target.stem}-link.json")
        result = invoke(*command, name, "--crf", "20")
        assert result.exit_code == 2
        assert f"{name} is a link, which is not overwritten" in result.stderr
    assert plan.read_bytes() == before
    assert not (tmp_path / "nothing").exists()


def test_a_plan_is_not_saved_over_the_capture_that_it_uses(tmp_path: Path) -> None:
    video = make_video(tmp_path / "a.mp4", pts=[0, 1])
    command = ("plan", video, "--ref-stream", video, "--scale", "2")
    plan = tmp_path / "plan.json"
    assert invoke(*command, "--save", plan).exit_code == 0
    before = plan.read_bytes()
    result = invoke(*command, "--capture", plan, "--save", plan)
    assert result.exit_code == 2
    assert "which is never replaced" in result.stderr
    assert plan.read_bytes() == before


def test_a_recording_at_the_place_of_the_plan_is_not_replaced(tmp_path: Path) -> None:
    video = make_video(tmp_path / "a.mp4", pts=[0, 1])
    odd = tmp_path / "hr.plan.json"
    odd.write_bytes(video.read_bytes())
    command = ["run", video, "--ref-stream", odd, "--scale", "2", "-o", tmp_path / "hr.mkv"]
    result = invoke(*command, "--engine", "bicubic", "--force")
    assert result.exit_code == 2
    assert "the plan beside the output" in result.stderr
    assert odd.read_bytes() == video.read_bytes()


@pytest.mark.parametrize("text", ["my notes", '{"source": "measured", "scale": 2}'])
def test_only_a_plan_is_replaced_at_the_place_of_the_plan(text: str, tmp_path: Path) -> None:
    video = make_video(tmp_path / "a.mp4", pts=[0, 1])
    beside = tmp_path / "out.plan.json"
    beside.write_text(text)
    command = ["run", video, "--ref-stream", video, "--scale", "2", "--engine", "bicubic"]
    result = invoke(*command, "-o", tmp_path / "out.mkv", "--runner", "inline")
    assert result.exit_code == 2
    assert f"{beside} exists and is not a plan" in result.stderr
    assert beside.read_text() == text
    assert not (tmp_path / "out.mkv").exists()


def test_pictures_of_a_light_field_do_not_become_its_views(tmp_path: Path) -> None:
    views = scenes.write_folder(tmp_path / "views", rows=2, cols=2)
    before = sorted(views.iterdir())
    for folder in (views, link(views, tmp_path / "link")):
        result = invoke("look", views, "-o", folder, "--force")
        assert result.exit_code == 2
        assert "they would become views of it" in result.stderr
    assert sorted(views.iterdir()) == before


def test_a_link_to_nothing_is_no_place_for_an_output(tmp_path: Path) -> None:
    video = make_video(tmp_path / "a.mp4", pts=[0, 1])
    views = scenes.write_folder(tmp_path / "views", rows=2, cols=2)
    out = link(tmp_path / "elsewhere", tmp_path / "out.png")
    for command in (
        ["compare", video, video, "-o", out],
        ["probe", views, "--contact-sheet", out],
        ["convert", views, "--to", "mosaic", "-o", out],
    ):
        result = invoke(*command)
        assert result.exit_code == 2, result.output
        assert "exists" in result.stderr
    assert not (tmp_path / "elsewhere").exists()


def test_pictures_of_a_light_field_replace_links_and_do_not_follow_them(tmp_path: Path) -> None:
    views = scenes.write_folder(tmp_path / "views", rows=2, cols=2)
    precious = tmp_path / "precious.png"
    precious.write_text("precious")
    (tmp_path / "look").mkdir()
    sheet = link(precious, tmp_path / "look" / "contact_sheet.png")
    command = ["look", views, "-o", tmp_path / "look"]
    assert invoke(*command).exit_code == 2
    assert invoke(*command, "--force").exit_code == 0
    assert precious.read_text() == "precious"
    assert not sheet.is_symlink()
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".")] == []


def test_pictures_of_a_light_field_never_replace_its_views(tmp_path: Path) -> None:
    folder = scenes.write_folder(tmp_path / "views", rows=2, cols=2)
    (tmp_path / "look").mkdir()
    view = folder / "view_00_00.png"
    before = view.read_bytes()
    os.link(view, tmp_path / "look" / "contact_sheet.png")
    result = invoke("look", folder, "-o", tmp_path / "look", "--force")
    assert result.exit_code == 2
    assert view.read_bytes() == before


def test_a_conversion_keeps_the_sidecar_of_its_input(tmp_path: Path) -> None:
    folder = scenes.write_folder(tmp_path / "views", rows=2, cols=2)
    mosaic = tmp_path / "m.png"
    convert_light_field(str(folder), mosaic, "mosaic")
    before = (tmp_path / "m.lightfield.json").read_bytes()
    with pytest.raises(InputError, match="which is never replaced"):
        convert_light_field(str(mosaic), tmp_path / "m.h5", "h5")
    assert (tmp_path / "m.lightfield.json").read_bytes() == before


def test_a_folder_around_an_input_is_not_replaced(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "b.mp4").touch()
    with pytest.raises(InputError, match="which would be replaced"):
        check_not_read(tmp_path / "a", [tmp_path / "a" / "b.mp4"])
    check_not_read(tmp_path / "c", [tmp_path / "a" / "b.mp4", None, "s3://b/c", tmp_path / "no"])
