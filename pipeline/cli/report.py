"""`pipeline report`: the report of a run that has finished."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from pipeline.errors import InputError, already_there, no_folder
from pipeline.paths import is_url

if TYPE_CHECKING:
    from pipeline.schema.settings import RunSettings

SUFFIXES = (".html", ".htm")


def check_page(page: Path, *, force: bool) -> None:
    """Refuse a report's path now, not after hours of work."""
    if page.suffix.lower() not in SUFFIXES:
        raise InputError(f"found the report {page}, expected a name that ends in .html; rename it")
    if not page.absolute().parent.is_dir():
        raise no_folder(page.parent)
    if page.is_dir():
        raise InputError(f"found a folder at {page}, expected a file's name; try {page / 'o.html'}")
    if page.exists() and not force:
        raise already_there(page)


def check_run(settings: RunSettings) -> None:
    """Refuse a report of what has none, before the run."""
    places = (settings.input, settings.ref_stream or "", settings.output or "")
    if remote := [place for place in places if is_url(place)]:
        raise InputError(
            f"found {remote[0]} for a run with --report, expected local files: reports of URLs are "
            "not built; leave --report out"
        )
    if Path(settings.output or "").suffix.lower() == ".exr":
        raise InputError(
            f"found {settings.output} for a run with --report, expected PNG or TIFF: EXR pictures "
            "are not shown; leave --report out"
        )


def output_of(run: Path) -> Path:
    """Return the output that a path names: itself, its plan, or its folder of a demo."""
    if run.name.endswith(".plan.json"):
        from pipeline.schema.plan_file import read_plan

        named = Path(read_plan(run).output)
        beside = run.with_name(named.name)
        return beside if beside.exists() else named
    return run


@click.command()
@click.argument("run", metavar="OUT")
@click.option("-o", "--output", "page", metavar="FILE.html", help="Default: OUT with .html.")
@click.option("--ground-truth", metavar="HR", help="Measure PSNR and SSIM against this.")
@click.option("--plan", metavar="FILE", help="Default: the .plan.json beside OUT.")
@click.option("--force", is_flag=True, help="Replace an existing report.")
def command(
    run: str, page: str | None, ground_truth: str | None, plan: str | None, force: bool
) -> None:
    """Write one HTML file with pictures and figures of a finished run.

    OUT is the output of a run, or its .plan.json. The page fetches nothing and can be mailed.
    """
    output = output_of(Path(run))
    target = Path(page) if page else output.with_suffix(".html")
    check_page(target, force=force)
    from pipeline.report.page import write_report

    write_report(output, target, plan_file=Path(plan) if plan else None, ground_truth=ground_truth)
    click.echo(f"{target}")
