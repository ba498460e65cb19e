"""The commands run, plan and probe: options to settings, a library call, the result in words."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from pipeline.cli.options import (
    run_options,
    settings_from,
)
from pipeline.cli.plan import print_plan
from pipeline.cli.words import describe_batch, describe_result
from pipeline.errors import PipelineError

if TYPE_CHECKING:
    from pipeline.progress import Reporter
    from pipeline.schema.settings import RunSettings


@click.command()
@run_options
@click.option("--report", metavar="FILE.html", help="Write pictures and figures there.")
@click.option("--dry-run", is_flag=True, help="Say what would be done, as `pipeline plan` does.")
def run(
    inputs: tuple[str, ...],
    manifest: str | None,
    report: str | None,
    dry_run: bool,
    quiet: bool,
    as_json: bool,
    **values: Any,
) -> None:
    """Enhance INPUT with the detail of REF.

    A run that was stopped or killed goes on where it was when the same command is run again.

    Several inputs, a glob of videos or a --manifest (columns or keys input, reference, output and
    any option) run one after the other; then -o is a folder, and REF and -o may contain {stem}.
    What failed is written to a list that --manifest takes.
    """
    from pipeline.progress import reporter

    if not inputs and manifest is None:
        raise click.UsageError("Missing argument 'INPUT...'.")
    progress = reporter(quiet=quiet)
    from pipeline.runs.batch import is_batch

    page = _page(report, batch=is_batch(inputs, manifest), force=values["force"])
    if dry_run:
        _dry_run(inputs, values, batch=is_batch(inputs, manifest), as_json=as_json)
        return
    if is_batch(inputs, manifest):
        _run_batch(inputs, manifest, values, progress, as_json=as_json)
        return
    settings = settings_from(values | {"input": inputs[0]})
    if page is not None:
        from pipeline.cli.report import check_run

        check_run(settings)
    from pipeline.runs.run import run as run_job

    if settings.output == "-":
        _run_to_stdout(settings, progress, plain=not as_json and page is None)
        return
    result = run_job(settings, progress)
    if page is not None:
        from pipeline.report.page import write_report

        progress.note(f"writing {page}")
        write_report(Path(result.output), page, ground_truth=settings.ground_truth, asked=settings)
    click.echo(result.model_dump_json() if as_json else describe_result(result))


def _run_to_stdout(settings: RunSettings, progress: Reporter, *, plain: bool) -> None:
    if not plain:
        raise click.UsageError("-o - leaves no room for --json and no file for --report.")
    from pipeline.runs.run import run as run_job
    from pipeline.runs.to_stdout import run_to

    result = run_to(sys.stdout.buffer, settings, lambda given: run_job(given, progress))
    progress.note(describe_result(result))


def _dry_run(
    inputs: tuple[str, ...], values: dict[str, Any], *, batch: bool, as_json: bool
) -> None:
    if batch:
        raise click.UsageError("--dry-run is for one input; plan them one by one.")
    print_plan(settings_from(values | {"input": inputs[0]}), save=None, as_json=as_json)


def _page(report: str | None, *, batch: bool, force: bool) -> Path | None:
    """Return where the report goes, checked before hours of work."""
    if report is None:
        return None
    if batch:
        raise click.UsageError("--report is for one input; use `pipeline report OUT` afterwards.")
    from pipeline.cli.report import check_page

    check_page(Path(report), force=force)
    return Path(report)


def _run_batch(
    inputs: tuple[str, ...],
    manifest: str | None,
    values: dict[str, Any],
    progress: Reporter,
    *,
    as_json: bool,
) -> None:
    from pipeline.runs.batch import entries, failed_list_place, run_all

    # not a number that equals False: --crf 0 means something
    common = {k: v for k, v in values.items() if v is not None and v is not False}
    settings = settings_from(common | {"input": "-"})  # what is wrong for all is said once
    items = entries(inputs, manifest, common)
    failed_list = failed_list_place(manifest, common.get("output"))
    from pipeline.execution.runners import choose_runner

    if choose_runner(settings.runner, settings.address)[0] == "ray":
        from pipeline.runs.pooled_batch import run_pooled

        result, interrupted = run_pooled(items, settings, progress, failed_list)
    else:
        result, interrupted = run_all(items, progress, failed_list)
    click.echo(result.model_dump_json() if as_json else describe_batch(result))
    if interrupted is not None:
        raise interrupted
    if result.failed:
        listed = result.failed_list
        how = f"run them again by --manifest {listed}" if listed else "their list cannot be written"
        raise PipelineError(f"{result.failed} of {len(result.items)} inputs failed; {how}")
