"""The commands that the page runs for a job."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from pipeline.paths import is_url
from pipeline.runs.preview import FOLDER_VARIABLE
from pipeline.ui.form import make_arguments
from pipeline.ui.job import Job, JobFolder

PROGRAM = ("-m", "pipeline")  # the Python arguments that start the program


def make_plan_command(job: Job) -> list[str]:
    """Return the Python arguments that print a job's plan as JSON."""
    options = make_arguments(job.options, planned_only=True)
    return [*PROGRAM, "plan", "--json", "-q", *_name_reference(job), *options, "--", job.input]


def make_picture_command(folder: JobFolder) -> list[str]:
    """Return the Python arguments that write the description and pictures of a stored plan."""
    return ["-m", "pipeline.ui.picture_plan", str(folder.plan), str(folder.shown_plan)]


def make_key_frames_command(job: Job, folder: JobFolder, count: int | None) -> list[str]:
    """Return the Python arguments that write key frames: `count` of them, or any number if None."""
    number = [] if count is None else [f"--count={count}"]
    where = [f"--output={folder.key_frames}", "--force", "--json", "-q"]
    return [*PROGRAM, "keyframes", *where, *number, "--", job.input]


def make_run_command(job: Job, folder: JobFolder, program: Sequence[str] = PROGRAM) -> list[str]:
    """Return the Python arguments that run or resume a job."""
    options = make_arguments(job.options)
    shown = ["--json", "--json-progress", "--preview"]
    if _can_have_report(job):
        shown.append(f"--report={folder.report}")
    return [*program, "run", *shown, *_name_reference(job), *options, "--", job.input]


def make_run_variables(folder: JobFolder) -> dict[str, str]:
    """Return the environment variables for a run, which set the folder of its preview."""
    return {FOLDER_VARIABLE: str(folder.path)}


def _name_reference(job: Job) -> list[str]:
    return [f"--ref-stream={job.reference}"] if job.reference else []


def _can_have_report(job: Job) -> bool:
    """Return whether a report is possible: all files are local, and browsers can display them."""
    output = job.options.get("output", "")
    paths = (job.input, job.reference, output)
    return not any(map(is_url, paths)) and Path(output).suffix.lower() != ".exr"
