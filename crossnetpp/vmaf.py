"""Measure VMAF (Netflix, model vmaf_v0.6.1) with an `ffmpeg` program that includes libvmaf.

PyAV's libraries lack this filter, so the program is run as a child process. It reads pairs of
pictures, one above the other, from a pipe, so the caller decides which frames are compared.
"""

from __future__ import annotations

import importlib.util
import json
import shutil
import subprocess
from contextlib import suppress
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from numpy.typing import NDArray

LEAST_SIDE = 32  # pixels; libvmaf downscales the frames, and its filters then need 17 lines
TIMEOUT_SECONDS = 60  # for listing the filters, and for the program to exit after a failure


class VmafError(Exception):
    """Raised if VMAF cannot be measured, with the reason in one line."""


@cache
def find_program() -> str | None:
    """Return the path of `ffmpeg` with libvmaf, on PATH or in imageio-ffmpeg; None if not found."""
    found = shutil.which("ffmpeg")
    if found is not None and _has_vmaf(found):
        return found

    if importlib.util.find_spec("imageio_ffmpeg") is None:
        return None
    import imageio_ffmpeg

    try:
        bundled = str(imageio_ffmpeg.get_ffmpeg_exe())
    except RuntimeError:  # the wheel has no program for this platform
        return None
    return bundled if _has_vmaf(bundled) else None


def _has_vmaf(found: str) -> bool:
    command = [found, "-hide_banner", "-filters"]
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, check=False, timeout=TIMEOUT_SECONDS
        )
    except (OSError, subprocess.TimeoutExpired):
        return False
    return " libvmaf " in done.stdout


class Vmaf:
    """A VMAF measurement: `add` all pairs in presentation order, then call `scores`."""

    def __init__(self, ffmpeg: str, height: int, width: int, matrix: str = "bt709") -> None:
        """Start the program `ffmpeg` for frames of `height` x `width` pixels.

        `height` and `width` are at least LEAST_SIDE. `matrix` is the recordings' colour matrix, or
        `rgb` if they have none.
        """
        self._shape = (height, width, 3)
        self._scratch = TemporaryDirectory(prefix="vmaf-", ignore_cleanup_errors=True)
        self._folder = Path(self._scratch.name)
        self._complaints = (self._folder / "stderr").open("w+", encoding="utf-8", errors="replace")

        # VMAF compares luma, which is computed with the recordings' own matrix
        luma_matrix = "bt709" if matrix == "rgb" else matrix
        luma = f"scale=out_color_matrix={luma_matrix}:out_range=tv,format=yuv420p"
        crops = [f"crop={width}:{height}:0:{top},{luma}" for top in (0, height)]
        graph = (
            f"[0:v]split[a][b];[a]{crops[0]}[made];[b]{crops[1]}[truth];"
            "[made][truth]libvmaf=log_fmt=json:log_path=scores.json"
        )

        command = [ffmpeg, "-v", "error", "-f", "rawvideo", "-pix_fmt", "rgb24"]
        command += ["-s", f"{width}x{2 * height}", "-r", "25", "-i", "pipe:0"]
        command += ["-lavfi", graph, "-f", "null", "-"]
        self._process = subprocess.Popen(
            command,
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
            with suppress(BrokenPipeError):  # raised if data are still buffered
                self._process.stdin.close()
        self._complaints.close()
        self._scratch.cleanup()

    def add(self, made: NDArray[np.uint8], truth: NDArray[np.uint8]) -> None:
        """Add a pair: `made` and the `truth` to compare it with, both uint8 H x W x 3 RGB.

        Raises VmafError if the program fails.
        """
        assert self._process.stdin is not None
        try:
            for picture in (made, truth):
                assert picture.shape == self._shape
                self._process.stdin.write(picture.tobytes())
        except BrokenPipeError:
            raise self._failure() from None

    def scores(self) -> list[float]:
        """Return the VMAF (0 to 100) of each pair. Raises VmafError if the program fails."""
        try:
            self._process.communicate()
        except BrokenPipeError:
            raise self._failure() from None
        if self._process.returncode != 0:
            raise self._failure()

        log = json.loads((self._folder / "scores.json").read_text(encoding="utf-8"))
        return [float(frame["metrics"]["vmaf"]) for frame in log["frames"]]

    def _failure(self) -> VmafError:
        self._process.wait(TIMEOUT_SECONDS)
        self._complaints.seek(0)
        lines = self._complaints.read().strip().splitlines() or ["no message"]
        return VmafError(f"ffmpeg cannot measure VMAF: {lines[-1]}")
