"""Check quickly, before hours of work, whether a report can be written."""

from __future__ import annotations

import html
from collections.abc import Iterable
from pathlib import Path

from pipeline.errors import InputError
from pipeline.ledger.plan_beside import plan_path
from pipeline.paths import check_new_file, check_not_read, is_url
from pipeline.schema.plan_file import read_plan

_BEGINNING = 4096  # characters at the start of a page, which include its title
SUFFIXES = (".html", ".htm")


def check_page_path(page: Path, *, force: bool, read: Iterable[str | Path | None] = ()) -> None:
    """Raise InputError if the report cannot be written to `page`, or would replace an input.

    `read` lists the files that the command reads.
    """
    check_not_read(page, read)
    if page.suffix.lower() not in SUFFIXES:
        raise InputError(f"the report {page} must have a name that ends in .html; rename it")
    if page.is_dir():
        raise InputError(
            f"the report {page} is a folder, but must be a file; try {page / 'report.html'}"
        )
    check_new_file(page, force=force, advice="try another name, or --force to replace it")


def is_page_of(page: Path, output: str | None) -> bool:
    """Return whether `page` is a report about an existing output, and newer than its plan.

    If so, repeating the command leaves both as they are. The result is False for an `output` that
    is None, a URL or a folder.
    """
    if output is None or is_url(output) or not Path(output).is_file():
        return False
    plan = plan_path(Path(output))
    if not page.is_file() or not plan.is_file():
        return False
    title = f"<title>{html.escape(Path(output).name)}: super-resolution report</title>"
    with page.open(encoding="utf-8", errors="replace") as file:
        start = file.read(_BEGINNING)
    return title in start and page.stat().st_mtime_ns >= plan.stat().st_mtime_ns


def check_reportable(recordings: tuple[str | None, ...], output: str | None) -> None:
    """Raise InputError if a run with these recordings and this output cannot have a report."""
    remote = next((path for path in (*recordings, output) if path and is_url(path)), None)
    if remote is not None:
        raise InputError(
            f"a report can show only local files, but this run uses {remote}; leave --report out"
        )
    if output is not None and Path(output).suffix.lower() == ".exr":
        raise InputError(
            f"a report cannot show EXR pictures such as {output}; leave --report out, or write PNG "
            "or TIFF"
        )


def find_output(run: Path) -> Path:
    """Return the output of a run, given the path of the output or of the plan beside it.

    An output that has been moved together with its plan is found, too.
    """
    if not run.name.endswith(".plan.json"):
        return run

    output = Path(read_plan(run).output)
    beside = run.with_name(output.name)
    return beside if beside.exists() else output
