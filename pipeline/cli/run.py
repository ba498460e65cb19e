"""`pipeline run`: enhance one recording, or a batch of them."""

from __future__ import annotations

import math
import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, TextIO

import click

from pipeline.cli.options import FILE, list_given, make_settings, run_options
from pipeline.cli.plan import print_plan, print_plans
from pipeline.cli.words import describe_batch, describe_result, print_json, print_text
from pipeline.errors import InputError, Interrupted, PipelineError

if TYPE_CHECKING:
    from pipeline.media.write.raw import StreamForm
    from pipeline.progress import BatchReporter, Reporter
    from pipeline.runs.parts import RunParts
    from pipeline.runs.result import BatchResult, RunResult
    from pipeline.runs.watch import Pauses
    from pipeline.schema.settings import ExecutionSettings, GridSettings


# Options that --stream ignores if they are set only in a configuration file or the environment.
_NOT_OF_STREAMS = (
    *("codec", "quality", "crf", "preset"),
    *("runner", "placement", "address", "workers", "accelerator"),
)


@click.command()
@run_options
@click.option(
    "--report", metavar="FILE.html", type=FILE, help="Write a report with pictures and figures."
)
@click.option("--dry-run", is_flag=True, help="Only show the plan, like `pipeline plan`.")
@click.option(
    "--preview",
    is_flag=True,
    help="Show the latest frame, before and after enhancement, in `pipeline ui`.",
)
@click.option(
    "--stream",
    metavar="FORMAT",
    type=click.Choice(["y4m", "rawvideo"]),
    help="With -o -, write each frame as soon as it is done, uncompressed: y4m or rawvideo.",
)
@click.option(
    "--exec",
    "command",
    metavar="CMD",
    envvar="PIPELINE_RUN_EXEC",
    help="Run this shell command after each output; $PIPELINE_OUTPUT is its path or URL.",
)
@click.option(
    "--watch",
    metavar="FOLDER",
    type=FILE,
    help="Enhance the recordings that appear in a folder, until you stop the command.",
)
@click.option(
    "--watch-until-idle",
    metavar="SECONDS",
    type=click.FloatRange(min=0),
    help="End --watch when no recording has appeared or grown for this long.",
)
def run(
    inputs: tuple[str, ...],
    manifest: str | None,
    skip_existing: bool,
    report: str | None,
    dry_run: bool,
    preview: bool,
    stream: StreamForm | None,
    command: str | None,
    watch: str | None,
    watch_until_idle: float | None,
    quiet: bool,
    as_json: bool,
    json_progress: bool,
    **values: Any,
) -> None:
    """Enhance INPUT with the detail of REF.

    To resume a run that was stopped or killed, run the same command again.

    Several inputs, a glob or a folder of videos, or a --manifest (with columns or keys input,
    reference, output and any option) form a batch. -o is then a folder or contains {stem}, and REF
    may contain {stem}, too. Inputs that fail are listed in a file for --manifest.
    """
    from pipeline.execution.allocator import speed_up_allocation
    from pipeline.progress import make_reporter
    from pipeline.remote.pipes import read_piped_settings
    from pipeline.report.checks import check_page_path, is_page_of
    from pipeline.runs.after import PublishedCommand
    from pipeline.runs.conductor import RunRequest
    from pipeline.runs.json_progress import JsonReporter
    from pipeline.runs.manifest import is_batch, make_entries
    from pipeline.runs.parts import RunParts
    from pipeline.runs.run import run as run_once
    from pipeline.runs.to_stdout import run_to_stdout
    from pipeline.runs.watch import Pauses

    check_watch(inputs, manifest, watch, watch_until_idle, dry_run=dry_run)
    if not inputs and manifest is None and watch is None:
        raise click.UsageError("Missing argument 'INPUT...'.")
    if stream is not None:
        values |= dict.fromkeys(_list_defaults(_NOT_OF_STREAMS))
    if skip_existing and values["force"]:
        raise click.UsageError("--skip-existing cannot be combined with --force.")
    # with --skip-existing, even one input is a batch, because it may have no result
    several = is_batch(inputs, manifest, list_given(values)) or skip_existing or watch is not None
    settings = make_settings(values | {"input": inputs[0] if inputs else "-"})
    check_combination(
        (settings.input, settings.ref_stream),
        settings.output,
        several=several,
        report=report,
        dry_run=dry_run,
        as_json=as_json,
        streams=stream is not None,
        command=command,
    )
    page = Path(report) if report is not None else None
    has_page = False
    if page is not None:
        read = (settings.ref_stream, settings.ground_truth, settings.plan, settings.model)
        has_page = not values["force"] and is_page_of(page, settings.output)
        check_page_path(page, force=values["force"] or has_page, read=[*inputs, *read])

    speed_up_allocation()
    progress = JsonReporter() if json_progress else make_reporter(quiet=quiet)
    if several and dry_run:
        entries = make_entries(inputs, manifest, list_given(values))
        print_plans(entries, progress, save=None, as_json=as_json)
        return
    parts = _find_parts() or RunParts()
    if preview:
        parts = _add_preview(parts, settings, progress)
    if command is not None:
        parts = replace(parts, on_published=PublishedCommand(command, progress.note))
    if watch is not None:
        pauses = Pauses(until_idle=watch_until_idle)
        parts = replace(parts, skips_existing=skip_existing)
        _watch(watch, pauses, list_given(values), settings, progress, parts, as_json=as_json)
        return
    if several:
        parts = replace(parts, skips_existing=skip_existing)
        _run_batch(inputs, manifest, values, settings, progress, parts, as_json=as_json)
        return
    if dry_run:
        print_plan(RunRequest(settings, progress), save=None, as_json=as_json)
        return

    with read_piped_settings(settings, settings.output, progress.note) as readable:

        def run_to(out: str | None) -> RunResult:
            chosen = readable.model_copy(update={"output": out})
            work = partial(run_once, chosen, progress, parts)
            return _report_run(settings.input, progress, work)

        if stream is not None:
            from pipeline.runs.streaming import stream_frames

            stdout = _open_stdout()
            request = RunRequest(readable, progress, parts)
            work = partial(stream_frames, stdout, request, stream)
            progress.note(describe_result(_report_run(settings.input, progress, work)))
            return

        if readable.output == "-":
            result = run_to_stdout(_open_stdout(), readable.input, run_to)
            progress.note(describe_result(result))
            return

        result = run_to(readable.output)
        if has_page:
            progress.note(f"{page} is already up to date; pass --force to write it again")
        elif page is not None:
            _write_report(result, page, readable.ground_truth, readable, progress)
        if as_json:
            print_json(result.model_dump_json())
        else:
            print_text(describe_result(result))
        _check_commands([result])


