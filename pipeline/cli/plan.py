"""`pipeline plan`: show what a run would do."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from pipeline.cli.options import (
    FILE,
    JSON_OPTION,
    MANIFEST_OPTION,
    QUIET_OPTION,
    list_given,
    make_settings,
    settings_options,
)
from pipeline.cli.words import describe_cost, describe_plan, describe_plans, print_json, print_text
from pipeline.errors import InputError, PipelineError, as_pipeline_error

if TYPE_CHECKING:
    from pipeline.progress import Reporter
    from pipeline.runs.conductor import RunRequest
    from pipeline.runs.manifest import Entry
    from pipeline.runs.result import PlanResult
    from pipeline.schema.plan import Plan


@click.command()
@click.argument("inputs", metavar="INPUT...", nargs=-1, type=FILE)
@MANIFEST_OPTION
@settings_options
@click.option(
    "--save", metavar="FILE", type=FILE, help="Write the plan to a file that you can edit and run."
)
@QUIET_OPTION
@JSON_OPTION
def plan(
    inputs: tuple[str, ...],
    manifest: str | None,
    save: str | None,
    quiet: bool,
    as_json: bool,
    **values: Any,
) -> None:
    """Show what a run with the same arguments would do: references, output, losses.

    Several inputs, a glob or a folder of videos, or a --manifest are planned one by one. --save is
    then a folder, or contains {stem}.
    """
    from pipeline.progress import make_reporter
    from pipeline.runs.conductor import RunRequest
    from pipeline.runs.manifest import is_batch, make_entries

    if not inputs and manifest is None:
        raise click.UsageError("Missing argument 'INPUT...'.")
    progress = make_reporter(quiet=quiet)
    common = list_given(values)
    if is_batch(inputs, manifest, common):
        entries = make_entries(inputs, manifest, common)
        print_plans(entries, progress, save=save, as_json=as_json)
        return
    settings = make_settings(values | {"input": inputs[0]})
    print_plan(RunRequest(settings, progress), save=save, as_json=as_json)


def print_plan(request: RunRequest, *, save: str | None, as_json: bool) -> None:
    """Make or load the plan of a run, write it to `save` unless that is None, and print it."""
    from pipeline.runs.dry_run import plan_dry_run

    planned = plan_dry_run(request)
    if save:
        _save_plan(planned.plan, save, request)
    if as_json:
        print_json(planned.plan.model_dump_json())
    else:
        print_text(describe_plan(planned.plan, describe_cost(*planned)))


def print_plans(
    entries: tuple[Entry, ...], progress: Reporter, *, save: str | None, as_json: bool
) -> None:
    """Print the plans of many inputs; an input that cannot be planned does not stop the others.

    Raises InputError if `save` cannot be used for several plans, and PipelineError after the last
    input if any input could not be planned.
    """
    from pipeline.runs.batch import read_shared_pipes
    from pipeline.runs.result import PlansResult

    if save is not None and "{stem}" not in save and not Path(save).is_dir():
        raise InputError(
            f"--save {save} cannot be used for several plans; pass an existing folder, or a "
            "pattern such as 'plans/{stem}.json'"
        )
    with read_shared_pipes(entries, progress.note) as readable:
        files = _name_files(readable, save)
        pairs = zip(readable, files, strict=True)
        items = [_plan_entry(entry, progress, file, show=not as_json) for entry, file in pairs]

    failed = sum(item.status == "failed" for item in items)
    if as_json:
        print_json(PlansResult(items=tuple(items), failed=failed).model_dump_json())
    else:
        print_text(describe_plans(items))
    if failed:
        raise PipelineError(
            f"{failed} of {len(items)} inputs cannot be run; correct the listed errors"
        )


def _name_files(entries: tuple[Entry, ...], save: str | None) -> list[str | None]:
    """Return the file for each input's plan; raises InputError if two would be the same.

    `save` is a folder or a pattern. If it is None, the plans get no files, and the result contains
    only None.
    """
    if save is None:
        return [None] * len(entries)
    pattern = save if "{stem}" in save else str(Path(save) / "{stem}.plan.json")
    names = [str(entry.given["input"]) for entry in entries]
    files = [pattern.replace("{stem}", Path(name).stem) for name in names]
    first: dict[str, str] = {}
    for file, name in zip(files, names, strict=True):
        if first.setdefault(file, name) != name:
            raise InputError(
                f"the plans of {first[file]} and {name} would both be saved as {file}; rename an "
                "input, or plan each of them with its own --save"
            )
    return list(files)


def _plan_entry(entry: Entry, progress: Reporter, save: str | None, *, show: bool) -> PlanResult:
    """Return one input's plan, or the reason why it has none.

    The plan is written to the file `save` unless that is None, and printed if `show` is set.
    """
    from pipeline.runs.conductor import RunRequest
    from pipeline.runs.dry_run import plan_dry_run
    from pipeline.runs.result import PlanResult

    name = str(entry.given["input"])
    if entry.skip is not None:
        return PlanResult(input=name, status="skipped", error=entry.skip)
    if entry.settings is None:
        return PlanResult(input=name, status="failed", error=entry.error)
    try:
        request = RunRequest(entry.settings, progress)
        planned = plan_dry_run(request)
        if save is not None:
            _save_plan(planned.plan, save, request)
    except Exception as error:
        return PlanResult(input=name, status="failed", error=str(as_pipeline_error(error)))
    if show:
        print_text(describe_plan(planned.plan, describe_cost(*planned)))
    return PlanResult(input=name, status="planned", plan=planned.plan)


def _save_plan(made: Plan, save: str, request: RunRequest) -> None:
    """Save a plan; raises InputError if that would replace a file that the run reads."""
    from pipeline.paths import check_not_read
    from pipeline.schema.plan_file import save_plan

    settings = request.settings
    recordings = (made.input, made.reference.clip)
    files = [file for recording in recordings for file in recording.list_paths()]
    others = [settings.ground_truth, settings.plan, settings.capture, settings.adapt, made.model]
    check_not_read(save, [*files, *others])
    save_plan(made, Path(save))
