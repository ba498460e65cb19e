"""One run from settings to result: plan, run, assemble, verify, publish, evaluate."""

from __future__ import annotations

import shutil
import time
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path

from deploy.protocol import Engine, EngineError, EngineInfo
from pipeline.assembly.finish import finish, plan_path, plan_place
from pipeline.assembly.record import save_record
from pipeline.errors import InputError, Interrupted, OutputExistsError, PairingError, already_there
from pipeline.execution.runners import choose_runner, frames_committed, run_inline
from pipeline.interrupt import Interrupts
from pipeline.ledger.ledger import Ledger
from pipeline.ledger.run_folder import find_stored_plan, run_folder_of
from pipeline.lightfield.opening import open_light_field
from pipeline.media.read.probe import probe
from pipeline.pairing.second_pass import first_output, first_settings, is_first_pass_of, second_plan
from pipeline.planning.edited_plan import load_plan
from pipeline.planning.pictures import check_measurable
from pipeline.planning.pinned import settle
from pipeline.planning.plan import make_plan
from pipeline.progress import Reporter, Silent, limiting
from pipeline.recording import open_recording
from pipeline.remote.cache import fetch_copy
from pipeline.remote.run_urls import fetch_inputs, with_urls
from pipeline.schema.clip import LightField, Model
from pipeline.schema.plan import Plan
from pipeline.schema.settings import RunSettings


class RunResult(Model):
    """What a finished run says about itself; the fields of `--json`."""

    output: str
    frames: int
    seconds: float
    """Wall-clock time of this run, planning to publishing."""
    fps: float
    """Frames enhanced by this run (not the resumed ones) per second of it."""
    engine: str
    device: str
    model: str
    scale: int
    segments: int
    resumed_segments: int
    reference_map: str
    """Path of the plan, with its reference map, beside the output."""
    notes: tuple[str, ...] = ()
    """What was guessed, rounded or left out, as `pipeline plan` said beforehand."""
    psnr: float | None = None
    ssim: float | None = None


_LAST: dict[tuple[str, str, str, int], Engine] = {}
"""The last engine that was loaded, by what decides it."""


@dataclass
class _State:
    """What an interruption needs to know."""

    ledger: Ledger | None = None
    published: bool = False


def run(settings: RunSettings, progress: Reporter | None = None) -> RunResult:
    """Do everything `settings` asks for; raises PipelineError with what is committed kept."""
    if settings.consistent:
        return _run_twice(settings, progress)
    return _run_once(settings, progress)


def _run_once(settings: RunSettings, progress: Reporter | None) -> RunResult:
    state = _State()
    progress = progress or Silent()
    with Interrupts() as interrupts:
        try:
            return _run(settings, progress, interrupts, state)
        except KeyboardInterrupt:
            raise Interrupted(_interruption(state)) from None
        finally:
            progress.close()


def _run_twice(settings: RunSettings, progress: Reporter | None) -> RunResult:
    """Run a light field's first pass, if it is not there yet, and then the second."""
    plan = settle(make_plan(settings))
    first = first_output(Path(plan.output))
    if not is_first_pass_of(plan_path(first), plan):
        run(first_settings(settings, plan), progress)
    done = _run_once(settings, progress)
    shutil.rmtree(first)
    plan_path(first).unlink()
    return done


def _interruption(state: _State) -> str:
    if state.ledger is None:
        return "interrupted before anything was written; run the same command again"
    if state.published:
        return f"interrupted after {state.ledger.output} was published; it is complete"
    done, total = len(state.ledger.records), len(state.ledger.plan.segments)
    return (
        f"interrupted with {done} of {total} segments committed; "
        "run the same command again to resume"
    )


def _run(
    settings: RunSettings, progress: Reporter, interrupts: Interrupts, state: _State
) -> RunResult:
    start = time.monotonic()
    try:
        plan = prepare(settings, progress)
    except OutputExistsError:
        return already_done(settings, start)
    runner, why = choose_runner(settings.runner, settings.address)
    if settings.placement == "split" and runner == "inline":
        raise InputError(
            "found --placement split without Ray, expected actors to place; add --runner ray"
        )
    # inline: an engine that cannot be had is found out before anything is written
    engine = _engine(plan, progress) if runner == "inline" else None
    with Ledger(plan) as ledger:
        state.ledger = ledger
        tell(ledger, progress)
        progress.note(f"runner {runner}: {why}")
        before = frames_committed(ledger)
        progress.start(len(plan.reference_map), before)
        if engine is not None:
            info, busy = engine.info, run_inline(ledger, engine, progress)
        else:
            info, busy = _run_ray(ledger, settings, progress, interrupts)
        progress.close()
        progress.note(_summary(info, busy, placed=runner == "ray" and settings.placement == "auto"))
        reference_map = finish(ledger, interrupts, force=settings.force)
        state.published = True
    if not plan.output_url:  # the plan at a URL is written once
        trouble = save_record(
            settings,
            plan,
            Path(reference_map),
            info,
            busy,
            runner=runner,
            frames=len(plan.reference_map) - before,
            seconds=time.monotonic() - start,
        )
        if trouble:
            progress.note(trouble)
    return conclude(settings, ledger, info, reference_map, before=before, start=start)


def prepare(settings: RunSettings, progress: Reporter) -> Plan:
    """Return the settled plan of a run and say what it says."""
    given, settings = settings, fetch_inputs(settings)
    plan = load_plan(settings.plan, settings) if settings.plan else make_plan(settings)
    plan = second_plan(plan) if settings.consistent else plan
    plan = settle(with_urls(plan, given))
    _check_ground_truth(settings, plan)
    for note in plan.notes:
        progress.note(note)
    return plan


