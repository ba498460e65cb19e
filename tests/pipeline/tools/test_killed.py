"""Commands that write one file are killed (SIGKILL) while they write it, and run again."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipeline.errors import InputError
from pipeline.ledger.durable import staging_folder, write_atomically
from tests.support import scenes
from tests.support.commands import invoke
from tests.support.finished import finished_run
from tests.support.killed_command import run_until


def assert_nothing_remains(
    folder: Path, ending: str, command: tuple[object, ...], made: list[str]
) -> None:
    """Kill a command before it renames a file to a path with this ending, and run it again."""
    run_until("os.rename", ending, *command)
    done = invoke(*command)
    assert done.exit_code == 0, done.output
    assert sorted(path.name for path in folder.iterdir()) == made


@pytest.mark.parametrize("ending", ["out.lightfield.json", "out.png"])
def test_a_killed_conversion(tmp_path: Path, ending: str) -> None:
    source = scenes.write_folder(tmp_path / "views", 2, 3)
    made = tmp_path / "made"
    made.mkdir()
    command = ("convert", source, "--to", "mosaic", "-o", made / "out.png")
    assert_nothing_remains(made, ending, command, ["out.lightfield.json", "out.png"])


def test_a_killed_report(tmp_path: Path) -> None:
    page = tmp_path / "page.html"
    command = ("report", finished_run() / "out.mkv", "-o", page)
    assert_nothing_remains(tmp_path, "page.html", command, ["page.html"])
    assert page.read_text(encoding="utf-8").rstrip().endswith("</html>")


def test_killed_comparisons_and_degraded_copies(pair: tuple[Path, Path], tmp_path: Path) -> None:
    command = ("compare", *pair, "-o", tmp_path / "out.png")
    assert_nothing_remains(tmp_path, "out.png", command, ["out.png"])
    command = ("degrade", pair[1], "--scale", "2", "-o", tmp_path / "small.mkv")
    assert_nothing_remains(tmp_path, "small.mkv", command, ["out.png", "small.mkv"])


def test_two_processes_never_share_a_staging_folder(tmp_path: Path) -> None:
    output = tmp_path / "out.html"
    with staging_folder(output) as folder:
        write_atomically(folder / "page.html", "the first")
        with pytest.raises(InputError, match="another command is writing"):
            staging_folder(output).__enter__()
        assert (folder / "page.html").read_text() == "the first"
    assert list(tmp_path.iterdir()) == []
