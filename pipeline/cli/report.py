"""`pipeline report`: write the report of a finished run."""

from __future__ import annotations

from pathlib import Path

import click

from pipeline.cli.options import FILE, QUIET_OPTION
from pipeline.cli.words import print_text


@click.command()
@click.argument("run", metavar="OUT", type=FILE)
@click.option(
    "-o",
    "--output",
    "page",
    metavar="FILE.html",
    type=FILE,
    help="Report to write; default: OUT with the suffix .html.",
)
@click.option(
    "--ground-truth",
    metavar="HR",
    type=FILE,
    help="Original recording, to measure the PSNR and SSIM of OUT.",
)
@click.option(
    "--plan", metavar="FILE", type=FILE, help="Plan of the run; default: the .plan.json beside OUT."
)
@click.option("--force", is_flag=True, help="Replace an existing report.")
@QUIET_OPTION
def report(
    run: str, page: str | None, ground_truth: str | None, plan: str | None, force: bool, quiet: bool
) -> None:
    """Write an HTML page with pictures and figures of a finished run.

    OUT is the output of a run, or its .plan.json. The page is one file, which loads no others.
    """
    from pipeline.report.checks import check_page_path, find_output

    output = find_output(Path(run))
    target = Path(page) if page else output.with_suffix(".html")
    check_page_path(target, force=force, read=[output, run, plan, ground_truth])

    from pipeline.progress import make_reporter
    from pipeline.report.page import write_report  # imports torch

    write_report(
        output,
        target,
        plan_file=Path(plan) if plan else None,
        ground_truth=ground_truth,
        progress=make_reporter(quiet=quiet),
    )
    print_text(f"{target}")
