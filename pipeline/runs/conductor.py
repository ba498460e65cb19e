"""Begin and end runs, inline or on Ray, of a single input or in a batch.

`open_run` plans the run and opens its folder; `close_run` publishes the output, records the run and
measures its quality. The caller executes the segments in between. A streamed run publishes nothing,
so it needs only `open_run`.
"""

from __future__ import annotations

import time
from contextlib import ExitStack, closing
from dataclasses import dataclass, field, replace
from pathlib import Path

from deploy.protocol import Engine, EngineInfo
from deploy.speed import find_speed
from pipeline.adaptation.request import take_request, train_nothing, use_adapted_file
from pipeline.assembly.finish import locate_plan
from pipeline.assembly.record import format_command, make_record
from pipeline.errors import OutputExistsError, PairingError
from pipeline.execution.runners import (
    ExecutionReport,
    Runner,
    choose_runner,
    count_committed_frames,
)
from pipeline.interrupt import Interrupts
from pipeline.ledger import mirror
from pipeline.ledger.adapted_weights import use_adapted_weights
from pipeline.ledger.ledger import Ledger
from pipeline.ledger.names import PLAN
from pipeline.ledger.run_folder import read_stored_plan, run_folder_of
from pipeline.lightfield.opening import open_light_field
from pipeline.measuring.clips import Evaluation, evaluate
from pipeline.measuring.views import LightFieldQuality, evaluate_light_field
from pipeline.media.read.probe import probe
from pipeline.pairing.given import list_left_out
from pipeline.pairing.second_pass import plan_second_pass
from pipeline.paths import is_url, redact_url
from pipeline.planning.edited_plan import load_plan
from pipeline.planning.pictures import check_measurable
from pipeline.planning.pinned import pin_plan
from pipeline.planning.plan import make_plan
from pipeline.progress import Reporter, SilentReporter, find_bottleneck
from pipeline.recording import open_recording
from pipeline.remote.cache import fetch_copy
from pipeline.remote.run_urls import describe_confinement, fetch_inputs, with_urls
from pipeline.runs.adapting import complete_adaptation, plan_adaptation
from pipeline.runs.finished import find_finished_plan
from pipeline.runs.parts import RunParts, check_engine
from pipeline.runs.result import AdaptedResult, CaptureResult, RunResult
from pipeline.schema.clip import LightField
from pipeline.schema.plan import Plan, RunRecord
from pipeline.schema.settings import GridSettings, RunSettings


@dataclass(frozen=True)
class RunRequest:
    """The settings of a run, the reporter of its progress, and its replaceable parts."""

    settings: RunSettings
    progress: Reporter
    parts: RunParts = field(default_factory=RunParts)
    is_written: bool = True
    """Whether the output is written to a file; if not, its path is not checked."""


@dataclass
class OpenRun:
    """An input whose run folder is open and locked until `close`."""

    settings: RunSettings
    ledger: Ledger
    start: float
    """Time on the monotonic clock when the run began."""
    frames_before: int
    """Number of frames that were committed before this run."""
    engine: Engine | None = None
    """The engine if the run is in this process, else None."""
    published: bool = False
    contexts: ExitStack = field(default_factory=ExitStack)
    """The contexts that `close` exits; the ledger is one of them."""

    @property
    def plan(self) -> Plan:
        """The plan of the run."""
        return self.ledger.plan

    def close(self) -> None:
        """Release the run folder; delete it if it has no committed segment or adapted weights."""
        self.contexts.close()


def open_run(request: RunRequest, *, runner: Runner) -> OpenRun:
    """Plan a run, open its run folder, and adapt the weights if the plan requires it.

    If the run is in this process, its engine is loaded, too. Raises OutputExistsError if the output
    exists, and other InputErrors if the user has to change something.
    """
    start = time.monotonic()
    plan = prepare_plan(request, runner)
    progress = request.progress
    engine = None
    trains = plan.adaptation is not None and plan.adaptation.trains
    if runner == "inline" and not trains:
        engine = _load_engine(request, plan)
    elif runner == "inline" and plan.adaptation is not None and not plan.adaptation.done:
        check_engine(plan)  # report a missing engine before minutes of training, not after

    with ExitStack() as stack:
        ledger = stack.enter_context(Ledger(plan))
        report_resumed(ledger, progress)
        if trains:
            together = request.settings.adapt_together
            shared = request.parts.shared_weights if together else None
            complete_adaptation(ledger, progress, shared)
            if runner == "inline":
                engine = _load_engine(request, use_adapted_weights(ledger.plan, ledger.folder))
        before = count_committed_frames(ledger)
        request.parts.on_open(ledger.plan, before)
        return OpenRun(request.settings, ledger, start, before, engine, contexts=stack.pop_all())


def _load_engine(request: RunRequest, plan: Plan) -> Engine:
    with request.progress.step("loading the engine"):
        return request.parts.engines.load(plan, request.progress.note)


