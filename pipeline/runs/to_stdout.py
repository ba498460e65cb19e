"""`-o -`: a finished output on stdout, for another program to read."""

from __future__ import annotations

import shutil
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO

from pipeline.errors import InputError, StageError
from pipeline.media.pictures.stills import SUFFIXES
from pipeline.runs.result import RunResult
from pipeline.schema.settings import RunSettings

STDOUT = "-"


def run_to(
    stdout: BinaryIO, settings: RunSettings, run: Callable[[RunSettings], RunResult]
) -> RunResult:
    """Run `settings` and copy the output, verified as any other, to `stdout`.

    A video comes as Matroska, which can be read while it arrives, a picture as PNG. Raises
    InputError for a terminal and for inputs that become a folder, StageError when nobody reads.
    """
    given = Path(settings.input)
    if stdout.isatty():
        raise InputError(
            "found a terminal for -o -, expected a program or a file to read the video; add "
            "| ffplay -, or > out.mkv"
        )
    if given.is_dir() or (not given.exists() and "://" not in settings.input):
        raise InputError(
            f"found {settings.input} for -o -, expected a video or a picture: what becomes a "
            "folder cannot be piped; give -o FOLDER"
        )
    suffix = ".png" if given.suffix.lower() in SUFFIXES else ".mkv"
    with tempfile.TemporaryDirectory(prefix="pipeline-") as folder:
        out = Path(folder) / f"out{suffix}"
        result = run(settings.model_copy(update={"output": str(out)}))
        try:
            with out.open("rb") as made:
                shutil.copyfileobj(made, stdout)
            stdout.flush()
        except BrokenPipeError:
            # nothing more can be said there, not even when the interpreter ends
            sys.stdout = None
            raise StageError(
                "publish: the program that read stdout has ended, expected it to read all"
            ) from None
    return result.model_copy(update={"output": STDOUT, "reference_map": ""})
