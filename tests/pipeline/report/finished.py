"""A finished run and its report, made once for all tests of this folder."""

from __future__ import annotations

import sys
from functools import cache
from pathlib import Path
from tempfile import mkdtemp

from click.testing import CliRunner

from pipeline.cli import main

# the recordings of the tests of execution lie one folder up
sys.path.insert(0, str(Path(__file__).parent.parent))
from recordings import write_pair


def pipeline(*arguments: object) -> str:
    """Run a command that must end well; returns its stdout."""
    result = CliRunner().invoke(main, [str(argument) for argument in arguments])
    assert result.exit_code == 0, (result.output, result.exception)
    return result.stdout


@cache
def run_folder() -> Path:
    """Return a folder with lr.mkv, hr.mkv, out.mkv, its plan, record and report.html."""
    folder = Path(mkdtemp(prefix="report-test-"))
    lr, hr = write_pair(folder, frames=24, height=96, width=128)
    chosen = ["--engine", "torch", "--runner", "inline", "--preset", "ultrafast", "-q"]
    chosen += ["--ref-stream", hr, "--ground-truth", hr, "--end", "0.6"]
    pipeline("run", lr, "-o", folder / "out.mkv", *chosen, "--report", folder / "report.html")
    return folder
