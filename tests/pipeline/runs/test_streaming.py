"""`-o - --stream` writes uncompressed frames as they are done, between real programs in pipes."""

from __future__ import annotations

import fcntl
import os
import shlex
import signal
import subprocess
import sys
import termios
import time
from pathlib import Path
from typing import BinaryIO

import pytest

from deploy.protocol import Engine
from pipeline.errors import InputError, StageError
from pipeline.execution.infer import enhance_batch
from pipeline.execution.task import Batch, Enhanced
from pipeline.media.read.probe import probe
from pipeline.progress import SILENT
from pipeline.runs.conductor import RunRequest
from pipeline.runs.parts import RunParts
from pipeline.runs.streaming import stream_frames
from pipeline.schema.plan import Plan
from tests.support.clips import make_video, picture
from tests.support.commands import invoke
from tests.support.programs import needs
from tests.support.recordings import settings_for, write_pair
from tests.support.scenes import flowers, save_picture

PIPELINE = [sys.executable, "-m", "pipeline"]
QUICK = ["--engine", "bicubic", "--runner", "inline", "-q"]
FRAMES = 12
WIDTH, HEIGHT = 80, 48  # of the input; rows of the output's chroma are padded in memory


def run_ffmpeg(*arguments: object) -> bytes:
    """Return what ffmpeg writes to stdout."""
    command = ["ffmpeg", "-v", "error", "-y", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, check=True).stdout


def write_source(path: Path, *options: str, scale: int = 1) -> Path:
    """Write a moving test picture, as FFmpeg makes it."""
    size = f"{WIDTH * scale}x{HEIGHT * scale}"
    run_ffmpeg(
        *("-f", "lavfi", "-i", f"testsrc2=size={size}:rate=30000/1001", "-frames:v", FRAMES),
        *("-strict", "-1", *options, path),
    )
    return path


