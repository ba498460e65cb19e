"""Whole runs whose output is numbered pictures: `-o frames/%06d.png`."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from itertools import pairwise
from pathlib import Path

import cv2
import numpy as np
import pytest
from click.testing import CliRunner, Result

from pipeline.cli.main import main
from pipeline.ledger.durable import content_digest
from pipeline.ledger.run_folder import run_folder_of
from pipeline.media.pictures.numbered import SIDECAR
from pipeline.media.read.frames import read_frames
from pipeline.media.read.probe import probe, scan
from pipeline.schema.plan import Plan
from tests.support import DATA, ROOT
from tests.support.recordings import texture, write_video

PAIR_FRAMES = 30
# The command, slow while it copies pictures into the output.
SLOW_JOIN = """
from pipeline.cli.main import main
from pipeline.media.join import sequence
from tests.support.slow_command import delay
sequence.turn_upright = delay(sequence.turn_upright, 0.2)
main()
"""
OPTIONS = ["--engine", "bicubic", "--runner", "inline", "--segment", "0.4", "--batch", "4"]


def arguments(pair: tuple[Path, Path], output: Path | str) -> list[str]:
    return [str(pair[0]), "--ref-stream", str(pair[1]), "-o", str(output), *OPTIONS]


def pipeline(*arguments: str) -> Result:
    return CliRunner().invoke(main, list(arguments))


def run(pair: tuple[Path, Path], output: Path | str, *more: str) -> Result:
    return pipeline("run", *arguments(pair, output), "-q", *more)


@pytest.fixture(scope="module")
def undisturbed(pair: tuple[Path, Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("whole") / "frames"
    done = run(pair, folder / "%06d.png", "--json")
    assert done.exit_code == 0, done.output
    answer = json.loads(done.stdout)
    assert answer["output"] == str(folder)
    assert answer["frames"] == PAIR_FRAMES
    assert answer["segments"] > 1
    return folder


def test_the_pictures_are_the_frames_of_a_lossless_run(
    pair: tuple[Path, Path], undisturbed: Path, tmp_path: Path
) -> None:
    done = run(pair, tmp_path / "out.mkv", "--codec", "ffv1", "--pix-fmt", "bgr0")
    assert done.exit_code == 0, done.output
    number = 0
    for number, frame in enumerate(read_frames(probe(str(tmp_path / "out.mkv"))), 1):
        bgr = cv2.imread(str(undisturbed / f"{number:06d}.png"))
        assert bgr is not None
        np.testing.assert_array_equal(bgr[..., ::-1], frame.rgb)
    assert number == PAIR_FRAMES
    assert sorted(p.name for p in undisturbed.parent.iterdir()) == ["frames", "frames.plan.json"]
    plan = Plan.model_validate_json((undisturbed.parent / "frames.plan.json").read_text())
    assert plan.pictures == "%06d.png"


def test_ffmpeg_reads_them_as_it_reads_its_own(undisturbed: Path) -> None:
    shown = cv2.VideoCapture(str(undisturbed / "%06d.png"), cv2.CAP_IMAGES)
    count = 0
    while shown.read()[0]:
        count += 1
    assert count == PAIR_FRAMES


def test_a_part_is_numbered_from_one(
    pair: tuple[Path, Path], undisturbed: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "part"
    done = run(pair, folder / "%06d.png", "--start", "0.4", "--end", "0.8")
    assert done.exit_code == 0, done.output
    sidecar = json.loads((folder / SIDECAR).read_text())
    pts = list(scan(probe(str(pair[0]))).pts)
    assert sidecar["pts"] == pts[10:20]
    assert sidecar["end_pts"] == pts[20]
    for number in range(1, 11):
        same = (undisturbed / f"{number + 10:06d}.png").read_bytes()
        assert (folder / f"{number:06d}.png").read_bytes() == same
    assert len(list(folder.iterdir())) == 11


def test_verify_evaluate_and_report_accept_them(
    pair: tuple[Path, Path], undisturbed: Path, tmp_path: Path
) -> None:
    done = pipeline("verify", str(pair[0]), str(undisturbed))
    assert done.exit_code == 0, done.output
    done = pipeline("evaluate", str(undisturbed), "--ground-truth", str(pair[1]), "--json")
    assert done.exit_code == 0, done.output
    answer = json.loads(done.stdout)
    assert answer["frames"] == PAIR_FRAMES
    assert answer["psnr"] > 20
    page = tmp_path / "page.html"
    done = pipeline("report", str(undisturbed), "-o", str(page), "--ground-truth", str(pair[1]))
    assert done.exit_code == 0, done.output
    assert page.stat().st_size > 10_000


def test_verify_reports_missing_pictures(
    pair: tuple[Path, Path], undisturbed: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "frames"
    folder.mkdir()
    for file in undisturbed.iterdir():
        (folder / file.name).write_bytes(file.read_bytes())
    (folder / "000007.png").unlink()
    done = pipeline("verify", str(pair[0]), str(folder))
    assert done.exit_code == 1
    assert done.stdout == f"it has {PAIR_FRAMES - 1} pictures, expected {PAIR_FRAMES}\n"


def test_times_of_a_variable_rate_serve_evaluation(tmp_path: Path) -> None:
    odd = DATA / "odd/no_duration.webm"
    clip = probe(str(odd))
    pts = scan(clip).pts
    assert len({b - a for a, b in pairwise(pts)}) > 1
    done = pipeline(
        "run", str(odd), "--ref-stream", str(odd), "-o", str(tmp_path / "f/%d.png"),
        "--scale", "2", "--end", "1", *OPTIONS, "-q",
    )  # fmt: skip
    assert done.exit_code == 0, done.output
    made = probe(str(tmp_path / "f"))
    assert made.times == tuple(float(p * clip.time_base) for p in pts[: len(made.files)])


@pytest.mark.parametrize("moment", ["segments", "assembled", "verifying"])
def test_a_killed_run_is_resumed_bit_for_bit(
    pair: tuple[Path, Path], undisturbed: Path, tmp_path: Path, moment: str
) -> None:
    output = tmp_path / "frames"
    slow_command = ["-m", "tests.support.slow_command"]
    program = {
        "segments": [*slow_command, "0.2", "0"],
        "assembled": ["-c", SLOW_JOIN],
        "verifying": [*slow_command, "0", "60"],
    }[moment]
    command = [sys.executable, *program, "run", *arguments(pair, output / "%06d.png"), "-q"]
    process = subprocess.Popen(command, cwd=ROOT, stderr=subprocess.PIPE)
    folder = run_folder_of(output)
    reached = {
        "segments": lambda: len(list(folder.glob("segments/[0-9]*.json"))) >= 1,
        "assembled": lambda: len(list(folder.glob("assembled/*.png"))) >= 3,
        "verifying": lambda: (folder / "assembled" / SIDECAR).exists(),
    }[moment]
    deadline = time.monotonic() + 60
    while not reached():
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.02)
    os.kill(process.pid, signal.SIGKILL)
    process.communicate()
    assert not output.exists()
    done = run(pair, output / "%06d.png", "--json")
    assert done.exit_code == 0, done.output
    answer = json.loads(done.stdout)
    assert answer["resumed_segments"] > 0
    assert (answer["resumed_segments"] == answer["segments"]) == (moment != "segments")
    assert content_digest(output) == content_digest(undisturbed)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["frames", "frames.plan.json"]


def test_a_run_killed_after_publishing_is_complete(
    pair: tuple[Path, Path], undisturbed: Path, tmp_path: Path
) -> None:
    code = """