def check_watch(
    inputs: tuple[str, ...],
    manifest: str | None,
    watch: str | None,
    until_idle: float | None,
    *,
    dry_run: bool,
) -> None:
    """Raise UsageError if --watch or --watch-until-idle is invalid or conflicts with others."""
    if watch is None and until_idle is not None:
        raise click.UsageError("--watch-until-idle needs --watch.")
    if until_idle is not None and not math.isfinite(until_idle):
        raise click.UsageError(
            f"--watch-until-idle is {until_idle}, but must be a finite number of seconds."
        )
    if watch is not None and (inputs or manifest is not None):
        raise click.UsageError("--watch cannot be combined with INPUT or --manifest.")
    if watch is not None and dry_run:
        raise click.UsageError("--watch cannot be combined with --dry-run.")


def check_combination(
    read: tuple[str | None, ...],
    output: str | None,
    *,
    several: bool,
    report: str | None,
    dry_run: bool,
    as_json: bool,
    streams: bool = False,
    command: str | None = None,
) -> None:
    """Raise UsageError or InputError if options cannot be combined, without opening any file.

    `read` lists the recordings that the run reads.
    """
    if several and report is not None:
        raise click.UsageError("--report is for one input; use `pipeline report OUT` afterwards.")
    if streams and (several or dry_run or output != "-"):
        raise click.UsageError(
            "--stream needs -o -, is for one input, and cannot be combined with --dry-run."
        )
    if dry_run:
        return

    if report is not None:
        from pipeline.report.checks import check_reportable

        check_reportable(read, output)
    if command is not None and not command.strip():
        raise click.UsageError("--exec needs a command.")
    if command is not None and "\0" in command:
        raise click.UsageError("--exec cannot contain NUL characters.")
    if output == "-" and command is not None:
        raise click.UsageError("-o - cannot be combined with --exec.")
    if output == "-" and several:
        raise click.UsageError(
            "-o - is for one input, and cannot be combined with --skip-existing or --watch."
        )
    if output == "-" and (as_json or report is not None):
        raise click.UsageError("-o - cannot be combined with --json or --report.")


def _list_defaults(names: Sequence[str]) -> list[str]:
    """Return the names whose options are not set on the command line."""
    context = click.get_current_context()
    given = click.core.ParameterSource.COMMANDLINE
    return [name for name in names if context.get_parameter_source(name) is not given]