def close_run(
    opened: OpenRun,
    report: ExecutionReport,
    progress: Reporter,
    interrupts: Interrupts,
    parts: RunParts,
) -> RunResult:
    """Publish the output and plan of a run whose segments are all committed; return the result.

    With a ground truth, the output's quality is measured, too. Raises StageError, VerificationError
    or InputError if the output cannot be published.
    """
    settings, plan = opened.settings, opened.plan
    chosen = report.runner == "ray" and settings.placement == "auto"
    progress.note(describe_execution(report, auto_placement=chosen))

    def record_run() -> RunRecord:
        return make_record(
            format_command(settings),
            report.engine,
            report.busy,
            runner=report.runner,
            frames=len(plan.reference_map) - opened.frames_before,
            seconds=time.monotonic() - opened.start,
        )

    with closing(opened), progress.step("joining the segments and verifying the output"):
        try:
            plan_place = parts.finish(opened.ledger, interrupts, record_run, force=settings.force)
        except KeyboardInterrupt:
            # publishing ends by deleting the run folder's plan; the signal may come just after it
            opened.published = not (opened.ledger.folder.path / PLAN).exists()
            raise
        opened.published = True
    result = run_result(opened, report.engine, plan_place, progress)
    if parts.on_published is None:
        return result
    return result.model_copy(update={"exec_status": parts.on_published(settings, result.output)})


def prepare_plan(request: RunRequest, runner: Runner) -> Plan:
    """Return the plan of a run, with fixed weights, threads and adaptation, and report its notes.

    Raises InputError if the user has to change something.
    """
    settings = request.settings
    with request.progress.step("fetching the recordings"):
        local = fetch_inputs(settings, settings)
    local, adapt, from_file = use_adapted_file(local)

    if local.plan:
        plan = load_plan(local.plan, local, is_written=request.is_written)
    else:
        # this device's speed says nothing about a cluster's
        speeds = find_speed if runner == "inline" else None
        plan = make_plan(local, request.progress, find_speed=speeds, is_written=request.is_written)
    plan, adapt, from_file = take_request(plan, adapt, from_file)
    if local.consistent:
        plan = plan_second_pass(plan)
        adapt = train_nothing(adapt)
    plan = with_urls(plan, settings.input, settings.ref_stream, settings.output)
    plan = pin_plan(
        plan,
        recut=not local.plan and "segment" not in local.model_fields_set,
        keep_capture=not local.plan and local.capture == "auto",
        keep_effort=not local.plan and local.effort == "auto",
    )
    shared = request.parts.shared_weights if settings.adapt_together else None
    plan = plan_adaptation(plan, adapt, from_file, request.progress, runner, shared)
    _check_ground_truth(local.ground_truth, local, plan)

    for note in (describe_confinement(settings), *plan.notes):
        if note:
            request.progress.note(note)
    return plan


def report_resumed(ledger: Ledger, progress: Reporter) -> None:
    """Report what an earlier run left in the run folder, if it left anything."""
    if ledger.note:
        progress.note(ledger.note)
    if ledger.resumed:
        total = len(ledger.plan.segments)
        progress.note(f"resuming with {ledger.resumed} of {total} segments done")


def describe_execution(report: ExecutionReport, *, auto_placement: bool = False) -> str:
    """Return a line that names the engine, each stage's busy time and the limiting stage.

    With `auto_placement`, the line suggests `--placement split` if a GPU waits for other stages.
    """
    engine, busy = report.engine, report.busy
    stages = ", ".join(f"{name} {seconds:.1f} s" for name, seconds in busy.items())
    limit = find_bottleneck(busy)

    line = f"engine {engine.name} on {engine.device} ({engine.reason}); busy: {stages}"
    if limit:
        line += f"; limited by {limit}"
    if auto_placement and busy and limit != "infer" and engine.device.startswith("cuda"):
        line += "; the GPU waits: if its node has too few cores, try --placement split"
    return line


def describe_interruption(opened: OpenRun | None) -> str:
    """Return a line that states how far an interrupted run got and how to continue."""
    if opened is None:
        return "interrupted before anything was written; run the same command again"
    if opened.published:
        return f"interrupted after {opened.ledger.output} was published; it is complete"
    kept = len(opened.ledger.records)
    total = len(opened.plan.segments)
    if not kept:
        return (
            f"interrupted with none of {total} segments finished, so no frame is kept; run the "
            "same command again to start over, with a smaller --segment to lose less"
        )
    frames = count_committed_frames(opened.ledger)
    return (
        f"interrupted with {kept} of {total} segments ({frames} of "
        f"{len(opened.plan.reference_map)} frames) kept; "
        "run the same command again to resume"
    )


def resumed_report(plan: Plan, runner: Runner) -> ExecutionReport:
    """Return the report of a run that found all segments committed, and thus loaded no engine."""
    engine = EngineInfo(
        name=plan.engine,
        device="none",
        model="none" if plan.engine == "bicubic" else plan.model,
        precision="",
        multiple=1,
        bytes_per_pixel=0,
        reason="nothing was left to run",
    )
    return ExecutionReport(runner, engine, {})


