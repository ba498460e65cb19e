"""Unusual files from other projects, and the expected result of each."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np

from jobs.media.bicubic_run import run_bicubic
from pipeline.errors import InputError
from pipeline.media.read.probe import probe
from pipeline.tools.verify import verify_output

# name -> the expected refusal, or "" if the whole file can be enhanced. The files come from the
# collection described in tests/data/SOURCES.md; the repository contains the small ones.
EXPECTED = {
    "cursed-vfr.mp4": "",
    "edts.mp4": "",
    "field_coded.ts": "",
    "h265_10bits.mp4": "",
    "multiple-aac-tracks.mp4": "has only audio; expected a video stream",
    "nasa_13013.mp4": "",
    "no_duration.webm": "",
    "not_coded.avi": "",
    "rotate-buck-bunny.mp4": "",
    "sar_2x1.mp4": "",
}


class OddResult(NamedTuple):
    """The result of enhancing one file."""

    name: str
    outcome: str
    """`same`, `refused` or `FAULT`."""
    detail: str
    notes: tuple[str, ...]


def check_file(path: Path, *, end: float | None = None) -> OddResult:
    """Enhance a file with `--engine bicubic --scale 2`, and compare the output with the input.

    If `end` is set, enhance only the part before that time in seconds, and compare nothing. A file
    that is not listed in EXPECTED is expected to succeed.
    """
    expected = EXPECTED.get(path.name, "")
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        # WebM cannot hold the output's libx264 stream, and AVI is not an output format
        suffix = ".mkv" if path.suffix in (".webm", ".avi") else path.suffix
        output = folder / f"out{suffix}"
        # a preset would select an encoder that drops the transparency of WebM files
        preset = None if path.suffix == ".webm" else "ultrafast"
        reference = _write_reference(path, folder)
        try:
            done = run_bicubic(path, reference, output, preset=preset, end=end)
        except InputError as error:
            message = str(error)
            right = bool(expected) and expected in message and "\n" not in message
            return OddResult(path.name, "refused" if right else "FAULT", message, ())

        if expected:
            return OddResult(path.name, "FAULT", f"expected a refusal: {expected}", done.notes)
        if end is not None:
            return OddResult(path.name, "same", f"{done.frames} frames", done.notes)
        found = verify_output(str(path), str(output)).differences
        if found:
            return OddResult(path.name, "FAULT", "; ".join(found), done.notes)
        return OddResult(path.name, "same", f"{done.frames} frames", done.notes)


def _write_reference(path: Path, folder: Path) -> Path:
    """Write a black picture, twice as wide and high as the file's frames, and return its path.

    The bicubic engine ignores the picture's content. If the file cannot be probed, the picture has
    64x64 pixels.
    """
    try:
        clip = probe(str(path))
        size = (2 * clip.height, 2 * clip.width)
    except InputError:
        size = (64, 64)

    picture = folder / "reference_0s.png"
    cv2.imwrite(str(picture), np.zeros((*size, 3), np.uint8))
    return picture


def check_folder(folder: Path) -> Iterator[OddResult]:
    """Yield the result of every file in `folder` that is listed in EXPECTED.

    Raises SystemExit if the folder contains none of those files.
    """
    paths = [path for path in sorted(folder.iterdir()) if path.name in EXPECTED]
    if not paths:
        raise SystemExit(
            f"{folder} contains none of the files listed in jobs/media/odd.py; "
            "tests/data/SOURCES.md states where to get them"
        )
    yield from map(check_file, paths)
