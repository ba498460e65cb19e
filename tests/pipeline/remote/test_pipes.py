"""Recordings that arrive through pipes: copied for the run, or refused in one line."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from pipeline.api import enhanced_frames
from pipeline.errors import InputError
from pipeline.media.read.probe import probe, scan
from pipeline.paths import describe_special
from pipeline.remote.pipes import read_pipes
from tests.support.commands import invoke
from tests.support.recordings import write_pair

OPTIONS = ("--engine", "bicubic", "--runner", "inline", "-q")
FRAMES = 6


@pytest.fixture
def pair(tmp_path: Path) -> tuple[Path, Path]:
    return write_pair(tmp_path, frames=FRAMES)


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "cache"
    monkeypatch.setenv("PIPELINE_CACHE", str(folder))
    return folder


@contextmanager
def piped(source: Path, pipe: Path) -> Iterator[Path]:
    """Yield a named pipe into which a thread writes the content of `source` once."""
    os.mkfifo(pipe)

    def write() -> None:
        with pipe.open("wb") as stream:
            stream.write(source.read_bytes())

    writer = threading.Thread(target=write, daemon=True)
    writer.start()
    yield pipe
    writer.join(timeout=20)
    assert not writer.is_alive()


def list_copies(cache: Path) -> list[Path]:
    return [file for file in cache.rglob("*") if file.is_file() and file.suffix != ".lock"]


def pipeline(script: str, folder: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run a line of bash in which `pipeline` is the command."""
    line = f'pipeline() {{ "{sys.executable}" -m pipeline "$@"; }}; {script}'
    return subprocess.run(
        ["bash", "-c", line],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[3]), **environment},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def test_a_run_reads_its_recordings_from_named_pipes(
    pair: tuple[Path, Path], tmp_path: Path, cache: Path
) -> None:
    plain, out = tmp_path / "plain.mkv", tmp_path / "out.mkv"
    expected = invoke("run", pair[0], "--ref-stream", pair[1], "-o", plain, *OPTIONS)
    assert expected.exit_code == 0

    with piped(pair[0], tmp_path / "a.fifo") as lr, piped(pair[1], tmp_path / "b.fifo") as ref:
        result = invoke("run", lr, "--ref-stream", ref, "-o", out, *OPTIONS)
    assert result.exit_code == 0, result.output
    assert out.read_bytes() == plain.read_bytes()
    assert list_copies(cache) == []


def test_one_program_may_write_to_both_pipes_in_turns(
    pair: tuple[Path, Path], tmp_path: Path
) -> None:
    pipes = [tmp_path / "a.fifo", tmp_path / "b.fifo"]
    for pipe in pipes:
        os.mkfifo(pipe)

    def write() -> None:
        with pipes[1].open("wb") as second, pipes[0].open("wb") as first:
            first.write(pair[0].read_bytes())
            second.write(pair[1].read_bytes())

    threading.Thread(target=write, daemon=True).start()
    with read_pipes([str(pipe) for pipe in pipes]) as copies:
        found = [copies[str(pipe)].read_bytes() for pipe in pipes]
    assert found == [path.read_bytes() for path in pair]


def test_process_substitution_and_standard_input(pair: tuple[Path, Path], tmp_path: Path) -> None:
    options = " ".join(OPTIONS)
    for number, (before, lr, ref) in enumerate(
        [
            ("", "<(cat lr.mkv)", "<(cat hr.mkv)"),
            ("cat lr.mkv |", "-", "hr.mkv"),
            ("cat hr.mkv |", "lr.mkv", "/dev/stdin"),
            ("< lr.mkv", "/dev/stdin", "hr.mkv"),
        ]
    ):
        command = f"pipeline run {lr} --ref-stream {ref} -o {number}.mkv {options}"
        line = f"{command} {before}" if before.startswith("<") else f"{before} {command}"
        done = pipeline(line, tmp_path)
        assert done.returncode == 0, done.stderr
    outputs = {(tmp_path / f"{number}.mkv").read_bytes() for number in range(4)}
    assert len(outputs) == 1


