"""Check quickly, before hours of work, whether a report can be written."""

from __future__ import annotations

import html
from collections.abc import Iterable
from pathlib import Path

from pipeline.errors import InputError
from pipeline.paths import check_new_file, check_not_read, is_url
from pipeline.schema.plan_file import read_plan

_BEGINNING = 4096  # characters of a page, within which its title is
SUFFIXES = (".html", ".htm")


def check_page_path(page: Path, *, force: bool, read: Iterable[str | Path | None] = ()) -> None:
    """Raise InputError if the report cannot be written to `page`, or would replace an input.

    `read` lists the files that the command reads.
    """
    check_not_read(page, read)
    if page.suffix.lower() not in SUFFIXES:
        raise InputError(f"found the report {page}, expected a name that ends in .html; rename it")
    if page.is_dir():
        raise InputError(
            f"found the folder {page}, expected the name of a file; try {page / 'report.html'}"
        )
    check_new_file(page, force=force, advice="try another name, or --force to replace it")


def is_page_of(page: Path, output: str | None) -> bool:
    """Return whether a report of an existing output was written after the output was finished.

    The same command then finds both finished. A run whose `output` is not named is left out.
    """
    if output is None or is_url(output) or not Path(output).is_file():
        return False
    plan = Path(output).with_name(f"{Path(output).stem}.plan.json")
    if not page.is_file() or not plan.is_file():
        return False
    title = f"<title>{html.escape(Path(output).name)}: super-resolution report</title>"
    with page.open(encoding="utf-8", errors="replace") as file:
        start = file.read(_BEGINNING)
    return title in start and page.stat().st_mtime_ns >= plan.stat().st_mtime_ns


def check_reportable(recordings: tuple[str | None, ...], output: str | None) -> None:
    """Raise InputError if no report can be written on a run with these recordings and output."""
    remote = next((path for path in (*recordings, output) if path and is_url(path)), None)
    if remote is not None:
        raise InputError(
            f"found {remote} for a run with --report, expected local files, because a report "
            "cannot show files at URLs; leave --report out"
        )
    if output is not None and Path(output).suffix.lower() == ".exr":
        raise InputError(
            f"found {output} for a run with --report, expected PNG or TIFF, because a report "
            "cannot show EXR pictures; leave --report out"
        )


def find_output(run: Path) -> Path:
    """Return the output of a run; `run` is the path of the output, or of the plan beside it."""
    if not run.name.endswith(".plan.json"):
        return run

    output = Path(read_plan(run).output)
    beside = run.with_name(output.name)
    return beside if beside.exists() else output
