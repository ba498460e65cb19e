"""`-o -` writes to stdout, and `--audio none` drops the sound."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from pathlib import Path

import av
import pytest
from click.testing import CliRunner

from pipeline.cli.main import main
from pipeline.media.read.probe import probe
from tests.support import DATA

CLIP = DATA / "odd/edts.mp4"  # with sound
ARGUMENTS = (
    "run", str(CLIP), "--ref-stream", str(CLIP), "--scale", "2", "--engine", "bicubic",
    "--runner", "inline", "--preset", "ultrafast",
)  # fmt: skip
COMMAND = [sys.executable, "-m", "pipeline", *ARGUMENTS]


def test_stdout_gets_the_whole_file_and_nothing_else(tmp_path: Path) -> None:
    direct, piped = tmp_path / "direct.mkv", tmp_path / "piped.mkv"
    done = CliRunner().invoke(main, [*ARGUMENTS, "-q", "-o", str(direct)])
    assert done.exit_code == 0, done.output
    with piped.open("wb") as file:
        made = subprocess.run([*COMMAND, "-o", "-"], stdout=file, stderr=subprocess.PIPE, text=True)
    assert made.returncode == 0, made.stderr
    assert piped.read_bytes() == direct.read_bytes()
    assert "frames x2 in" in made.stderr


def test_a_picture_is_piped_as_a_picture(tmp_path: Path) -> None:
    photograph = str(DATA / "kodak_21.jpg")
    command = [
        sys.executable, "-m", "pipeline", "run", photograph, "--ref-stream", photograph,
        "--scale", "2", "--engine", "bicubic", "--runner", "inline", "-q", "-o", "-",
    ]  # fmt: skip
    made = subprocess.run(command, capture_output=True, check=True)
    assert made.stdout.startswith(b"\x89PNG")
    assert made.stderr == b""


def test_an_interrupted_run_promises_no_resuming(tmp_path: Path) -> None:
    command = [*COMMAND, "-o", "-", "--segment", "0.2", "--preset", "veryslow"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as child:
        assert child.stderr is not None
        while b" frames" not in child.stderr.readline():  # of the plan
            pass
        child.send_signal(signal.SIGINT)
        lines = child.stderr.read().decode().splitlines()
        assert child.wait() == 130
    assert "nothing is kept" in lines[-1]
    assert "start over" in lines[-1]
    assert "to resume" not in lines[-1]


def test_a_reader_that_ends_early_is_reported_in_one_line() -> None:
    with subprocess.Popen(
        [*COMMAND, "-q", "-o", "-"], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as child:
        assert child.stdout is not None
        assert child.stderr is not None
        child.stdout.close()
        message = child.stderr.read().decode()
        assert child.wait() == 1
    assert message == (
        "error: publish: the program reading stdout exited before it had read everything; check "
        "that program, or try -o FILE\n"
    )


@pytest.mark.parametrize(
    ("more", "line"),
    [
        (["--json"], "-o - cannot be combined with --json"),
        (["--report", "page.html"], "-o - cannot be combined with --json or --report"),
    ],
)
def test_options_that_conflict_with_stdout(more: list[str], line: str) -> None:
    done = CliRunner().invoke(main, [*ARGUMENTS, "-o", "-", *more])
    assert done.exit_code == 2
    assert line in done.stderr


@pytest.mark.parametrize("name", ["", "frames/%04d.png"])
def test_a_folder_cannot_be_piped(tmp_path: Path, name: str) -> None:
    given = str(tmp_path / name)
    done = CliRunner().invoke(main, ["run", given, "--ref-stream", str(CLIP), "-o", "-"])
    assert done.exit_code == 2
    assert "is a folder, which cannot be piped; use -o FOLDER" in done.stderr


def test_a_missing_input_is_reported_as_missing(tmp_path: Path) -> None:
    given = str(tmp_path / "missing.mp4")
    done = CliRunner().invoke(main, ["run", given, "--ref-stream", str(CLIP), "-o", "-"])
    assert done.exit_code == 2
    assert f"{given} does not exist" in done.stderr


def test_sound_can_be_left_out(tmp_path: Path) -> None:
    assert [stream.type for stream in probe(str(CLIP)).other_streams] == ["audio"]
    out = tmp_path / "out.mp4"
    done = CliRunner().invoke(main, [*ARGUMENTS, "-o", str(out), "--audio", "none", "--json"])
    assert done.exit_code == 0, done.output
    with av.open(str(out)) as made:
        assert [stream.type for stream in made.streams] == ["video"]
    notes = json.loads(done.stdout)["notes"]
    assert "--audio none drops the audio track" in notes
    # a saved plan has the same setting
    again = ["run", str(CLIP), "--ref-stream", str(CLIP), "--plan", str(tmp_path / "out.plan.json")]
    second = tmp_path / "second.mp4"
    done = CliRunner().invoke(main, [*again, "-o", str(second), "-q"])
    assert done.exit_code == 0, done.output
    assert second.read_bytes() == out.read_bytes()
