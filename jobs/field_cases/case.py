"""Cases, each of which creates files, runs commands on them and checks the results."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
DATA = ROOT / "tests" / "data"
SECONDS = 600.0


class UnexpectedError(AssertionError):
    """Raised if a case has a wrong result; the message describes the result."""


@dataclass(frozen=True)
class Case:
    """A situation, its expected result, and a check of that result."""

    number: str
    """A permanent number, such as A5 or B4; numbers that start with B are about recordings."""
    situation: str
    right: str
    """The expected result, in words."""
    check: Callable[[Bench], str]
    """Runs the case and describes its result. Raises UnexpectedError if the result is wrong."""


@dataclass(frozen=True)
class Outcome:
    """The result of one command."""

    status: int
    stdout: str
    stderr: str

    @property
    def text(self) -> str:
        """Everything on stdout, followed by everything on stderr."""
        return self.stdout + self.stderr

    @property
    def last_line(self) -> str:
        """The last line on stderr, or on stdout if stderr is empty."""
        lines = (self.stderr.strip() or self.stdout.strip()).splitlines()
        return lines[-1] if lines else ""


class Bench:
    """A folder, empty at first, in which a case creates its files and runs its commands."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def ffmpeg(self, *arguments: str) -> None:
        """Run the `ffmpeg` program in the folder.

        Raises SystemExit if the program is missing, and CalledProcessError if it fails.
        """
        program = shutil.which("ffmpeg")
        if program is None:
            raise SystemExit("the ffmpeg program is not on the PATH; try `make tools`")
        command = [program, "-y", "-v", "error", *arguments]
        subprocess.run(command, cwd=self.folder, check=True, stdin=subprocess.DEVNULL)

    def make_reference(self, size: str = "640x360", name: str = "ref.png") -> None:
        """Write a still of the recordings' test pattern, with `size` (WxH) pixels."""
        self.ffmpeg("-f", "lavfi", "-i", f"testsrc2=s={size}", "-frames:v", "1", name)

    def pipeline(self, *arguments: str) -> Outcome:
        """Run `pipeline` in the folder, and return the outcome.

        Raises UnexpectedError if the program prints a traceback, which it should never do.
        """
        environment = {**os.environ, "PYTHONPATH": str(ROOT), "NO_COLOR": "1", "COLUMNS": "400"}
        # the pipeline's child processes would inherit this variable, but must be safe without it
        environment.pop("PYTHONSAFEPATH", None)
        done = subprocess.run(
            [sys.executable, "-P", "-m", "pipeline", *arguments],
            cwd=self.folder,
            env=environment,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=SECONDS,
            check=False,
            stdin=subprocess.DEVNULL,
        )
        outcome = Outcome(done.returncode, done.stdout, done.stderr)
        expect("Traceback" not in outcome.text, f"a traceback: {outcome.last_line}")
        return outcome

    def enhance(self, source: str, output: str, *more: str, ref: str = "ref.png") -> Outcome:
        """Enhance a recording at scale 2 with the bicubic engine, and return the outcome."""
        options = ("--ref-stream", ref, "--scale", "2", "--engine", "bicubic", "-q")
        return self.pipeline("run", source, *options, "-o", output, *more)


def expect(right: bool, found: str) -> None:
    """Raise UnexpectedError with the message `found` unless `right` is True."""
    if not right:
        raise UnexpectedError(found)


def expect_done(outcome: Outcome) -> None:
    """Raise UnexpectedError unless the command succeeded."""
    expect(outcome.status == 0, f"status {outcome.status}: {outcome.last_line}")


def expect_refusal(outcome: Outcome, *words: str) -> None:
    """Raise UnexpectedError unless the status is 2 and the last line contains all `words`."""
    expect(outcome.status == 2, f"status {outcome.status}: {outcome.last_line}")
    missing = [word for word in words if word not in outcome.last_line]
    expect(not missing, f"a refusal without {missing}: {outcome.last_line}")
