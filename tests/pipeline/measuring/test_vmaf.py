"""VMAF by a real ffmpeg program, and the error without one."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import pytest
from click.testing import CliRunner

from pipeline.cli.main import main
from pipeline.errors import InputError, StageError
from pipeline.measuring import vmaf
from pipeline.measuring.clips import measure_vmaf
from tests.support.recordings import texture, write_video


@pytest.fixture(autouse=True)
def forgotten() -> Iterator[None]:
    """Look for the program again in each test."""
    vmaf.find_program.cache_clear()
    yield
    vmaf.find_program.cache_clear()


@pytest.fixture(scope="module")
def clips(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with truth.mkv, blurred.mkv and worse.mkv of the same 8 frames."""
    folder = tmp_path_factory.mktemp("vmaf")
    frames = [texture(i, 144, 192) for i in range(8)]
    write_video(folder / "truth.mkv", frames)
    for name, sigma in (("blurred", 1.0), ("worse", 2.5)):
        soft = [np.asarray(cv2.GaussianBlur(f, (0, 0), sigma), np.uint8) for f in frames]
        write_video(folder / f"{name}.mkv", soft)
    return folder


def test_worse_pictures_score_less(clips: Path) -> None:
    same, soft, softer = (measure_vmaf(clips / f"{n}.mkv", clips / "truth.mkv") for n in NAMES)
    assert same > 97
    assert same > soft > softer + 5


NAMES = ("truth", "blurred", "worse")


def test_it_is_what_the_program_measures_by_itself(clips: Path, tmp_path: Path) -> None:
    command = [vmaf.require_program(), "-v", "error", "-i", clips / "blurred.mkv", "-i"]
    command += [clips / "truth.mkv", "-lavfi", "libvmaf=log_fmt=json:log_path=own.json"]
    subprocess.run([*map(str, command), "-f", "null", "-"], cwd=tmp_path, check=True)
    own = json.loads((tmp_path / "own.json").read_text())["pooled_metrics"]["vmaf"]["mean"]
    # ours was converted to RGB and back
    assert measure_vmaf(clips / "blurred.mkv", clips / "truth.mkv") == pytest.approx(own, abs=1.0)


def test_frames_that_were_given_are_left_out_of_the_mean(clips: Path, tmp_path: Path) -> None:
    mixed = [texture(i, 144, 192) for i in range(8)]
    for i in range(4, 8):
        mixed[i] = np.asarray(cv2.GaussianBlur(mixed[i], (0, 0), 2.5), np.uint8)
    write_video(tmp_path / "mixed.mkv", mixed)
    truth = clips / "truth.mkv"
    whole, sharp = (
        measure_vmaf(tmp_path / "mixed.mkv", truth, skip=skip)
        for skip in (frozenset(), frozenset(range(4, 8)))
    )
    assert sharp > whole + 5


def test_evaluate_measures_it_on_request(clips: Path) -> None:
    given = ["evaluate", str(clips / "blurred.mkv"), "--ground-truth", str(clips / "truth.mkv")]
    plain = json.loads(CliRunner().invoke(main, [*given, "--json"]).stdout)
    extended = json.loads(CliRunner().invoke(main, [*given, "--json", "--vmaf"]).stdout)
    assert 0 < extended.pop("vmaf") < 100
    assert extended == plain
    words = CliRunner().invoke(main, [*given, "--vmaf"]).stdout.splitlines()
    assert words[-1].startswith("VMAF  ")


def without_any(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    monkeypatch.setattr("importlib.util.find_spec", lambda _: None)


def test_without_a_program_it_is_one_line(clips: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    without_any(monkeypatch)
    given = ["evaluate", str(clips / "blurred.mkv"), "--ground-truth", str(clips / "truth.mkv")]
    refused = CliRunner().invoke(main, [*given, "--vmaf"])
    assert refused.exit_code == 2
    assert refused.stderr.startswith("error: found no ffmpeg program with the libvmaf filter")
    assert "pip install imageio-ffmpeg" in refused.stderr
    assert len(refused.stderr.splitlines()) == 1
    assert CliRunner().invoke(main, given).exit_code == 0


def test_a_program_without_the_filter_does_not_count(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    without_any(monkeypatch)
    bare = tmp_path / "ffmpeg"
    bare.write_text("#!/bin/sh\necho ' .. scale V->V Scale the input video'\n")
    bare.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert vmaf.find_program() is None
    bare.write_text("#!/bin/sh\necho ' .. libvmaf VV->V Calculate the VMAF'\nexec cat\n")
    vmaf.find_program.cache_clear()
    assert vmaf.find_program() == str(bare)


@pytest.mark.parametrize("height", [32, 720])  # less and more than a pipe holds
def test_a_program_that_fails_is_named(height: int, tmp_path: Path) -> None:
    broken = tmp_path / "ffmpeg"
    broken.write_text("#!/bin/sh\necho 'could not load the model' >&2\nexit 1\n")
    broken.chmod(0o755)
    picture = np.zeros((height, 1280, 3), np.uint8)

    def measure() -> None:
        with vmaf.Vmaf(str(broken), height, 1280) as running:
            running.add(picture, picture)
            running.scores()

    with pytest.raises(StageError, match="could not load the model"):
        measure()


def test_tiny_frames_are_refused() -> None:
    with pytest.raises(InputError, match="needs at least 32x32"):
        vmaf.Vmaf("ffmpeg", 16, 16)
