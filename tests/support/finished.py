"""Finished runs with their reports, made once for all tests."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from tempfile import mkdtemp

from crossnetpp.data.degradation import degrade
from tests.support import scenes
from tests.support.commands import invoke
from tests.support.recordings import write_pair


def run_pipeline(*arguments: object) -> str:
    """Run a command that must succeed, and return its stdout."""
    result = invoke(*arguments)
    assert result.exit_code == 0, (result.output, result.exception)
    return result.stdout


@cache
def finished_run() -> Path:
    """Return a folder with lr.mkv, hr.mkv, out.mkv, and the plan, record and report of the run."""
    folder = Path(mkdtemp(prefix="report-test-"))
    lr, hr = write_pair(folder, frames=24, height=96, width=128)
    options = ["--engine", "torch", "--runner", "inline", "--preset", "ultrafast", "-q"]
    options += ["--ref-stream", hr, "--ground-truth", hr, "--end", "0.6"]
    run_pipeline("run", lr, "-o", folder / "out.mkv", *options, "--report", folder / "report.html")
    return folder


@cache
def finished_light_field() -> Path:
    """Return a folder with the light field `out` (3 x 4 views, one missing) and report.html."""
    folder = Path(mkdtemp(prefix="report-test-"))
    for row in range(3):
        for col in range(4):
            hr = scenes.flowers(row, col)
            name = f"view_{row:02}_{col:02}.png"
            scenes.save_picture(folder / "hr" / name, hr)
            if (row, col) != (2, 3):
                scenes.save_picture(folder / "lr" / name, degrade(hr, 2))

    options = ["--ref-stream", folder / "hr/view_00_00.png", "--ref-view", "0,0", "--scale", "2"]
    options += ["--engine", "bicubic", "--runner", "inline", "-q", "--ground-truth", folder / "hr"]
    page = folder / "report.html"
    run_pipeline("run", folder / "lr", "-o", folder / "out", *options, "--report", page)
    return folder