def test_the_command_after_keyframes_does_not_name_a_copy(
    pair: tuple[Path, Path], tmp_path: Path
) -> None:
    done = pipeline("cat lr.mkv | pipeline keyframes /dev/stdin -o keys --at 0 -q", tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == "  pipeline run INPUT --ref-stream keys"
    assert (tmp_path / "keys" / "keyframes.json").is_file()


def test_a_pipe_that_several_inputs_of_a_batch_share_is_read_once(
    pair: tuple[Path, Path], tmp_path: Path, cache: Path
) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "b.mkv").write_bytes(pair[0].read_bytes())
    command = f"pipeline run lr.mkv b.mkv --ref-stream <(cat hr.mkv) -o out {' '.join(OPTIONS)}"
    done = pipeline(command, tmp_path)
    assert done.returncode == 0, done.stderr
    first, second = (tmp_path / "out" / name for name in ("lr.mkv", "b.mkv"))
    assert first.read_bytes() == second.read_bytes()
    assert list_copies(cache) == []


def test_an_empty_pipe_that_a_batch_shares_is_one_line(
    pair: tuple[Path, Path], tmp_path: Path
) -> None:
    (tmp_path / "out").mkdir()
    command = f"pipeline run lr.mkv hr.mkv --ref-stream <(true) -o out {' '.join(OPTIONS)}"
    done = pipeline(command, tmp_path)
    assert done.returncode == 2
    (line,) = done.stderr.splitlines()
    assert "is empty, but must contain a recording" in line


@pytest.mark.parametrize("suffix", [".y4m", ".mp4", ".png"])
def test_formats_are_recognized_by_their_content(
    pair: tuple[Path, Path], tmp_path: Path, suffix: str
) -> None:
    import av
    import cv2

    source = tmp_path / f"source{suffix}"
    with av.open(str(pair[0])) as video:
        frames = [frame.to_ndarray(format="bgr24") for frame in video.decode(video=0)]
    if suffix == ".png":
        cv2.imwrite(str(source), frames[0])
    else:
        codec = "wrapped_avframe" if suffix == ".y4m" else "libx264"
        container = "yuv4mpegpipe" if suffix == ".y4m" else "mp4"
        with av.open(str(source), "w", format=container) as made:
            stream = made.add_stream(codec, rate=25)
            stream.height, stream.width = frames[0].shape[:2]
            stream.pix_fmt = "yuv420p"
            for picture in frames:
                frame = av.VideoFrame.from_ndarray(picture, format="bgr24")
                made.mux(stream.encode(frame.reformat(format="yuv420p")))
            made.mux(stream.encode(None))

    with piped(source, tmp_path / "pipe") as pipe, read_pipes([str(pipe)]) as copies:
        clip = probe(str(copies[str(pipe)]))
        assert len(scan(clip).pts) == (1 if suffix == ".png" else FRAMES)
        assert (clip.width, clip.height) == (64, 48)


def test_the_copy_of_the_same_content_has_the_same_path(
    pair: tuple[Path, Path], tmp_path: Path
) -> None:
    # otherwise an interrupted run would begin again
    found = []
    for _ in range(2):
        with piped(pair[0], tmp_path / "a.fifo") as pipe, read_pipes([str(pipe)]) as copies:
            found.append(copies[str(pipe)])
        pipe.unlink()
    assert found[0] == found[1]


def test_other_commands_read_pipes_too(pair: tuple[Path, Path], tmp_path: Path) -> None:
    with piped(pair[0], tmp_path / "probe") as pipe:
        result = invoke("probe", pipe, "--json")
    assert json.loads(result.stdout)["width"] == 64, result.output

    with piped(pair[1], tmp_path / "degrade") as pipe:
        result = invoke("degrade", pipe, "--scale", 2, "-o", tmp_path / "small.mkv")
    assert result.exit_code == 0, result.output

    with piped(pair[0], tmp_path / "plan") as pipe:
        result = invoke("plan", pipe, "--ref-stream", pair[1], "-o", tmp_path / "o.mkv", "--json")
    assert result.exit_code == 0, result.output

    with piped(pair[0], tmp_path / "sr") as sr, piped(pair[0], tmp_path / "truth") as truth:
        result = invoke("evaluate", sr, "--ground-truth", truth, "--json")
    assert json.loads(result.stdout)["frames"] == FRAMES, result.output


def test_frames_are_enhanced_from_pipes_in_python(pair: tuple[Path, Path], tmp_path: Path) -> None:
    with piped(pair[0], tmp_path / "pipe") as pipe:
        frames = list(enhanced_frames(pipe, pair[1], engine="bicubic"))
    assert len(frames) == FRAMES


def _make_socket(folder: Path) -> str:
    with socket.socket(socket.AF_UNIX) as bound:
        bound.bind(str(folder / "s"))
    return str(folder / "s")


def _find_device(folder: Path) -> str:
    return "/dev/null"