import os, signal
from pipeline.ledger.ledger import Ledger
Ledger.remove_run_folder = lambda ledger: os.kill(os.getpid(), signal.SIGKILL)
from pipeline.cli.main import main
main()
"""
    output = tmp_path / "frames"
    command = [sys.executable, "-c", code, "run", *arguments(pair, output / "%06d.png"), "-q"]
    died = subprocess.run(command, capture_output=True, check=False)
    assert died.returncode == -signal.SIGKILL
    done = run(pair, output / "%06d.png", "--json")
    assert done.exit_code == 0, done.output
    assert json.loads(done.stdout)["fps"] == 0
    assert content_digest(output) == content_digest(undisturbed)
    assert not run_folder_of(output).exists()


@pytest.mark.ray
def test_ray_gives_the_same_bits(
    pair: tuple[Path, Path], undisturbed: Path, tmp_path: Path
) -> None:
    done = run(pair, tmp_path / "frames/%06d.png", "--runner", "ray", "--workers", "1")
    assert done.exit_code == 0, done.output
    assert content_digest(tmp_path / "frames") == content_digest(undisturbed)


def test_the_sandbox_gives_the_same_bits(
    pair: tuple[Path, Path], undisturbed: Path, tmp_path: Path
) -> None:
    done = run(pair, tmp_path / "frames/%06d.png", "--sandbox", "on")
    assert done.exit_code == 0, done.output
    assert content_digest(tmp_path / "frames") == content_digest(undisturbed)


def test_a_saved_plan_makes_them_too(
    pair: tuple[Path, Path], undisturbed: Path, tmp_path: Path
) -> None:
    saved = str(tmp_path / "plan.json")
    done = pipeline(
        "plan", *arguments(pair, tmp_path / "frames/%06d.png"), "--save", saved, "--json"
    )
    assert done.exit_code == 0, done.output
    assert json.loads(done.stdout)["expected_bytes"] is None
    done = run(pair, tmp_path / "out.mp4", "--plan", saved)
    assert done.exit_code == 2
    assert "would write a video, but the plan is for pictures" in done.stderr
    command = ("run", str(pair[0]), "--ref-stream", str(pair[1]), "--plan", saved, "-q")
    done = pipeline(*command, "--runner", "inline")
    assert done.exit_code == 0, done.output
    assert content_digest(tmp_path / "frames") == content_digest(undisturbed)
    done = pipeline(*command, "--runner", "inline", "-o", str(tmp_path / "other/a%04d.png"))
    assert done.exit_code == 0, done.output
    assert (tmp_path / "other/a0001.png").read_bytes() == (undisturbed / "000001.png").read_bytes()


def test_stills_can_be_numbered(tmp_path: Path) -> None:
    small, large = tmp_path / "small", tmp_path / "large"
    for folder, side in ((small, 48), (large, 96)):
        folder.mkdir()
        for number in range(3):
            rgb = texture(number, side, side).astype(np.uint16) * 257
            cv2.imwrite(str(folder / f"view{number}.png"), rgb)
    done = run((small, large), tmp_path / "out/%02d.tiff")
    assert done.exit_code == 0, done.output
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == [
        "01.tiff", "02.tiff", "03.tiff",
    ]  # fmt: skip
    picture = cv2.imread(str(tmp_path / "out/03.tiff"), cv2.IMREAD_UNCHANGED)
    assert picture is not None
    assert (picture.dtype, picture.shape) == (np.uint16, (96, 96, 3))


def test_an_empty_folder_counts_as_none(
    pair: tuple[Path, Path], undisturbed: Path, tmp_path: Path
) -> None:
    (tmp_path / "frames").mkdir()
    done = run(pair, tmp_path / "frames/%06d.png")
    assert done.exit_code == 0, done.output
    assert content_digest(tmp_path / "frames") == content_digest(undisturbed)


def test_force_replaces_pictures_and_nothing_else(pair: tuple[Path, Path], tmp_path: Path) -> None:
    folder = tmp_path / "frames"
    folder.mkdir()
    for number in range(1, 99):
        (folder / f"{number:06d}.png").write_bytes(b"old")
    done = run(pair, folder / "%06d.png")
    assert done.exit_code == 2
    assert "already exists" in done.stderr
    done = run(pair, folder / "%06d.png", "--force")
    assert done.exit_code == 0, done.output
    assert len(list(folder.iterdir())) == PAIR_FRAMES + 1
    (folder / "notes.txt").write_text("mine")
    before = content_digest(folder)
    done = run(pair, folder / "%06d.png", "--force")
    assert done.exit_code == 2
    assert "contains notes.txt" in done.stderr
    assert content_digest(folder) == before


def test_references_are_never_replaced(tmp_path: Path) -> None:
    lr = write_video(tmp_path / "lr.mkv", [texture(i, 48, 64) for i in range(3)])
    keys = tmp_path / "keys"
    keys.mkdir()
    for number in range(1, 4):
        cv2.imwrite(str(keys / f"{number}.png"), texture(number, 96, 128))
    before = content_digest(keys)
    for reference in (keys, keys / "*.png", keys / "2.png"):
        done = run((lr, reference), keys / "%d.png", "--force")
        assert done.exit_code == 2, done.output
        assert len(done.stderr.splitlines()) == 1
        assert content_digest(keys) == before


@pytest.mark.parametrize(
    ("output", "more", "line"),
    [
        ("out.png", (), "a video cannot be written to a single .png file"),
        ("f/%06d.jpg", (), "which are lossless; try"),
        ("f/%d-%d.png", (), "exactly one number such as %06d"),
        ("no/such/%d.png", (), "does not exist; create it first"),
        ("f/%d.png", ("--crf", "20"), "--crf does not apply to pictures"),
        ("f/%d.png", ("--codec", "x265"), "--codec does not apply to pictures"),
        ("f/%d.exr", ("--report", "page.html"), "a report cannot show EXR pictures"),
        ("f/%d.exr", ("--ground-truth", "HR"), "cannot be used with EXR pictures; leave"),
    ],
)
def test_impossible_outputs_are_refused_in_one_line(
    pair: tuple[Path, Path], tmp_path: Path, output: str, more: tuple[str, ...], line: str
) -> None:
    more = tuple(
        {"page.html": str(tmp_path / "page.html"), "HR": str(pair[1])}.get(m, m) for m in more
    )
    done = run(pair, tmp_path / output, *more)
    assert done.exit_code == 2, done.output
    assert line in done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert list(tmp_path.iterdir()) == []