def recover_result(request: RunRequest, exists: OutputExistsError) -> RunResult:
    """Return the result for an existing output if a run with the same settings finished it.

    That run may have been killed after it had published its output; its run folder is then deleted.
    Raises `exists` if any other run made the output, or if `skips_existing` is set and no run
    folder remains.
    """
    start = time.monotonic()
    settings = request.settings
    unfinished = _find_unfinished_plan(settings.output, exists.path)
    remains = not is_url(exists.path) and run_folder_of(Path(exists.path)).exists()
    if request.parts.skips_existing and unfinished is None and not remains:
        raise exists
    finished = find_finished_plan(settings, exists.path)

    if unfinished is None and not remains:
        if finished is None:
            raise exists
        return _finished_result(request, Ledger(finished), start)

    # a run folder without a plan was left by a run that was killed while it deleted the folder
    plan = finished
    if finished is None or (unfinished is not None and unfinished.digest() != finished.digest()):
        forced = settings.model_copy(update={"force": True})
        runner, _ = choose_runner(settings.runner, settings.address)
        plan = prepare_plan(replace(request, settings=forced, progress=SilentReporter()), runner)
    assert plan is not None
    if unfinished is not None and unfinished.digest() != plan.digest():
        raise exists

    with Ledger(plan) as ledger:
        announced = ledger.is_announced() or bool(plan.output_url)
        done = ledger.is_published() if announced else finished is not None
        if not done:
            raise exists
        ledger.remove_run_folder()
    return _finished_result(request, ledger, start)


def _find_unfinished_plan(named: str | None, output: str) -> Plan | None:
    """Return the plan in the run folder of an output, or None if there is none.

    `named` is the output as the user specified it, possibly a URL or None; `output` is its local
    path.
    """
    if named is not None and is_url(named):
        return mirror.read_plan(mirror.mirror_url(named))
    return read_stored_plan(Path(output))


def _finished_result(request: RunRequest, ledger: Ledger, start: float) -> RunResult:
    """Return the result for an output that an earlier run finished."""
    plan = ledger.plan
    ledger.resumed = len(plan.segments)
    place = redact_url(plan.output_url) if plan.output_url else plan.output
    request.progress.note(f"{place} is finished: nothing was left to run")

    opened = OpenRun(request.settings, ledger, start, frames_before=len(plan.reference_map))
    engine = resumed_report(plan, "inline").engine
    if plan.record is not None:
        engine = replace(engine, name=plan.record.engine, device=plan.record.device)
    return run_result(opened, engine, locate_plan(ledger), request.progress)


def run_result(
    opened: OpenRun, engine: EngineInfo, plan_place: str, progress: Reporter
) -> RunResult:
    """Return the result of a published run, with its quality if there is a ground truth."""
    plan, ledger = opened.plan, opened.ledger
    seconds = time.monotonic() - opened.start
    truth = opened.settings.ground_truth
    quality = None
    if truth is not None:
        quality = _measure_quality(truth, opened.settings, ledger.output, plan, progress)
    frames = len(plan.reference_map)
    return RunResult(
        output=plan.output_url or str(ledger.output),
        frames=frames,
        seconds=round(seconds, 3),
        fps=round((frames - opened.frames_before) / seconds, 3),
        engine=engine.name,
        device=engine.device,
        model="none" if plan.engine == "bicubic" else plan.model,
        scale=plan.enlargement,
        width=plan.width,
        height=plan.height,
        segments=len(plan.segments),
        resumed_segments=ledger.resumed,
        reference_map=plan_place,
        adapted=AdaptedResult.from_plan(plan.adaptation),
        references_per_frame=round(plan.reference_map.count_references() / frames, 3),
        capture=CaptureResult.from_plan(plan.capture),
        notes=plan.notes,
    ).with_quality(quality)


def _check_ground_truth(path: str | None, layout: GridSettings, plan: Plan) -> None:
    """Raise InputError, before hours of work, if the ground truth does not match the plan's output.

    `path` is the ground truth, or None if there is none.
    """
    if path is None:
        return

    check_measurable(plan)
    truth = open_recording(path, layout) if isinstance(plan.input, LightField) else probe(path)
    if (truth.width, truth.height) != (plan.width, plan.height):
        raise PairingError(
            f"the ground truth is {truth.width}x{truth.height}, but the output will be "
            f"{plan.width}x{plan.height}; pass the original from which the input was made"
        )


def _measure_quality(
    truth: str, layout: GridSettings, output: Path, plan: Plan, progress: Reporter
) -> Evaluation | LightFieldQuality:
    """Measure `output` against the ground truth, as `pipeline evaluate` does."""
    if isinstance(plan.input, LightField):
        made = open_light_field(output)
        assert made is not None
        return evaluate_light_field(made, truth, plan, layout, progress)

    local = str(fetch_copy(plan.output_url or str(output)))
    skip = list_left_out(plan)
    return evaluate(local, str(fetch_copy(truth)), skip=skip, plan=plan, progress=progress)
