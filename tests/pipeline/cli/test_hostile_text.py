"""Names with escape sequences reach a terminal harmless, and streams that fail end no run."""

from __future__ import annotations

import errno
import json
import os
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from pipeline.progress import LineReporter
from tests.support.clips import make_video
from tests.support.commands import invoke

TITLE = "\x1b]0;evil\x07"
SHOWN = "\\x1b]0;evil\\x07"


def run_in_shell(command: str, folder: Path) -> subprocess.CompletedProcess[str]:
    """Run a command line in a shell, where `pipeline` is this checkout."""
    code = "from pipeline.cli.main import main; main()"
    pipeline = shlex.join([sys.executable, "-c", code])
    root = str(Path(__file__).parents[3])
    environment = {**os.environ, "PYTHONPATH": root}
    environment.pop("PYTHONUNBUFFERED", None)  # it would hide text that cannot be written
    return subprocess.run(
        ["bash", "-c", f'pipeline() {{ {pipeline} "$@"; }}; {command}'],
        capture_output=True,
        text=True,
        cwd=folder,
        env=environment,
        timeout=120,
        check=False,
    )


def test_probe_shows_a_hostile_name_escaped(tmp_path: Path) -> None:
    video = make_video(tmp_path / f"{TITLE}.mp4", pts=[0, 1])
    shown = invoke("probe", video)
    assert shown.exit_code == 0
    assert SHOWN in shown.output
    assert "\x1b" not in shown.output

    exact = invoke("probe", video, "--json")
    assert json.loads(exact.stdout)["path"] == str(video)
    assert "\x1b" not in exact.output


@pytest.mark.parametrize(
    "arguments", [["probe", TITLE], ["probe", f"--{TITLE}"], [TITLE], ["probe", "a", TITLE]]
)
def test_errors_show_a_hostile_argument_escaped(arguments: list[str]) -> None:
    result = invoke(*arguments)
    assert result.exit_code == 2
    assert SHOWN in result.stderr
    assert "\x1b" not in result.stderr
    assert "\x07" not in result.stderr


def test_progress_shows_a_hostile_name_escaped(capsys: pytest.CaptureFixture[str]) -> None:
    LineReporter().note(TITLE)
    assert capsys.readouterr().err == f"{SHOWN}\n"


@pytest.mark.parametrize("stderr", ["2>&1 >&3 | head -c 0", "2>&-", "2>/dev/full"])
def test_a_run_ends_well_if_its_progress_cannot_be_written(stderr: str, tmp_path: Path) -> None:
    make_video(tmp_path / "a.mp4", pts=[0, 1, 2])
    command = "pipeline run a.mp4 --ref-stream a.mp4 --scale 2 -o out.mkv --engine bicubic"
    done = run_in_shell(f"set -o pipefail; {{ {command} {stderr}; }} 3>&1", tmp_path)
    assert done.returncode == 0, done
    assert (tmp_path / "out.mkv").is_file(), done


@pytest.mark.parametrize("command", ["--help", "--version", "run --help", "completion bash"])
def test_text_that_standard_output_cannot_take_is_one_line(command: str, tmp_path: Path) -> None:
    done = run_in_shell(f"pipeline {command} >/dev/full", tmp_path)
    assert done.returncode in (1, 120)
    assert "No space left on device" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("option", ["--codec", "--preset", "--pix-fmt"])
def test_names_for_the_encoder_are_names(option: str, tmp_path: Path) -> None:
    video = make_video(tmp_path / "a.mp4", pts=[0, 1])
    command = ["plan", video, "--ref-stream", video, "--scale", "2"]
    for value in (TITLE, "libx264:stats=x", "a b"):
        result = invoke(*command, option, value)
        assert result.exit_code == 2
        assert f"{option} is " in result.stderr
        assert "expected a name of letters and digits" in result.stderr
        assert "\x1b" not in result.stderr
        assert len(result.stderr.splitlines()) == 1


def test_secrets_in_urls_are_not_printed(tmp_path: Path) -> None:
    url = "http://me:s3cret@127.0.0.1:9/a.mkv?X-Amz-Signature=s3cret"
    for command in (["probe", url], ["status", url], [url], ["probe", "a", url]):
        result = invoke(*command)
        assert result.exit_code == 2
        assert "s3cret" not in result.output


def test_text_that_standard_error_cannot_take_changes_no_status(tmp_path: Path) -> None:
    code = (
        "import atexit, sys; from pipeline.cli.main import discard_unwritten_lines; "
        "atexit.register(discard_unwritten_lines); sys.stderr.buffer.write(b'a line')"
    )
    command = f"{shlex.join([sys.executable, '-c', code])} 2>/dev/full"
    assert run_in_shell(command, tmp_path).returncode == 0


def test_a_deleted_current_folder_is_one_line(tmp_path: Path) -> None:
    done = run_in_shell("mkdir gone && cd gone && rmdir ../gone && pipeline probe a.mp4", tmp_path)
    assert done.returncode == 2
    assert "No such file or directory" in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_a_folder_without_permissions_is_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(path: Path) -> None:
        raise PermissionError(errno.EACCES, "Permission denied", str(path))

    # root may read any folder, so the call itself has to fail
    monkeypatch.setattr(Path, "iterdir", refuse)
    result = invoke("probe", tmp_path)
    assert result.exit_code == 2
    assert f"reported 'Permission denied' at {tmp_path}" in result.stderr
    assert len(result.stderr.splitlines()) == 1


def test_an_unknown_kind_of_log_is_refused() -> None:
    result = invoke("probe", "a.mp4", env={"PIPELINE_LOG": "weird"})
    assert result.exit_code == 2
    assert "must be json or text" in result.stderr


def test_a_configuration_that_never_ends_is_refused() -> None:
    result = invoke("--config", "/dev/zero", "probe", "a.mp4")
    assert result.exit_code == 2
    assert "/dev/zero is a device" in result.stderr
