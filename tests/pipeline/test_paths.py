"""Names and paths that break programs: handled, or refused in one line with nothing lost."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import cv2
import pytest
from click.testing import CliRunner, Result

from pipeline.cli.main import main
from pipeline.errors import InputError, OutputExistsError
from pipeline.ledger.durable import content_digest
from pipeline.ledger.run_folder import run_folder_of
from pipeline.paths import check_new_file, sha256
from pipeline.schema.plan import Plan
from tests.support.recordings import texture

PAIR_FRAMES = 6
OPTIONS = ("--engine", "bicubic", "--runner", "inline", "-q")
NAMES = {
    "spaces": " a  b .mkv", "newline": "a\nb\t.mkv", "unicode": "видео 🎥 é.mkv",
    "percent": "100% %d %06d %s.mkv", "glob": "[x]*?{a}.mkv", "shell": "a'\"b$(x)`;&|.mkv",
    "protocol": "pipe:0,b.mkv", "backslash": "a\\b.mkv", "dots": "...mkv", "dash": "-x.mkv",
    "long": "é" * 118 + ".mkv",
}  # fmt: skip


def run(*arguments: str | Path) -> Result:
    return CliRunner().invoke(main, ["run", *map(str, arguments), *OPTIONS])


def assert_refused(result: Result, line: str) -> None:
    assert result.exit_code == 2, (result.output, result.exception)
    assert line in result.stderr
    assert len(result.stderr.splitlines()) == 1


@pytest.mark.parametrize("name", NAMES)
def test_any_text_can_be_a_name(pair: tuple[Path, Path], tmp_path: Path, name: str) -> None:
    places = [tmp_path / folder / NAMES[name] for folder in ("in", "ref", "out")]
    for place, source in zip(places, (*pair, None), strict=True):
        place.parent.mkdir()
        if source is not None:
            shutil.copy(source, place)
    lr, hr, out = places
    done = run(lr, "--ref-stream", hr, "-o", out)
    assert done.exit_code == 0, (done.output, done.exception)
    plan = Plan.model_validate_json((out.parent / f"{out.stem}.plan.json").read_text())
    assert (plan.input.path, plan.output) == (str(lr), str(out))
    assert sorted(p.name for p in out.parent.iterdir()) == sorted(
        [out.name, f"{out.stem}.plan.json"]
    )
    done = CliRunner().invoke(main, ["verify", str(lr), str(out)])
    assert done.exit_code == 0, done.output


def test_names_survive_the_sandbox_and_resume(pair: tuple[Path, Path], tmp_path: Path) -> None:
    lr, hr = tmp_path / "[a]\n%d.mkv", tmp_path / "-r *.mkv"
    shutil.copy(pair[0], lr)
    shutil.copy(pair[1], hr)
    out = tmp_path / "o\n%d [b].mkv"
    code = """