def tell(ledger: Ledger, progress: Reporter) -> None:
    """Say what was found in the run folder."""
    if ledger.note:
        progress.note(ledger.note)
    if ledger.resumed:
        total = len(ledger.plan.segments)
        progress.note(f"resuming: {ledger.resumed} of {total} segments are done")


def conclude(
    settings: RunSettings,
    ledger: Ledger,
    info: EngineInfo,
    reference_map: str,
    *,
    before: int,
    start: float,
) -> RunResult:
    """Return what a run says about itself; `before` frames were done when it began."""
    plan = ledger.plan
    seconds = time.monotonic() - start
    psnr, ssim = _evaluate(settings, ledger.output, plan)
    frames = len(plan.reference_map)
    return RunResult(
        output=plan.output_url or str(ledger.output),
        frames=frames,
        seconds=round(seconds, 3),
        fps=round((frames - before) / seconds, 3),
        engine=info.name,
        device=info.device,
        model=info.model,
        scale=plan.scale,
        segments=len(plan.segments),
        resumed_segments=ledger.resumed,
        reference_map=reference_map,
        notes=plan.notes,
        psnr=psnr,
        ssim=ssim,
    )


def already_done(settings: RunSettings, start: float) -> RunResult:
    """Return the result of a run that was killed after it had published its output.

    Raises OutputExistsError for an output of anything else.
    """
    plan = prepare(settings.model_copy(update={"force": True}), Silent())
    stored = find_stored_plan(plan)
    same = stored is not None and stored.digest() == plan.digest()
    # without a plan it is what a run that was killed in its last act did not get to remove
    remains = stored is None and run_folder_of(Path(plan.output)).exists()
    with Ledger(plan) if same or remains else nullcontext() as ledger:
        if ledger is None or remains or not ledger.is_published():
            raise already_there(plan.output)
        ledger.remove_run_folder()
        ledger.resumed = len(plan.segments)
    frames, beside = len(plan.reference_map), plan_place(ledger)
    return conclude(settings, ledger, idle(plan), beside, before=frames, start=start)


def idle(plan: Plan) -> EngineInfo:
    """Return what is said of the engine when nothing was left to run."""
    return EngineInfo(
        name=plan.engine,
        device="none",
        model=plan.model,
        precision="",
        multiple=1,
        bytes_per_pixel=0,
        reason="nothing was left to run",
    )


def _engine(plan: Plan, progress: Reporter) -> Engine:
    """Load the plan's engine, or return the last one: the inputs of a batch mostly share it."""
    wanted = plan.engine, plan.model, plan.model_sha256, plan.threads
    if wanted not in _LAST:
        from deploy.load import load_engine  # imports torch

        _LAST.clear()
        try:
            _LAST[wanted] = load_engine(
                plan.engine, model=plan.model, threads=plan.threads, notify=progress.note
            )
        except EngineError as error:
            raise InputError(str(error)) from error
    return _LAST[wanted]


def _run_ray(
    ledger: Ledger, settings: RunSettings, progress: Reporter, interrupts: Interrupts
) -> tuple[EngineInfo, dict[str, float]]:
    from pipeline.execution.cluster.connection import cluster

    plan = ledger.plan
    if not ledger.pending_segments():
        # everything was committed before: no cluster is started for it
        return idle(plan), {}
    with cluster(settings.address, interrupts, workers=settings.workers):
        from pipeline.execution.cluster.actor import Setup
        from pipeline.execution.cluster.demand import demand_for
        from pipeline.execution.cluster.pool import run_on_ray
        from pipeline.execution.task import plan_header

        setup = Setup(
            plan_header(plan),
            ledger.folder,
            plan.engine,
            plan.model,
            plan.threads,
            settings.placement,
        )
        demand = demand_for(setup, settings.workers, settings.accelerator)
        report = run_on_ray(ledger, setup, progress, demand)
    return report.engine, report.busy


def _summary(info: EngineInfo, busy: dict[str, float], *, placed: bool = False) -> str:
    """Return what ran and how long its stages were busy; `placed`: --placement was left to us."""
    stages = ", ".join(f"{name} {seconds:.1f} s" for name, seconds in busy.items())
    limit = limiting(busy)
    said = f"engine {info.name} on {info.device} ({info.reason}); busy: {stages}"
    said += f"; limited by {limit}" if limit else ""
    if placed and limit != "infer" and info.device.startswith("cuda") and busy:
        said += ", the GPU waits: where its node is short of cores, try --placement split"
    return said


def _check_ground_truth(settings: RunSettings, plan: Plan) -> None:
    """Refuse a ground truth of another size now, not after hours of work."""
    if settings.ground_truth is None:
        return
    check_measurable(plan)
    if isinstance(plan.input, LightField):
        truth = open_recording(settings.ground_truth, settings)
    else:
        truth = probe(settings.ground_truth)
    if (truth.width, truth.height) != (plan.width, plan.height):
        raise PairingError(
            f"found a ground truth of {truth.width}x{truth.height}, expected the output's "
            f"{plan.width}x{plan.height}; give the original the input was made from"
        )


def _evaluate(settings: RunSettings, output: Path, plan: Plan) -> tuple[float | None, float | None]:
    if settings.ground_truth is None:
        return None, None
    if isinstance(plan.input, LightField):
        from pipeline.measuring.clips import evaluate_light_field

        made = open_light_field(output)
        assert made is not None
        found = evaluate_light_field(made, settings.ground_truth, plan, settings)
        return found.psnr, found.ssim
    from pipeline.measuring.clips import evaluate  # imports torch

    made_at = plan.output_url or str(output)
    result = evaluate(str(fetch_copy(made_at)), str(fetch_copy(settings.ground_truth)))
    return result.psnr, result.ssim
