"""Write the finished output to stdout for another program (`-o -`)."""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO

from pipeline.errors import InputError, Interrupted, StageError
from pipeline.media.pictures.stills import SUFFIXES, is_pattern
from pipeline.runs.result import RunResult
from pipeline.runs.stdout import copy_to_descriptor

STDOUT = "-"


def run_to_stdout(stdout: BinaryIO, lr: str, run: Callable[[str], RunResult]) -> RunResult:
    """Call `run` with the path of a temporary output, and copy the verified output to `stdout`.

    `lr` is the input. A video is written as Matroska, which a program can read as it arrives, and a
    picture as PNG. Raises InputError if stdout is a terminal or the output would be a folder,
    StageError if the output cannot be written to `stdout`, and Interrupted if the run was
    interrupted; nothing is then left to resume.
    """
    source = Path(lr)
    if stdout.isatty():
        raise InputError(
            "stdout is a terminal, but -o - needs a program or a file to receive the output; add "
            "| ffplay -, or > out.mkv"
        )
    if source.is_dir() or (is_pattern(lr) and "://" not in lr):
        raise InputError(
            f"-o - needs a video or a picture, but the output for {lr} is a folder, which cannot "
            "be piped; use -o FOLDER"
        )

    suffix = ".png" if source.suffix.lower() in SUFFIXES else ".mkv"
    with tempfile.TemporaryDirectory(prefix="pipeline-") as folder:
        out = Path(folder) / f"out{suffix}"
        try:
            result = run(str(out))
        except Interrupted as error:
            raise Interrupted(
                "interrupted before the output was written to stdout, and nothing is kept: run the "
                "same command again to start over, or use -o FILE, which can be resumed"
            ) from error
        try:
            stdout.flush()
            with out.open("rb") as made:
                copy_to_descriptor(made, stdout.fileno())
        except BrokenPipeError:
            # keep the interpreter from flushing the broken pipe when it exits
            sys.stdout = None
            raise StageError(
                "publish: the program reading stdout exited before it had read everything; check "
                "that program, or try -o FILE"
            ) from None
        except OSError as error:
            raise StageError(
                f"publish: cannot write to stdout ({error.strerror}); check the program or file "
                "that receives it, or try -o FILE"
            ) from error
    return result.model_copy(update={"output": STDOUT, "reference_map": ""})