import os, signal
from pipeline.media.join import verify
verify.find_differences = lambda *_: os.kill(os.getpid(), signal.SIGKILL)
from pipeline.cli.main import main
from pipeline.errors import InputError, OutputExistsError
main()
"""
    given = ["run", str(lr), "--ref-stream", str(hr), "-o", str(out), *OPTIONS]
    subprocess.run([sys.executable, "-c", code, *given], check=False, capture_output=True)
    stored = Plan.model_validate_json((run_folder_of(out) / "plan.json").read_text())
    assert stored.output == str(out)
    done = run(lr, "--ref-stream", hr, "-o", out, "--sandbox", "on", "--json")
    assert done.exit_code == 0, (done.output, done.exception)
    assert json.loads(done.stdout)["resumed_segments"] == 1
    done = CliRunner().invoke(main, ["status", str(out)])
    assert done.exit_code in (0, 2), done.exception


def test_a_leading_dash_after_the_end_of_options(
    pair: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    shutil.copy(pair[0], "-x.mkv")
    for given, out in (("-x.mkv", "a.mkv"), ("./-x.mkv", "-b.mkv")):
        done = CliRunner().invoke(
            main,
            ["run", "--ref-stream", str(pair[1]), f"--output=./{out}", *OPTIONS, "--", given],
        )
        assert done.exit_code == 0, done.output
        assert Path(out).is_file()


BYTES = os.fsdecode(b"a\xff\xfeb")


@pytest.mark.parametrize("place", ["input", "reference", "output", "folder"])
def test_names_that_are_not_utf_8_are_refused(
    pair: tuple[Path, Path], tmp_path: Path, place: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    lr, hr, out = tmp_path / "lr.mkv", tmp_path / "hr.mkv", tmp_path / "out.mkv"
    if place == "folder":
        (tmp_path / BYTES).mkdir()
        monkeypatch.chdir(tmp_path / BYTES)
        lr, hr, out = Path("lr.mkv"), Path("hr.mkv"), Path("out.mkv")
    lr, hr, out = (
        path.with_name(f"{BYTES}.mkv") if name == place else path
        for name, path in (("input", lr), ("reference", hr), ("output", out))
    )
    shutil.copy(pair[0], lr)
    shutil.copy(pair[1], hr)
    done = run(lr, "--ref-stream", hr, "-o", out)
    assert_refused(done, "\\xff\\xfe")
    assert "is not UTF-8" in done.stderr
    assert sha256(lr) == sha256(pair[0])
    assert not out.exists()
    assert not run_folder_of(out).exists()


@pytest.mark.parametrize("command", ["probe", "verify", "compare", "degrade"])
def test_every_command_refuses_names_that_are_not_utf_8(tmp_path: Path, command: str) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "pipeline", command, os.fsencode(tmp_path / BYTES)],
        capture_output=True,
        check=False,
    )
    assert done.returncode == 2
    assert b"is not UTF-8" in done.stderr
    assert len(done.stderr.splitlines()) == 1


def write_stills(folder: Path, side: int, names: tuple[str, ...] = ("a.png", "b.png")) -> Path:
    folder.mkdir(exist_ok=True)
    for number, name in enumerate(names):
        done, data = cv2.imencode(".png", texture(number, side, side))
        assert done
        (folder / name).write_bytes(data.tobytes())
    return folder


@pytest.mark.parametrize("sandbox", ["off", "on"])
def test_pictures_whose_names_are_not_utf_8_are_refused(tmp_path: Path, sandbox: str) -> None:
    small = write_stills(tmp_path / "small", 48, (f"{BYTES}.png", "b.png"))
    large = write_stills(tmp_path / "large", 96)
    done = run(small, "--ref-stream", large, "-o", tmp_path / "out", "--sandbox", sandbox)
    assert_refused(done, "is not UTF-8")


def test_pictures_with_odd_names_keep_them(tmp_path: Path) -> None:
    names = ("a\nb %d.png", "[c]*.png", "é 🎥.png")
    small, large = (
        write_stills(tmp_path / "sm [a]*", 48, names),
        write_stills(tmp_path / "la\n%d", 96, names),
    )
    done = run(small, "--ref-stream", large, "-o", tmp_path / "o [%d]")
    assert done.exit_code == 0, (done.output, done.exception)
    assert sorted(p.name for p in (tmp_path / "o [%d]").iterdir()) == sorted(names)


@pytest.mark.parametrize("length", [241, 246, 250, 255, 256])
def test_too_long_names_of_outputs_are_refused_at_once(
    pair: tuple[Path, Path], tmp_path: Path, length: int
) -> None:
    out = tmp_path / ("a" * (length - 4) + ".mkv")
    done = run(pair[0], "--ref-stream", pair[1], "-o", out)
    if length <= 246:
        assert done.exit_code == 0, done.output
        assert out.is_file()
    else:
        assert_refused(done, "a name of")
        assert list(tmp_path.iterdir()) == []


def test_an_input_with_the_longest_name_is_read(pair: tuple[Path, Path], tmp_path: Path) -> None:
    lr, hr = tmp_path / ("a" * 251 + ".mkv"), tmp_path / ("b" * 251 + ".mkv")
    shutil.copy(pair[0], lr)
    shutil.copy(pair[1], hr)
    assert_refused(run(lr, "--ref-stream", hr), "use a shorter -o")
    assert_refused(run("x" * 256, "--ref-stream", hr), "a name of 256 bytes")
    assert_refused(run(lr, "--ref-stream", tmp_path / ("x" * 999)), "a name of 999 bytes")
    done = run(lr, "--ref-stream", hr, "-o", tmp_path / "out.mkv")
    assert done.exit_code == 0, (done.output, done.exception)


def test_links_to_recordings_are_followed(pair: tuple[Path, Path], tmp_path: Path) -> None:
    (tmp_path / "there").symlink_to(pair[0].parent, target_is_directory=True)
    (tmp_path / "hr.mkv").symlink_to(pair[1])
    (tmp_path / "place").mkdir()
    (tmp_path / "out").symlink_to(tmp_path / "place", target_is_directory=True)
    for sandbox in ("off", "on"):
        done = run(
            tmp_path / "there/lr.mkv", "--ref-stream", tmp_path / "hr.mkv",
            "-o", tmp_path / "out/o.mkv", "--sandbox", sandbox, "--force",
        )  # fmt: skip
        assert done.exit_code == 0, done.output
    assert (tmp_path / "place/o.mkv").is_file()


@pytest.mark.parametrize("kind", ["dangling", "loop"])
def test_broken_links_are_refused(pair: tuple[Path, Path], tmp_path: Path, kind: str) -> None:
    link = tmp_path / "a.mkv"
    link.symlink_to(tmp_path / ("nothing.mkv" if kind == "dangling" else "b.mkv"))
    if kind == "loop":
        (tmp_path / "b.mkv").symlink_to(link)
    assert_refused(run(link, "--ref-stream", pair[1], "-o", tmp_path / "o.mkv"), "does not exist")
    assert_refused(run(pair[0], "--ref-stream", link, "-o", tmp_path / "o.mkv"), "does not exist")
    assert_refused(run(pair[0], "--ref-stream", pair[1], "-o", link), "already exists")
    folder = run(pair[0], "--ref-stream", pair[1], "-o", link / "o.mkv")
    assert_refused(folder, "does not exist; create it first")
    done = run(pair[0], "--ref-stream", pair[1], "-o", link, "--force")
    assert done.exit_code == 0, (done.output, done.exception)
    assert link.is_file()
    assert not link.is_symlink()


def test_the_input_is_not_overwritten_through_links(
    pair: tuple[Path, Path], tmp_path: Path
) -> None:
    lr, hr = tmp_path / "lr.mkv", tmp_path / "hr.mkv"
    shutil.copy(pair[0], lr)
    shutil.copy(pair[1], hr)
    (tmp_path / "link.mkv").symlink_to(lr)
    (tmp_path / "folder").symlink_to(tmp_path, target_is_directory=True)
    for out in (lr, tmp_path / "link.mkv", tmp_path / "folder/lr.mkv", tmp_path / "folder/hr.mkv"):
        done = run(lr, "--ref-stream", hr, "-o", out, "--force")
        assert_refused(done, "which must not be replaced; try another -o")
    assert (sha256(lr), sha256(hr)) == (sha256(pair[0]), sha256(pair[1]))


def test_a_hard_link_of_the_input_is_replaced_without_the_input(
    pair: tuple[Path, Path], tmp_path: Path
) -> None:
    lr, out = tmp_path / "lr.mkv", tmp_path / "out.mkv"
    shutil.copy(pair[0], lr)
    out.hardlink_to(lr)
    assert_refused(run(lr, "--ref-stream", pair[1], "-o", out), "already exists")
    done = run(lr, "--ref-stream", pair[1], "-o", out, "--force")
    assert done.exit_code == 0, done.output
    assert sha256(lr) == sha256(pair[0]) != sha256(out)


@pytest.mark.parametrize("given", ["small", "small/*.png"])
def test_an_output_beside_the_pictures_is_not_read_as_input(tmp_path: Path, given: str) -> None:
    small = write_stills(tmp_path / "small", 48)
    large = write_stills(tmp_path / "large", 96)
    out = small / "out"
    for number in range(2):
        done = run(tmp_path / given, "--ref-stream", large, "-o", out, *["--force"] * number)
        assert done.exit_code == 0, (done.output, done.exception)
        assert sorted(p.name for p in out.iterdir()) == ["a.png", "b.png"]
    assert sorted(p.name for p in small.iterdir()) == ["a.png", "b.png", "out", "out.plan.json"]


def test_an_output_that_is_one_of_the_input_pictures_is_refused(tmp_path: Path) -> None:
    small = write_stills(tmp_path / "small", 48)
    large = write_stills(tmp_path / "large", 96)
    before = content_digest(small)
    done = run(small / "a.png", "--ref-stream", large / "a.png", "-o", small / "b.png")
    assert_refused(done, "already exists")
    assert_refused(
        run(small, "--ref-stream", large, "-o", small, "--force"), "must not be replaced"
    )
    assert content_digest(small) == before


@pytest.mark.parametrize("name", ["x.gif", "x.jpg", "x.m2ts"])
def test_several_pictures_are_not_written_under_the_name_of_one_picture(
    tmp_path: Path, name: str
) -> None:
    small = write_stills(tmp_path / "small", 48)
    large = write_stills(tmp_path / "large", 96)
    out = tmp_path / name
    for given in (small, tmp_path / "small/*.png"):
        done = run(given, "--ref-stream", large, "-o", out)
        assert_refused(done, "x.jpg" if name == "x.jpg" else "has the suffix")
    degraded = CliRunner().invoke(main, ["degrade", str(large), "--scale", "2", "-o", str(out)])
    assert_refused(degraded, "try")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["large", "small"]


def test_one_picture_is_not_written_under_the_name_of_a_video(tmp_path: Path) -> None:
    small = write_stills(tmp_path / "small", 48)
    large = write_stills(tmp_path / "large", 96)
    done = run(small / "a.png", "--ref-stream", large / "a.png", "-o", tmp_path / "x.mp4")
    assert_refused(done, "x.mp4 is the name of a video, but the input is one picture; try -o")


def test_a_folder_that_contains_the_input_is_not_replaced(tmp_path: Path) -> None:
    whole = tmp_path / "whole"
    whole.mkdir()
    small = write_stills(whole / "small", 48)
    large = write_stills(tmp_path / "large", 96)
    before = content_digest(small)
    assert_refused(
        run(small, "--ref-stream", large, "-o", whole, "--force"), "would replace the folder"
    )
    assert_refused(run(large, "--ref-stream", small, "-o", whole, "--force"), "")
    assert content_digest(small) == before


def test_force_replaces_folders_of_pictures_only(tmp_path: Path) -> None:
    small = write_stills(tmp_path / "small", 48)
    large = write_stills(tmp_path / "large", 96)
    out = write_stills(tmp_path / "out", 16)
    (out / "notes.txt").write_text("mine")
    before = content_digest(out)
    assert_refused(run(small, "--ref-stream", large, "-o", out, "--force"), "contains notes.txt")
    assert content_digest(out) == before
    (out / "notes.txt").unlink()
    assert run(small, "--ref-stream", large, "-o", out, "--force").exit_code == 0


def test_force_replaces_a_link_but_not_the_folder_behind_it(tmp_path: Path) -> None:
    small = write_stills(tmp_path / "small", 48)
    large = write_stills(tmp_path / "large", 96)
    kept = write_stills(tmp_path / "kept", 16)
    before = content_digest(kept)
    (tmp_path / "out").symlink_to(kept, target_is_directory=True)
    done = run(small, "--ref-stream", large, "-o", tmp_path / "out", "--force")
    assert done.exit_code == 0, (done.output, done.exception)
    assert not (tmp_path / "out").is_symlink()
    assert len(list((tmp_path / "out").iterdir())) == 2
    assert content_digest(kept) == before


def test_a_new_file_needs_a_folder_and_a_free_name(tmp_path: Path) -> None:
    taken = tmp_path / "taken.png"
    taken.touch()
    check_new_file(tmp_path / "free.png")
    check_new_file(taken, force=True)
    with pytest.raises(OutputExistsError, match="already exists; try another -o, or --force"):
        check_new_file(taken)
    with pytest.raises(OutputExistsError, match=r"already exists; rename it$"):
        check_new_file(taken, advice="rename it")
    with pytest.raises(InputError, match=r"the folder .*/no does not exist"):
        check_new_file(tmp_path / "no" / "free.png", force=True)
