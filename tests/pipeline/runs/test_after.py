"""The command that is called with every published output."""

from __future__ import annotations

import json
import shutil
import sys
from functools import partial
from pathlib import Path

import pytest

from tests.support.commands import invoke

PAIR_FRAMES = 8
CHOSEN = ("--engine", "bicubic", "--runner", "inline", "--preset", "ultrafast")
run_command = partial(invoke, "run", *CHOSEN)
# the quotation marks keep a name one word
STORE = 'printf "%s|%s\\n" "$PIPELINE_INPUT" "$PIPELINE_OUTPUT" >> stored.txt; echo stored'

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="uses the shell of Unix")


@pytest.fixture
def folder(pair: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in ("a", "b"):
        shutil.copy(pair[0], tmp_path / f"{name}.mkv")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_the_command_gets_the_names_of_every_published_output(
    folder: Path, pair: tuple[Path, Path]
) -> None:
    rest = ("--ref-stream", pair[1], "--json", "--exec", STORE)
    done = run_command("a.mkv", *rest)
    assert done.exit_code == 0, done.stderr
    assert json.loads(done.stdout)["exec_status"] == 0
    line = f"--exec for {folder / 'a_x2.mkv'} ended with status 0: stored"
    assert line in done.stderr.splitlines()

    # a is finished, so nothing is published
    batch = run_command("a.mkv", "b.mkv", *rest)
    assert batch.exit_code == 0, batch.stderr
    items = json.loads(batch.stdout)["items"]
    assert [item["result"]["exec_status"] for item in items] == [None, 0]
    assert Path("stored.txt").read_text().splitlines() == [
        f"{folder / name}.mkv|{folder / name}_x2.mkv" for name in ("a", "b")
    ]


def test_nothing_in_a_name_is_executed(folder: Path, pair: tuple[Path, Path]) -> None:
    hostile = "a $(touch hacked) `touch hacked` '; touch hacked; \" #.mkv"
    shutil.copy(pair[0], hostile)
    done = run_command(hostile, "--ref-stream", pair[1], "--exec", STORE)
    assert done.exit_code == 0, done.stderr
    assert not Path("hacked").exists()
    assert Path("stored.txt").read_text().startswith(f"{folder / hostile}|")


def test_a_command_that_fails_is_reported_and_the_output_stays(
    folder: Path, pair: tuple[Path, Path]
) -> None:
    command = 'echo first; echo "no such server" >&2; exit 3'
    done = run_command("a.mkv", "b.mkv", "--ref-stream", pair[1], "--exec", command, "--json")
    assert done.exit_code == 1
    answer = json.loads(done.stdout)
    assert (answer["done"], answer["failed"]) == (2, 0)
    assert done.stderr.count("ended with status 3: no such server") == 2
    assert "the --exec command failed for 2 of 2 outputs, first with status 3" in done.stderr
    assert Path("a_x2.mkv").exists()
    assert Path("b_x2.mkv").exists()


def test_a_folder_cannot_bring_a_command(folder: Path, pair: tuple[Path, Path]) -> None:
    for line in ('exec = "touch hacked"', 'watch = "."'):
        Path("pipeline.toml").write_text(f"[run]\n{line}\n")
        done = run_command("a.mkv", "--ref-stream", pair[1])
        assert done.exit_code == 2
        assert "set it on the command line, or pass --config" in done.stderr
    Path("pipeline.toml").unlink()
    Path("list.jsonl").write_text('{"input": "a.mkv", "exec": "touch hacked"}\n')
    listed = run_command("--manifest", "list.jsonl", "--ref-stream", pair[1], "--json")
    assert "exec" in json.loads(listed.stdout)["items"][0]["error"]
    assert not Path("hacked").exists()


def test_an_output_for_stdout_has_no_name_for_a_command(
    folder: Path, pair: tuple[Path, Path]
) -> None:
    done = run_command("a.mkv", "--ref-stream", pair[1], "-o", "-", "--exec", "true")
    assert done.exit_code == 2
    assert "-o - cannot be combined with --exec" in done.stderr
    empty = run_command("a.mkv", "--ref-stream", pair[1], "--exec", " ")
    assert empty.exit_code == 2
    assert "--exec needs a command" in empty.stderr


def test_a_command_that_no_shell_takes_is_refused_before_the_run(
    folder: Path, pair: tuple[Path, Path]
) -> None:
    Path("own.toml").write_text('[run]\nexec = "echo \\u0000"\n')
    done = invoke("--config", "own.toml", "run", *CHOSEN, "a.mkv", "--ref-stream", pair[1])
    assert done.exit_code == 2
    assert "--exec cannot contain NUL" in done.stderr
    assert not Path("a_x2.mkv").exists()
