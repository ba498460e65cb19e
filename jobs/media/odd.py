"""Odd files of others: what is expected of each, and whether it is so."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np

from pipeline.cli.verify import verify
from pipeline.errors import InputError
from pipeline.media.read.probe import probe
from pipeline.runs.run import run
from pipeline.schema.settings import RunSettings

EXPECTED = {
    "cursed-vfr.mp4": "",
    "edts.mp4": "",
    "h265_10bits.mp4": "",
    "multiple-aac-tracks.mp4": "has only audio; expected a video stream",
    "nasa_13013.mp4": "",
    "no_duration.webm": "",
    "rotate-buck-bunny.mp4": "",
    "sar_2x1.mp4": "",
}
"""Name -> the refusal that is expected, "" for a file that comes through whole.

The files are those of the collection in tests/data/SOURCES.md, where the small ones are.
"""


class OddResult(NamedTuple):
    """What became of one file."""

    name: str
    outcome: str
    """same, refused or FAULT."""
    detail: str
    notes: tuple[str, ...]


def check(path: Path, *, end: float | None = None) -> OddResult:
    """Enhance one file by `--engine bicubic --scale 2` and hold the output against it.

    With `end` (seconds) only its beginning is enhanced, and not held against the whole.
    """
    expected = EXPECTED.get(path.name, "")
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        # libx264 does not go into every container
        suffix = ".mkv" if path.suffix == ".webm" else path.suffix
        output = folder / f"out{suffix}"
        settings = RunSettings(
            input=str(path),
            ref_stream=str(_reference(path, folder)),
            output=str(output),
            scale="2",
            engine="bicubic",
            runner="inline",
            # a preset asks for an encoder that would drop the transparency of this one
            preset=None if path.suffix == ".webm" else "ultrafast",
            end=end,
        )
        try:
            done = run(settings)
        except InputError as error:
            said = str(error)
            right = bool(expected) and expected in said and "\n" not in said
            return OddResult(path.name, "refused" if right else "FAULT", said, ())
        if expected:
            return OddResult(path.name, "FAULT", f"expected a refusal: {expected}", done.notes)
        if end is not None:
            return OddResult(path.name, "same", f"{done.frames} frames", done.notes)
        found = verify(str(path), str(output)).differences
        outcome = "FAULT" if found else "same"
        return OddResult(
            path.name, outcome, "; ".join(found) or f"{done.frames} frames", done.notes
        )


def _reference(path: Path, folder: Path) -> Path:
    """Write a picture of twice the file's size, which bicubic never looks at."""
    try:
        clip = probe(str(path))
        height, width = 2 * clip.height, 2 * clip.width
    except InputError:
        height, width = 64, 64
    picture = folder / "reference_0s.png"
    cv2.imwrite(str(picture), np.zeros((height, width, 3), np.uint8))
    return picture


def check_all(folder: Path) -> Iterator[OddResult]:
    """Yield the result of every file of `folder` that something is expected of.

    Raises SystemExit for a folder without any.
    """
    paths = [path for path in sorted(folder.iterdir()) if path.name in EXPECTED]
    if not paths:
        raise SystemExit(f"found none of the odd files in {folder}; see jobs/media/odd.py")
    yield from map(check, paths)