@pytest.mark.parametrize("make", [_make_socket, _find_device])
@pytest.mark.parametrize("command", ["run", "run ref", "plan", "probe", "convert", "degrade"])
def test_what_cannot_be_read_is_refused_in_one_line(
    pair: tuple[Path, Path], tmp_path: Path, make: Callable[[Path], str], command: str
) -> None:
    path = make(tmp_path)
    out = tmp_path / "out.mkv"
    arguments = {
        "run": ("run", path, "--ref-stream", pair[1], "-o", out),
        "run ref": ("run", pair[0], "--ref-stream", path, "-o", out),
        "plan": ("plan", path, "--ref-stream", pair[1], "-o", out),
        "probe": ("probe", path),
        "convert": ("convert", path, "--to", "quilt"),
        "degrade": ("degrade", path, "--scale", "2", "-o", out),
    }
    result = invoke(*arguments[command])
    assert result.exit_code == 2, (result.output, result.exception)
    assert path in result.stderr
    assert "to a file first, and pass that file" in result.stderr
    assert not out.exists()


def test_an_empty_pipe_and_a_missing_output_are_refused(
    pair: tuple[Path, Path], tmp_path: Path, cache: Path
) -> None:
    empty = tmp_path / "empty"
    empty.touch()
    with (
        piped(empty, tmp_path / "pipe") as pipe,
        pytest.raises(InputError, match="is empty, but must contain a recording"),
        read_pipes([str(pipe)]),
    ):
        raise AssertionError("the pipe is empty")
    assert list_copies(cache) == []

    # nothing is read before the mistake is reported
    unread = tmp_path / "unread"
    os.mkfifo(unread)
    result = invoke("run", unread, "--ref-stream", pair[1], *OPTIONS)
    assert result.exit_code == 2
    assert "needs -o OUT" in result.stderr


def test_a_full_disk_is_reported_in_one_line(
    pair: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cache: Path
) -> None:
    import shutil

    usage = shutil.disk_usage(tmp_path)._replace(free=1)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage)
    with (
        piped(pair[0], tmp_path / "pipe") as pipe,
        pytest.raises(InputError, match="set PIPELINE_CACHE"),
        read_pipes([str(pipe)]),
    ):
        raise AssertionError("the disk is full")
    assert list_copies(cache) == []


def test_ordinary_paths_are_not_special(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    paths = ("file", ".", "none", "%*?[x]", "s3://bucket/clip.mkv", "\0", "x" * 5000)
    assert [describe_special(str(tmp_path / path)) for path in paths] == [None] * len(paths)


@pytest.mark.parametrize(
    "command", ["run none --ref-stream hr.mkv -o out.mkv", "probe none", "degrade none -o out.mkv"]
)
def test_a_pipe_without_a_writer_is_named_and_the_wait_ends_with_ctrl_c(
    command: str, pair: tuple[Path, Path], tmp_path: Path, cache: Path
) -> None:
    os.mkfifo(tmp_path / "none")
    # a shell starts programs in the background with SIGINT ignored, and children inherit that
    listen = "signal.signal(signal.SIGINT, signal.default_int_handler)"
    program = f"import signal; {listen}; from pipeline.cli.main import main; main()"
    with subprocess.Popen(
        [sys.executable, "-c", program, *command.split()],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[3])},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stderr is not None
        lines = iter(process.stderr.readline, "")
        assert any("waiting for data from none; Ctrl-C ends this command" in line for line in lines)
        process.send_signal(signal.SIGINT)
        _, rest = process.communicate(timeout=60)
    assert (process.returncode, "interrupted" in rest) == (130, True)
    assert list_copies(cache) == []
    assert not (tmp_path / "out.mkv").exists()


@pytest.mark.parametrize("begins", [True, False])
def test_only_an_empty_pipe_is_waited_for(
    begins: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pipeline.remote.pipes._PATIENCE_SECONDS", 0.3)
    pipe = tmp_path / "a.fifo"
    os.mkfifo(pipe)

    def write() -> None:
        with pipe.open("wb", buffering=0) as stream:
            if begins:
                stream.write(b"a")
            time.sleep(1.5)
            stream.write(b"b")

    threading.Thread(target=write, daemon=True).start()
    notes: list[str] = []
    with read_pipes([str(pipe)], on_wait=notes.append) as copies:
        assert copies[str(pipe)].read_bytes() == (b"ab" if begins else b"b")
    assert notes == ([] if begins else [f"waiting for data from {pipe}; Ctrl-C ends this command"])
