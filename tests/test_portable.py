"""What runs on macOS and Windows: everything in one process, without a sandbox and without Ray.

The processes of these tests hide what those systems lack, see `tests/support/elsewhere.py`.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from pipeline.paths import local_path, url_name
from pipeline.remote import cache
from pipeline.remote.run_urls import describe_confinement, fetch_inputs
from pipeline.schema.settings import RunSettings
from tests.support.elsewhere import run_elsewhere
from tests.support.recordings import write_pair

PAIR_FRAMES = 12
CALL = """
from pipeline.cli.main import main
def call(*arguments):
    try:
        main([str(argument) for argument in arguments])
    except SystemExit as end:
        if end.code:
            raise
"""


@pytest.fixture(params=["darwin", "win32"])
def system(request: pytest.FixtureRequest) -> str:
    """Return the name of a system, as in `sys.platform`."""
    return str(request.param)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Return a folder with the recordings lr.mkv and hr.mkv."""
    write_pair(tmp_path, frames=PAIR_FRAMES)
    return tmp_path


def succeed_elsewhere(system: str, code: str, folder: Path) -> subprocess.CompletedProcess[str]:
    """Run `code` on another system; it must end well and without a warning."""
    cache = folder / "cache"
    done = run_elsewhere(system, CALL + code, folder, {"PIPELINE_CACHE": str(cache)})
    assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stderr
    return done


def test_a_run_and_its_report(system: str, folder: Path) -> None:
    succeed_elsewhere(
        system,
        """
given = ("lr.mkv", "--ref-stream", "hr.mkv")
call("plan", *given, "--engine", "bicubic")
call("run", *given, "--engine", "bicubic", "-q", "-o", "out.mkv", "--report", "out.html")
call("run", *given, "--engine", "bicubic", "-q", "-o", "out.mkv", "--force")
call("verify", "lr.mkv", "out.mkv")
call("evaluate", "out.mkv", "--ground-truth", "hr.mkv")
call("run", *given, "--engine", "torch", "--end", "0.1", "-q", "-o", "net.mkv")
""",
        folder,
    )
    made = {path.name for path in folder.iterdir()} - {"cache", "lr.mkv", "hr.mkv"}
    assert made == {"out.mkv", "out.plan.json", "out.html", "net.mkv", "net.plan.json"}


def test_a_light_field(system: str, tmp_path: Path) -> None:
    source = Path("tests/data/flowers_8x8.png").absolute()
    succeed_elsewhere(
        system,
        f"""
import pathlib, shutil
lens = ("--layout", "mosaic", "--grid", "8x8", "--order", "col,row")
call("convert", {str(source)!r}, *lens, "--to", "folder", "-o", "original")
call("degrade", "original", "--scale", "2", "-o", "views")
shutil.copy("original/view_00_00.png", "ref.png")
pathlib.Path("one").mkdir()
given = ("views", "--ref-stream", "ref.png", "--ref-view", "0,0", "--engine", "bicubic", "-q")
call("run", *given, "-o", "one", "--force", "--report", "one.html")
call("run", *given, "-o", "one", "--force")
""",
        tmp_path,
    )
    assert len(list((tmp_path / "one").glob("*.png"))) == 64
    made = {path.name for path in tmp_path.iterdir() if path.name.startswith(".")}
    assert made == set()


def test_names_in_other_scripts_are_printed_in_any_encoding(folder: Path) -> None:
    (folder / "lr.mkv").rename(folder / "日本.mkv")
    code = f"{CALL}call('probe', '日本.mkv', '--json')"
    done = run_elsewhere("win32", code, folder, {"PYTHONIOENCODING": "cp1252"})
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["path"] == "日本.mkv"


def test_engines_are_measured_and_stored(system: str, tmp_path: Path) -> None:
    done = succeed_elsewhere(
        system,
        """
small = ("--size", "64x64", "--frames", "1", "--turns", "1")
call("engines", "bench", "--engine", "torch", "--engine", "onnx", *small)
call("engines", "list")
call("doctor")
""",
        tmp_path,
    )
    assert "torch" in done.stdout


@pytest.mark.parametrize(
    ("option", "message"),
    [
        (("--sandbox", "on"), "confined child processes need Linux; if you trust"),
        (("--runner", "ray"), "because runs on Ray need Linux; try --runner inline"),
    ],
)
def test_what_needs_linux_is_refused_if_it_is_requested(
    system: str, folder: Path, option: tuple[str, str], message: str
) -> None:
    given = ("run", "lr.mkv", "--ref-stream", "hr.mkv", *option, "-o", "out.mkv")
    done = run_elsewhere(system, f"{CALL}call(*{given})", folder)
    assert done.returncode == 2
    (line,) = done.stderr.splitlines()
    assert message in line
    assert not (folder / "out.mkv").exists()


@pytest.mark.parametrize(("platform", "sandbox"), [("linux", "on"), ("darwin", "auto")])
def test_recordings_from_urls_are_confined_where_that_is_possible(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, platform: str, sandbox: str
) -> None:
    monkeypatch.setattr(cache, "fetch_copy", lambda _: tmp_path / "lr.mp4")
    monkeypatch.setattr(sys, "platform", platform)
    given = RunSettings(input="https://host/lr.mp4", output=str(tmp_path / "out.mp4"))
    assert fetch_inputs(given, given).sandbox == sandbox
    assert ("the sandbox needs Linux" in describe_confinement(given)) == (sandbox == "auto")


def test_a_copy_of_a_url_has_a_name_that_windows_allows(monkeypatch: pytest.MonkeyPatch) -> None:
    assert url_name("https://host/a:b.mp4") == "a:b.mp4"
    monkeypatch.setattr(sys, "platform", "win32")
    assert url_name("https://host/a:b.mp4") == "a_b.mp4"


def test_the_drive_in_a_file_url_is_not_below_the_root(monkeypatch: pytest.MonkeyPatch) -> None:
    assert local_path("file:///C:/a.mp4") == "/C:/a.mp4"
    monkeypatch.setattr(sys, "platform", "win32")
    assert local_path("file:///C:/a.mp4") == "C:/a.mp4"


def test_a_link_is_not_taken_for_a_folder_of_the_run(folder: Path) -> None:
    (folder / "other").mkdir()
    (folder / ".out.mkv.run").symlink_to(folder / "other")
    given = ("run", "lr.mkv", "--ref-stream", "hr.mkv", "--engine", "bicubic", "-o", "out.mkv")
    done = run_elsewhere("win32", f"{CALL}call(*{given})", folder)
    assert done.returncode == 2
    assert (
        "cannot be used as a folder (a file or a link); it must be a folder that you own"
        in done.stderr
    )
