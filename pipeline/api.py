"""The public functions: enhance a recording into a file, or iterate over its enhanced frames."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import Unpack

from deploy.load import load_engine
from deploy.protocol import EngineError
from pipeline.adaptation.request import use_adapted_file
from pipeline.errors import InputError
from pipeline.execution.decode import DecodeStage
from pipeline.execution.infer import enhance_batch
from pipeline.execution.task import plan_header, tasks_for
from pipeline.pixels import Pixels
from pipeline.planning.edited_plan import load_plan
from pipeline.planning.output import name_unwritten_output
from pipeline.planning.pinned import pin_plan
from pipeline.planning.plan import make_plan
from pipeline.progress import Reporter
from pipeline.remote.pipes import read_piped_settings
from pipeline.runs.result import RunResult
from pipeline.runs.run import run
from pipeline.schema.parsing import check_settings
from pipeline.schema.plan import Plan
from pipeline.schema.plan_file import read_plan
from pipeline.schema.run_options import RunOptions
from pipeline.schema.settings import RunSettings

AnyPath = str | PathLike[str]


@dataclass(frozen=True)
class SRFrame:
    """One enhanced frame."""

    seconds: float
    """Presentation time in seconds on the input's clock."""
    pts: int
    """Presentation time in ticks of the input's time base."""
    rgb: Pixels
    """uint8 or uint16 H x W x 3 RGB."""
    reference: float | None
    """Time of the frame's first reference minus the frame's own time, in seconds.

    None if the frame has no reference, or if the times are not known."""


def enhance(
    source: AnyPath,
    reference: AnyPath,
    output: AnyPath | None = None,
    *,
    progress: Reporter | None = None,
    **options: Unpack[RunOptions],
) -> RunResult:
    """Enhance a recording with an HR reference, as `pipeline run` does.

    `options` are the command's options, spelled with underscores: scale=4, engine="torch", crf=18,
    ground_truth="hr.mp4", force=True. Raises PipelineError, or one of its subclasses in
    `pipeline.errors`, if the run fails.
    """
    return run(_settings(source, reference, output, options), progress)


def enhanced_frames(
    source: AnyPath, reference: AnyPath, **options: Unpack[RunOptions]
) -> Iterator[SRFrame]:
    """Yield the enhanced frames in presentation order, without encoding anything.

    Only a few frames are in memory at a time. `options` are as for `enhance`, except that no
    weights are trained: `adapt` may be a file of adapted weights, "off", or "auto", which acts like
    "off". `consistent` is not possible, because its second pass needs written views. Raises
    PipelineError, or one of its subclasses, if the frames cannot be enhanced.
    """
    with tempfile.TemporaryDirectory(prefix="pipeline-frames-") as folder:
        given = _settings(source, reference, None, options)
        if given.consistent:
            raise InputError(
                "consistent=True is not possible for frames that are not written, because its "
                "second pass borrows from the written views of the first; use enhance"
            )
        with read_piped_settings(given, folder) as settings:
            # a plan needs an output, but nothing is written to it
            if settings.plan is None:
                name = name_unwritten_output(settings)
            else:
                name = _name_planned_output(settings.plan)
            named = settings.model_copy(update={"output": str(Path(folder) / name)})
            if named.to is not None:
                # without this condition, `to` would count as given, which a plan refuses
                named = named.model_copy(update={"to": None})
            chosen, request, from_file = use_adapted_file(named)
            if request.seconds is not None:
                raise InputError(
                    f"adapt={settings.adapt!r} is not possible for frames that are not written; "
                    'pass "off", or a file of adapted weights that `pipeline adapt` has written'
                )

            if chosen.plan is not None:
                plan = load_plan(chosen.plan, chosen, is_written=False)
            else:
                plan = make_plan(chosen, is_written=False)
            plan = plan.model_copy(update={"adaptation": from_file})
            yield from _enhance_frames(pin_plan(plan, is_written=False))


def _name_planned_output(path: str) -> str:
    """Return the name of the output of a stored plan, with the pattern of its pictures, if any."""
    plan = read_plan(path)
    return str(Path(Path(plan.output).name, plan.pictures))


def _enhance_frames(plan: Plan) -> Iterator[SRFrame]:
    """Yield the enhanced frames of a plan; raises InputError if its engine cannot be loaded."""
    try:
        engine = load_engine(
            plan.engine, model=plan.model, threads=plan.threads, pixels=plan.network_pixels
        )
    except EngineError as error:
        raise InputError(str(error)) from error

    distances = {choice.pts: choice.seconds for choice in plan.reference_map}
    with closing(DecodeStage(plan_header(plan), borrow=engine.info.borrows)) as decoder:
        for task in tasks_for(plan, [segment.index for segment in plan.segments]):
            for batch in decoder.batches(task):
                done = enhance_batch(plan, engine, batch)
                for pts, rgb in zip(done.pts, done.frames, strict=True):
                    yield SRFrame(plan.input.seconds(pts), pts, rgb, distances[pts])


def _settings(
    source: AnyPath, reference: AnyPath, output: AnyPath | None, options: RunOptions
) -> RunSettings:
    given = {**options, "input": source, "ref_stream": reference, "output": output}
    return check_settings(RunSettings, given)