def probe_stream(path: Path) -> dict[str, str]:
    """Return what ffprobe says about the video stream of a file."""
    command = ["ffprobe", "-v", "error", "-show_streams", str(path)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return dict(line.split("=", 1) for line in done.stdout.splitlines() if "=" in line)


@needs("ffmpeg")
@pytest.mark.parametrize(
    ("pix_fmt", "more", "space"),
    [
        ("yuv420p", [], "C420mpeg2"),
        ("yuv422p", [], "C422"),
        ("yuv444p", [], "C444"),
        ("yuv420p10le", [], "C420p10"),
        ("yuv422p10le", [], "C422p10"),
        ("yuv444p12le", [], "C444p12"),
        ("yuv420p", ["-vf", "scale=out_range=full", "-color_range", "pc"], "C420mpeg2"),
        ("yuv420p", ["-aspect", "4:3"], "C420mpeg2"),
    ],
)
def test_frames_in_pipes_are_those_of_a_file(
    tmp_path: Path, pix_fmt: str, more: list[str], space: str
) -> None:
    source = write_source(tmp_path / "lr.y4m", "-pix_fmt", pix_fmt, *more)
    sharp = write_source(tmp_path / "hr.mkv", "-c:v", "ffv1", scale=2)
    lossless = ["--codec", "ffv1"] if "-aspect" not in more else ["--codec", "x264", "--crf", 0]
    written = tmp_path / "out.mkv"
    done = invoke("run", source, "--ref-stream", sharp, *QUICK, "-o", written, *lossless)
    assert done.exit_code == 0, done.output

    piped, kept = tmp_path / "piped.nut", tmp_path / "kept.y4m"
    ours = shlex.join([*PIPELINE, "run", "-", "--ref-stream", str(sharp), *QUICK])
    command = (
        f"set -o pipefail; ffmpeg -v error -i {source} -f yuv4mpegpipe -strict -1 - "
        f"| {ours} -o - --stream y4m | tee {kept} | ffmpeg -v error -i - -c:v ffv1 {piped}"
    )
    run = subprocess.run(["bash", "-c", command], capture_output=True, text=True, check=False)
    assert (run.returncode, run.stderr, run.stdout) == (0, "", "")

    def decode(path: Path) -> bytes:
        return run_ffmpeg("-i", path, "-f", "rawvideo", "-pix_fmt", pix_fmt, "-")

    frames = decode(piped)
    assert frames == decode(written)
    assert len(frames) % FRAMES == 0
    header = kept.read_bytes().split(b"\n", 1)[0].decode().split()
    assert header[:4] == ["YUV4MPEG2", f"W{2 * WIDTH}", f"H{2 * HEIGHT}", "F30000:1001"]
    assert header[6] == space
    seen = probe_stream(kept)
    expected = probe_stream(source)
    for name in ("pix_fmt", "color_range", "r_frame_rate", "sample_aspect_ratio"):
        assert seen[name] == expected[name], name
    assert ("pc" in more) == (seen["color_range"] == "pc")
    assert (seen["sample_aspect_ratio"] == "1:1") == ("-aspect" not in more)


@needs("ffmpeg")
@pytest.mark.parametrize("pix_fmt", ["", "rgb24", "nv12", "gray16le"])
def test_raw_video_is_the_frames_alone(tmp_path: Path, pix_fmt: str) -> None:
    source = write_source(tmp_path / "lr.y4m")
    sharp = write_source(tmp_path / "hr.mkv", "-c:v", "ffv1", scale=2)
    written = tmp_path / "out.mkv"
    common = ["run", source, "--ref-stream", sharp, *QUICK]
    done = invoke(*common, "-o", written, "--codec", "ffv1")
    assert done.exit_code == 0, done.output

    chosen = ["--pix-fmt", pix_fmt] if pix_fmt else []
    command = [*PIPELINE, *map(str, common), "-o", "-", "--stream", "rawvideo", *chosen]
    made = subprocess.run(command, capture_output=True, check=True).stdout
    depth = {"": 1.5, "rgb24": 3, "nv12": 1.5, "gray16le": 2}[pix_fmt]
    assert len(made) == FRAMES * 4 * WIDTH * HEIGHT * depth
    if not pix_fmt:
        assert made == run_ffmpeg("-i", written, "-f", "rawvideo", "-")
    if pix_fmt == "nv12":
        assert made == run_ffmpeg("-i", written, "-f", "rawvideo", "-pix_fmt", "nv12", "-")


def start(pair: tuple[Path, Path], *more: str) -> subprocess.Popen[bytes]:
    command = [*PIPELINE, "run", str(pair[0]), "--ref-stream", str(pair[1]), *QUICK]
    return subprocess.Popen(
        [*command, "-o", "-", "--stream", "y4m", *more],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )


def test_a_reader_that_ends_early_is_reported_in_one_line(large_pair: tuple[Path, Path]) -> None:
    with start(large_pair) as child:
        assert child.stdout is not None
        assert child.stderr is not None
        assert child.stdout.read(9) == b"YUV4MPEG2"
        child.stdout.close()
        message = child.stderr.read().decode()
        assert child.wait() == 1
    assert message.startswith("error: encode: segment 0, LR pts ")
    assert message.endswith(
        "the program reading stdout exited before it had read everything; check that program, or "
        "try -o FILE\n"
    )
    assert message.count("\n") == 1


@pytest.mark.parametrize("more", [["--stream", "y4m"], []])
def test_a_missing_stdout_is_reported_in_one_line(pair: tuple[Path, Path], more: list[str]) -> None:
    command = [*PIPELINE, "run", str(pair[0]), "--ref-stream", str(pair[1]), *QUICK, "-o", "-"]
    script = f"{shlex.join([*command, *more])} >&-"
    done = subprocess.run(["bash", "-c", script], stderr=subprocess.PIPE, text=True, check=False)
    assert done.returncode == 2
    assert done.stderr.startswith("error: -o - needs stdout, but this program was started without")
    assert done.stderr.count("\n") == 1


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs Linux's /dev/full")
def test_a_full_disk_is_reported_in_one_line(pair: tuple[Path, Path]) -> None:
    command = [*PIPELINE, "run", str(pair[0]), "--ref-stream", str(pair[1]), *QUICK]
    with Path("/dev/full").open("wb") as full:
        done = subprocess.run(
            [*command, "-o", "-", "--stream", "y4m"],
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
        )
    assert done.returncode == 1
    assert "cannot write to stdout (No space left on device)" in done.stderr
    assert done.stderr.count("\n") == 1


def test_a_pipe_that_does_not_block_gets_every_frame(large_pair: tuple[Path, Path]) -> None:
    reading, writing = os.pipe()
    os.set_blocking(writing, False)
    command = [*PIPELINE, "run", str(large_pair[0]), "--ref-stream", str(large_pair[1]), *QUICK]
    with os.fdopen(reading, "rb") as pipe:
        with subprocess.Popen(
            [*command, "-o", "-", "--stream", "rawvideo", "--pix-fmt", "gray"], stdout=writing
        ) as child:
            os.close(writing)
            capacity = fcntl.fcntl(pipe, fcntl.F_GETPIPE_SZ)
            while count_waiting(pipe) < capacity and child.poll() is None:
                time.sleep(0.05)
            assert len(pipe.read()) == 20 * 320 * 240
        assert child.returncode == 0


def count_waiting(pipe: BinaryIO) -> int:
    """Return the number of bytes in a pipe."""
    return int.from_bytes(fcntl.ioctl(pipe, termios.FIONREAD, bytes(4)), sys.byteorder)


def test_an_interrupt_ends_a_stream_whose_reader_is_slow(large_pair: tuple[Path, Path]) -> None:
    with start(large_pair) as child:
        assert child.stdout is not None
        assert child.stderr is not None
        assert child.stdout.read(9) == b"YUV4MPEG2"  # nothing more: the pipe is full
        child.send_signal(signal.SIGINT)
        message = child.stderr.read().decode()
        assert child.wait() == 130
        child.stdout.close()
    assert "a stream cannot be resumed" in message
    assert "Fatal" not in message
    assert message.count("\n") == 1


@pytest.fixture(scope="module")
def large_pair(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Return a pair of which no output frame fits into a pipe."""
    return write_pair(tmp_path_factory.mktemp("large"), frames=20, height=240, width=320)


def test_a_failure_in_the_middle_ends_the_stream(pair: tuple[Path, Path], tmp_path: Path) -> None:
    failing_pts = []

    def fail_later(plan: Plan, engine: Engine, batch: Batch) -> Enhanced:
        if batch.task.segment.index == 1:
            failing_pts.append(batch.pts[0])
            raise StageError("found no more memory, expected some; try --batch 1")
        return enhance_batch(plan, engine, batch)

    settings = settings_for(pair, Path("-"), preset=None, batch=5)
    file = tmp_path / "out.y4m"
    with file.open("wb") as stdout, pytest.raises(StageError, match=r"infer: segment 1.*memory"):
        stream_frames(stdout, RunRequest(settings, SILENT, RunParts(enhance=fail_later)), "y4m")
    # the first segment has 10 of 40 frames, and the third, which does not fail, leaves no trace
    data = file.read_bytes()
    assert len(failing_pts) == 1
    assert data.count(b"FRAME\n") == 10
    assert len(data) == len(data.split(b"\n", 1)[0]) + 1 + 10 * (
        len(b"FRAME\n") + 128 * 96 * 3 // 2
    )


def test_nothing_is_left_of_a_stream(
    pair: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    before = sorted(pair[0].parent.iterdir())
    with start(pair) as child:
        made, message = child.communicate()
        assert child.returncode == 0, message
    assert made.count(b"FRAME\n") == 40
    assert message == b""
    assert sorted(pair[0].parent.iterdir()) == before
    assert list(tmp_path.iterdir()) == []


def test_what_a_stream_cannot_hold_is_reported(tmp_path: Path) -> None:
    # frames at uneven times, with sound, subtitles and an attachment
    pts = [0, 1, 2, 10, 11, 12, 13, 30]
    source = make_video(tmp_path / "lr.mkv", pts=pts, extras=True)
    assert {each.type for each in probe(str(source)).other_streams} >= {"audio", "subtitle"}
    command = [*PIPELINE, "run", str(source), "--ref-stream", str(source), "--scale", "2"]
    done = subprocess.run(
        [*command, *QUICK[:-1], "-o", "-", "--stream", "y4m"], capture_output=True, check=True
    )
    notes = done.stderr.decode()
    assert "frames are unevenly spaced in time, but a stream has evenly spaced frames" in notes
    assert "a stream cannot carry 2 audio, 1 subtitle" in notes
    assert "streaming 192x128 yuv420p at " in notes
    assert done.stdout.count(b"FRAME\n") == len(pts)


def test_pictures_become_a_stream(tmp_path: Path) -> None:
    frames = [picture(number) for number in range(3)]
    for number, frame in enumerate(frames):
        save_picture(tmp_path / "lr" / f"{number:04}.png", frame[::2, ::2])
    save_picture(tmp_path / "hr.png", frames[0])
    command = [*PIPELINE, "run", str(tmp_path / "lr"), "--ref-stream", str(tmp_path / "hr.png")]
    more = ["--fps", "12", "-o", "-", "--stream", "y4m"]
    done = subprocess.run([*command, *QUICK, *more], capture_output=True, check=True)
    assert done.stdout.startswith(b"YUV4MPEG2 W96 H64 F12:1 Ip A1:1 C444 XCOLORRANGE=LIMITED\n")
    assert done.stdout.count(b"FRAME\n") == 3


@pytest.mark.parametrize(
    ("more", "line"),
    [
        (["-o", "out.mkv", "--stream", "y4m"], "--stream needs -o -"),
        (["--stream", "y4m"], "--stream needs -o -"),
        (["-o", "-", "--stream", "mkv"], "'mkv' is not one of 'y4m', 'rawvideo'"),
        (["-o", "-", "--stream", "y4m", "--json"], "-o - cannot be combined with --json"),
        (["-o", "-", "--stream", "y4m", "--dry-run"], "cannot be combined with --dry-run"),
        (["-o", "-", "--stream", "y4m", "second.mkv"], "is for one input"),
        (["-o", "-", "--stream", "y4m", "--crf", "0"], "--crf does not apply to --stream"),
        (["-o", "-", "--stream", "y4m", "--codec", "x264"], "--codec does not apply to --stream"),
        (["-o", "-", "--stream", "y4m", "--to", "quilt"], "--to does not apply to --stream"),
        (["-o", "-", "--stream", "y4m", "--runner", "ray"], "--runner ray does not apply to"),
        (["-o", "-", "--stream", "y4m", "--pix-fmt", "nv12"], "express the pixel format nv12"),
        (
            ["-o", "-", "--stream", "y4m", "--pix-fmt", "yuv410p"],
            "express the pixel format yuv410p",
        ),
        (["-o", "-", "--stream", "rawvideo", "--pix-fmt", "no"], "to the pixel format 'no'"),
        (
            ["-o", "-", "--stream", "rawvideo", "--pix-fmt", "monob"],
            "to the pixel format 'monob'",
        ),
        (
            ["-o", "-", "--stream", "rawvideo", "--pix-fmt", "vaapi"],
            "to the pixel format 'vaapi'",
        ),
        (["-o", "-", "--stream", "y4m", "--ground-truth", "a.mkv"], "--ground-truth does not"),
    ],
)
def test_options_that_do_not_suit_a_stream(
    pair: tuple[Path, Path], more: list[str], line: str
) -> None:
    command = [*PIPELINE, "run", str(pair[0]), "--ref-stream", str(pair[1]), *QUICK, *more]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 2, done.stderr
    assert done.stdout == ""
    assert line in done.stderr
    assert "Traceback" not in done.stderr


def test_defaults_of_encoders_and_clusters_do_not_concern_a_stream(
    pair: tuple[Path, Path], tmp_path: Path
) -> None:
    """Otherwise nobody with such a file could stream, as no option takes a default back."""
    own = tmp_path / "own.toml"
    own.write_text('[run]\ncodec = "libx265"\ncrf = 18\nrunner = "ray"\nworkers = 2\n')
    rest = ["--ref-stream", str(pair[1]), "--engine", "bicubic", "-q", "-o", "-"]
    command = [*PIPELINE, "--config", str(own), "run", str(pair[0]), *rest, "--stream", "y4m"]
    environment = os.environ | {"PIPELINE_RUN_PRESET": "ultrafast"}
    done = subprocess.run(command, capture_output=True, check=False, env=environment)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count(b"FRAME\n") == 40


def test_a_light_field_is_no_stream(tmp_path: Path) -> None:
    for row in range(2):
        for col in range(2):
            sharp = flowers(row, col)
            save_picture(tmp_path / "lr" / f"view_{row:02}_{col:02}.png", sharp[::2, ::2])
            save_picture(tmp_path / "hr" / f"view_{row:02}_{col:02}.png", sharp)
    settings = settings_for((tmp_path / "lr", tmp_path / "hr"), Path("-"), preset=None)
    with (tmp_path / "out").open("wb") as stdout, pytest.raises(InputError, match="light field"):
        stream_frames(stdout, RunRequest(settings, SILENT), "y4m")
    assert (tmp_path / "out").read_bytes() == b""