def _open_stdout() -> BinaryIO:
    """Return stdout as a binary stream; raises InputError if the program was started without it."""
    # typeshed does not declare that stdout may be None
    stdout: TextIO | None = sys.stdout
    if stdout is None:
        raise InputError(
            "-o - needs stdout, but this program was started without it; redirect stdout with "
            "> out.mkv, or try -o FILE"
        )
    return stdout.buffer


def _report_run(name: str, progress: BatchReporter, work: Callable[[], RunResult]) -> RunResult:
    """Call `work` to perform a run, report its beginning and end, and return its result."""
    progress.begin_input(name)
    try:
        result = work()
    except PipelineError as error:
        status = "not run" if isinstance(error, Interrupted) else "failed"
        progress.end_input(name, status, None, str(error))
        raise
    progress.end_input(name, "done", result.output, None)
    return result


def _find_parts() -> RunParts | None:
    """Return the RunParts that a program passed with `main(obj=RunParts(...))`, or None."""
    from pipeline.runs.parts import RunParts

    return click.get_current_context().find_object(RunParts)


def _add_preview(parts: RunParts, settings: ExecutionSettings, progress: Reporter) -> RunParts:
    """Return parts that also write the latest frame for `pipeline ui`, except for runs on Ray."""
    from pipeline.execution.runners import choose_runner
    from pipeline.runs.preview import PreviewWriter, find_page_folder

    if choose_runner(settings.runner, settings.address)[0] == "ray":
        progress.note("--preview cannot show the frames of a run on Ray")
        return parts
    return replace(parts, enhance=PreviewWriter(find_page_folder(), parts.enhance))


def _write_report(
    result: RunResult,
    page: Path,
    ground_truth: str | None,
    grid_settings: GridSettings,
    progress: Reporter,
) -> None:
    from pipeline.report.page import write_report  # imports torch

    progress.note(f"writing {page}")
    write_report(
        Path(result.output),
        page,
        ground_truth=ground_truth,
        grid_settings=grid_settings,
        progress=progress,
    )


def _run_batch(
    inputs: tuple[str, ...],
    manifest: str | None,
    values: dict[str, Any],
    settings: ExecutionSettings,
    progress: BatchReporter,
    parts: RunParts,
    *,
    as_json: bool,
) -> None:
    from pipeline.execution.runners import choose_runner
    from pipeline.runs.batch import run_all
    from pipeline.runs.items import failed_list_place
    from pipeline.runs.manifest import make_entries

    common = list_given(values)
    entries = make_entries(inputs, manifest, common)
    failed_list = failed_list_place(manifest, common.get("output"))

    if choose_runner(settings.runner, settings.address)[0] == "ray":
        from pipeline.runs.pooled_batch import run_pooled  # imports ray

        result, interrupted = run_pooled(entries, settings, progress, failed_list, parts)
    else:
        result, interrupted = run_all(entries, progress, failed_list, parts)
    _print_batch(result, interrupted, as_json=as_json)


def _watch(
    folder: str,
    pauses: Pauses,
    common: dict[str, Any],
    settings: ExecutionSettings,
    progress: BatchReporter,
    parts: RunParts,
    *,
    as_json: bool,
) -> None:
    from pipeline.execution.runners import choose_runner
    from pipeline.runs.batch import run_watched
    from pipeline.runs.items import failed_list_place

    if choose_runner(settings.runner, settings.address)[0] == "ray":
        raise click.UsageError("--watch runs in this process only; add --runner inline.")
    failed_list = failed_list_place(None, common.get("output"))
    result, interrupted = run_watched(folder, common, pauses, progress, failed_list, parts)
    _print_batch(result, interrupted, as_json=as_json)


def _print_batch(result: BatchResult, interrupted: Interrupted | None, *, as_json: bool) -> None:
    """Print a batch's result; then raise `interrupted`, or PipelineError if anything failed."""
    if as_json:
        print_json(result.model_dump_json())
    else:
        print_text(describe_batch(result))

    if interrupted is not None:
        raise interrupted
    if result.failed:
        advice = "the list for --manifest could not be written"
        if result.failed_list:
            advice = f"to try again, pass --manifest {result.failed_list}"
        raise PipelineError(f"{result.failed} of {len(result.items)} inputs failed; {advice}")
    _check_commands([item.result for item in result.items if item.result is not None])


def _check_commands(results: Sequence[RunResult]) -> None:
    """Raise PipelineError if the --exec command failed for an output."""
    failed = [result for result in results if result.exec_status]
    if failed:
        raise PipelineError(
            f"the --exec command failed for {len(failed)} of {len(results)} outputs, first with "
            f"status {failed[0].exec_status} for {failed[0].output}; the outputs are complete"
        )
