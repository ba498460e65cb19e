"""VMAF (Netflix, model vmaf_v0.6.1), measured by an `ffmpeg` program that was built with libvmaf.

PyAV's libraries lack the filter, so this is the one place where a program is called. It gets pairs
of pictures through a pipe, one above the other: which frame belongs to which stays our decision.
"""

from __future__ import annotations

import importlib.util
import json
import shutil
import subprocess
import tempfile
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from pipeline.errors import InputError, StageError
from pipeline.pixels import to_8_bit

LEAST_SIDE = 32
"""Pixels: below it libvmaf's filters, the largest of 17 lines on a fourth of the size, refuse."""
PATIENCE = 60
"""Seconds a program gets to list its filters."""


@cache
def find_program() -> str | None:
    """Return an `ffmpeg` that measures VMAF: from the PATH, else that of imageio-ffmpeg."""
    found = shutil.which("ffmpeg")
    if found is not None and _has_vmaf(found):
        return found
    if importlib.util.find_spec("imageio_ffmpeg") is None:
        return None
    import imageio_ffmpeg

    try:
        bundled = str(imageio_ffmpeg.get_ffmpeg_exe())
    except RuntimeError:  # its wheel has no program for this platform
        return None
    return bundled if _has_vmaf(bundled) else None


def _has_vmaf(found: str) -> bool:
    asked = [found, "-hide_banner", "-filters"]
    try:
        done = subprocess.run(asked, capture_output=True, text=True, check=False, timeout=PATIENCE)
    except (OSError, subprocess.TimeoutExpired):
        return False
    return " libvmaf " in done.stdout


def require_program() -> str:
    """Return the program; raises InputError where there is none."""
    found = find_program()
    if found is None:
        raise InputError(
            "found no ffmpeg program with the filter libvmaf, expected one for VMAF; "
            "try `pip install imageio-ffmpeg`, which brings one"
        )
    return found


class Vmaf:
    """A running measurement: `add` every pair in the order of time, then `scores`."""

    def __init__(self, ffmpeg: str, height: int, width: int, matrix: str = "bt709") -> None:
        """Start it for frames of this size; `matrix` is the recordings' `Colour.used_matrix`."""
        if min(height, width) < LEAST_SIDE:
            raise InputError(
                f"found frames of {width}x{height}, expected at least {LEAST_SIDE} pixels each "
                "way for VMAF; leave it out"
            )
        self._shape = (height, width, 3)
        self._folder = Path(tempfile.mkdtemp(prefix="vmaf-"))
        self._complaints = (self._folder / "stderr").open("w+")
        # the luma that the recordings themselves have
        wanted = "bt709" if matrix == "rgb" else matrix
        luma = f"scale=out_color_matrix={wanted}:out_range=tv,format=yuv420p"
        crops = [f"crop={width}:{height}:0:{top},{luma}" for top in (0, height)]
        graph = (
            f"[0:v]split[a][b];[a]{crops[0]}[made];[b]{crops[1]}[truth];"
            "[made][truth]libvmaf=log_fmt=json:log_path=scores.json"
        )
        asked = [ffmpeg, "-v", "error", "-f", "rawvideo", "-pix_fmt", "rgb24"]
        asked += ["-s", f"{width}x{2 * height}", "-r", "25", "-i", "pipe:0"]
        asked += ["-lavfi", graph, "-f", "null", "-"]
        self._process = subprocess.Popen(
            asked,
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=self._complaints,
            cwd=self._folder,
        )

    def __enter__(self) -> Vmaf:
        return self

    def __exit__(self, *_: object) -> None:
        if self._process.poll() is None:
            self._process.kill()
            self._process.wait()
        if self._process.stdin is not None:
            with suppress(BrokenPipeError):  # what is still buffered goes nowhere any more
                self._process.stdin.close()
        self._complaints.close()
        shutil.rmtree(self._folder, ignore_errors=True)

    def add(self, made: NDArray[Any], truth: NDArray[Any]) -> None:
        """Measure `made` against `truth`, H x W x 3 RGB of 8 or 16 bits each."""
        assert self._process.stdin is not None
        try:
            for picture in (made, truth):
                assert picture.shape == self._shape
                self._process.stdin.write(to_8_bit(picture).tobytes())
        except BrokenPipeError:
            raise self._failure() from None

    def scores(self) -> list[float]:
        """Return VMAF (0 to 100) of every pair; raises StageError."""
        try:
            self._process.communicate()
        except BrokenPipeError:
            raise self._failure() from None
        if self._process.returncode != 0:
            raise self._failure()
        log = json.loads((self._folder / "scores.json").read_text(encoding="utf-8"))
        return [float(frame["metrics"]["vmaf"]) for frame in log["frames"]]

    def _failure(self) -> StageError:
        self._process.wait(PATIENCE)
        self._complaints.seek(0)
        said = (self._complaints.read().strip().splitlines() or ["nothing"])[-1]
        return StageError(f"ffmpeg could not measure VMAF and said: {said}")
