"""Run one input from settings to result: plan, execute, assemble, verify, publish, measure."""

from __future__ import annotations

from contextlib import closing
from dataclasses import replace
from pathlib import Path

from pipeline.adaptation.request import train_nothing, use_adapted_file
from pipeline.errors import InputError, Interrupted, OutputExistsError
from pipeline.execution.runners import ExecutionReport, choose_runner, run_inline
from pipeline.interrupt import Interrupts
from pipeline.ledger.durable import remove_path
from pipeline.ledger.plan_beside import plan_path
from pipeline.pairing.second_pass import first_pass_changes, first_pass_output, is_first_pass_of
from pipeline.planning.pinned import pin_plan
from pipeline.planning.plan import make_plan
from pipeline.progress import Reporter, SilentReporter
from pipeline.remote.pipes import read_piped_settings
from pipeline.runs.conductor import (
    OpenRun,
    RunRequest,
    close_run,
    describe_interruption,
    open_run,
    recover_result,
    resumed_report,
)
from pipeline.runs.parts import RunParts
from pipeline.runs.result import RunResult
from pipeline.schema.settings import RunSettings


def run(
    settings: RunSettings, progress: Reporter | None = None, parts: RunParts | None = None
) -> RunResult:
    """Enhance one input and return the result.

    `parts` replaces parts of the run; runs with the same `parts` share its engines.
    Raises PipelineError if the run fails or is interrupted; committed segments are kept, and the
    next run with the same settings resumes.
    """
    progress = progress or SilentReporter()
    parts = parts or RunParts()
    with read_piped_settings(settings, settings.output, progress.note) as readable:
        request = RunRequest(readable, progress, parts)
        return _run_twice(request) if settings.consistent else _run_once(request)


def _run_twice(request: RunRequest) -> RunResult:
    """Run the first pass over a light field unless it is finished, and then the second pass."""
    settings = request.settings
    chosen, adapt, _ = use_adapted_file(settings)
    adapt = train_nothing(adapt)
    try:
        plan = pin_plan(make_plan(chosen))
    except OutputExistsError as error:
        return _recover_second_pass(request, error)

    first = first_pass_output(Path(plan.output))
    if not is_first_pass_of(plan_path(first), plan):
        changes = first_pass_changes(plan)
        if adapt.kind == "off":
            changes["adapt"] = "off"
        first_settings = settings.model_copy(update=changes)
        # the first pass publishes nothing for users
        parts = replace(request.parts, on_published=None)
        run(first_settings, request.progress, parts)

    result = _run_once(request)
    _remove_first_pass(first)
    return result


def _recover_second_pass(request: RunRequest, exists: OutputExistsError) -> RunResult:
    """Return the result of a second pass that was killed after it had published its output.

    The first pass of a finished output is deleted. Raises `exists` for any other output.
    """
    forced = request.settings.model_copy(update={"force": True})
    output = Path(make_plan(forced).output)
    first = first_pass_output(output)
    # the first pass's plan is deleted before its pictures, which are useless without it
    needed = plan_path(first).exists()
    try:
        if not needed:
            raise exists
        result = recover_result(request, exists)
    except OutputExistsError:
        if not needed or _is_older(plan_path(first), plan_path(output)):
            _remove_first_pass(first)
        raise

    _remove_first_pass(first)
    return result


def _is_older(plan_file: Path, other: Path) -> bool:
    """Return whether the plan `other` exists, and is at least as new as `plan_file`."""
    return other.exists() and plan_file.stat().st_mtime <= other.stat().st_mtime


def _remove_first_pass(first: Path) -> None:
    plan_path(first).unlink(missing_ok=True)
    if first.exists():
        remove_path(first)


def _run_once(request: RunRequest) -> RunResult:
    """Run the request, and turn a signal into an error that states how to continue."""
    settings = request.settings
    progress = request.progress
    opened: OpenRun | None = None
    with Interrupts() as interrupts:
        try:
            runner, reason = choose_runner(settings.runner, settings.address)
            if settings.placement == "split" and runner == "inline":
                raise InputError(
                    "--placement split is only for runs on Ray; add --runner ray, or leave it out"
                )

            try:
                opened = open_run(request, runner=runner)
            except OutputExistsError as error:
                return recover_result(request, error)

            with closing(opened):
                progress.note(f"runner {runner}: {reason}")
                progress.start(len(opened.plan.reference_map), opened.frames_before)
                report = _execute(opened, progress, interrupts, request.parts)
                progress.close()
                return close_run(opened, report, progress, interrupts, request.parts)
        except KeyboardInterrupt:
            raise Interrupted(describe_interruption(opened)) from None
        finally:
            progress.close()


def _execute(
    opened: OpenRun, progress: Reporter, interrupts: Interrupts, parts: RunParts
) -> ExecutionReport:
    """Run the missing segments: in this process if the run has an engine, else on Ray."""
    if opened.engine is not None:
        return run_inline(opened.ledger, opened.engine, progress, enhance=parts.enhance)

    settings, plan = opened.settings, opened.plan
    if not opened.ledger.pending_segments():  # no cluster is needed
        return resumed_report(plan, "ray")

    from pipeline.execution.cluster.connection import cluster

    with cluster(settings.address, interrupts, workers=settings.workers):
        from pipeline.execution.cluster.actor import SegmentActor, make_setup
        from pipeline.execution.cluster.actor_request import request_actors
        from pipeline.execution.cluster.pool import run_on_ray

        setup = make_setup(opened.ledger, settings.placement)
        request = request_actors(plan.engine, settings.workers, settings.accelerator)
        actor = parts.actor or SegmentActor
        return run_on_ray(opened.ledger, setup, progress, request, actor=actor)
