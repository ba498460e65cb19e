"""Write frames to stdout as they are finished (`-o - --stream`), for a program that reads them."""

from __future__ import annotations

import sys
import tempfile
from collections import Counter
from collections.abc import Sequence
from contextlib import closing
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import BinaryIO

from pipeline.errors import InputError, Interrupted, StageError, count_items
from pipeline.execution.decode import DecodeStage
from pipeline.execution.runners import ExecutionReport, run_tasks
from pipeline.execution.stream import StreamStage
from pipeline.execution.task import plan_header, tasks_for
from pipeline.execution.worker import SegmentWorker
from pipeline.interrupt import Interrupts
from pipeline.media.write.raw import (
    RawStreamWriter,
    StreamForm,
    check_stream_pix_fmt,
    choose_stream_pix_fmt,
    find_rate,
)
from pipeline.paths import is_url
from pipeline.planning.pinned import can_be_planes
from pipeline.progress import Reporter
from pipeline.recording import find_light_field
from pipeline.runs.conductor import (
    OpenRun,
    RunRequest,
    describe_execution,
    open_run,
    run_result,
)
from pipeline.runs.parts import RunParts
from pipeline.runs.result import RunResult
from pipeline.runs.stdout import write_all
from pipeline.schema.frame_size import match_pixel_aspect
from pipeline.schema.plan import Plan
from pipeline.schema.settings import RunSettings

# Settings that do not apply, because this process itself writes only uncompressed frames.
_EXCLUDED = (
    *("codec", "quality", "crf", "preset", "to", "ground_truth", "consistent", "address"),
    *("workers", "accelerator"),
)
_ENDED = (
    "the program reading stdout exited before it had read everything; check that program, or try "
    "-o FILE"
)


def stream_frames(stdout: BinaryIO, request: RunRequest, form: StreamForm) -> RunResult:
    """Enhance one input and write its frames to `stdout` in order, each as soon as it is done.

    Raises InputError if the settings do not suit a stream, StageError if a stage fails or if the
    program reading `stdout` exits early, and Interrupted after a signal. Nothing is left to resume.
    """
    settings = request.settings
    _check_request(stdout, request)
    if settings.pix_fmt is not None:
        check_stream_pix_fmt(settings.pix_fmt, form)  # before anything slow
    with tempfile.TemporaryDirectory(prefix="pipeline-stream-") as folder:
        # training needs a run folder, which is named after an output
        changes: dict[str, object] = {"output": str(Path(folder) / "stream.mkv"), "force": True}
        if settings.plan is None:
            changes["codec"] = "rawvideo" if settings.pix_fmt and form == "rawvideo" else "ffv1"
        named = RunSettings.model_validate(
            {name: getattr(settings, name) for name in settings.model_fields_set} | changes
        )
        unwritten = replace(request, settings=named, is_written=False)
        return _stream_once(stdout, unwritten, form)


def _check_request(stdout: BinaryIO, request: RunRequest) -> None:
    """Raise InputError if stdout is a terminal, or if a setting or the input cannot be streamed."""
    if stdout.isatty():
        raise InputError(
            "stdout is a terminal, but --stream needs a program or a file to receive the frames; "
            "add | ffplay -"
        )
    settings = request.settings
    for name in _EXCLUDED:
        value = getattr(settings, name)
        if value is not None and value is not False:
            raise InputError(
                f"--{name.replace('_', '-')} does not apply to --stream, which writes only frames, "
                "uncompressed and in this process; leave it out, or write a file with -o FILE"
            )
    if not is_url(settings.input) and find_light_field(settings.input, settings) is not None:
        raise InputError(
            f"{settings.input} is a light field, but --stream needs a video or pictures; try "
            "-o FOLDER"
        )
    for name, value in (("runner", "ray"), ("placement", "split")):
        if getattr(settings, name) == value:
            raise InputError(
                f"--{name} {value} does not apply to --stream, which runs in this process; leave "
                "it out, or write a file with -o FILE"
            )


def _stream_once(stdout: BinaryIO, request: RunRequest, form: StreamForm) -> RunResult:
    """Run the request, and turn a signal into an error that states how far the run got."""
    progress = request.progress
    worker: SegmentWorker | None = None
    with Interrupts():
        try:
            opened = open_run(request, runner="inline")
            with closing(opened):
                plan = _suit_stream(opened.plan, form)
                losses = _list_losses(plan, form)
                for note in losses:
                    progress.note(note)
                progress.start(len(plan.reference_map), 0)

                worker = _start_worker(stdout, opened, plan, form, request.parts)
                with worker:
                    report = _execute(worker, opened, plan, progress)
                progress.close()
                progress.note(describe_execution(report))
                result = run_result(opened, report.engine, "", progress)
        except KeyboardInterrupt:
            done = 0 if worker is None else worker.frames_done
            raise Interrupted(
                f"interrupted after {count_items(done, 'frame')}; a stream cannot be resumed: run "
                "the same command again from the beginning, or use -o FILE"
            ) from None
        finally:
            progress.close()
    notes = (*result.notes, *losses)
    return result.model_copy(update={"output": "-", "reference_map": "", "notes": notes})


def _suit_stream(plan: Plan, form: StreamForm) -> Plan:
    """Return the plan with a pixel format for the stream; raises InputError if there is none."""
    pix_fmt = choose_stream_pix_fmt(plan.encoding.pix_fmt, form)
    encoding = plan.encoding.model_copy(update={"codec": "rawvideo", "pix_fmt": pix_fmt})
    suited = plan.model_copy(update={"encoding": encoding})
    return suited.model_copy(update={"planes": plan.planes and can_be_planes(suited)})


def _find_rate(plan: Plan) -> Fraction:
    pts = plan.reference_map.pts
    return find_rate(plan.input, pts[0], pts[-1], len(pts))


def _is_even(pts: Sequence[int], step: Fraction) -> bool:
    """Return whether all frames are within half a frame of evenly spaced times.

    A tick of `pts` is `step` frames long.
    """
    return all(
        2 * abs((each - pts[0]) * step.numerator - number * step.denominator) <= step.denominator
        for number, each in enumerate(pts)
    )


def _list_losses(plan: Plan, form: StreamForm) -> list[str]:
    """Return a sentence about the stream's format, and sentences about what the stream loses."""
    clip, rate = plan.input, _find_rate(plan)
    notes = [
        f"streaming {plan.width}x{plan.height} {plan.encoding.pix_fmt} at {rate} frames per second "
        f"as {form}"
    ]
    if not _is_even(plan.reference_map.in_order().pts, clip.time_base * rate):
        notes.append(
            "the input's frames are unevenly spaced in time, but a stream has evenly spaced "
            "frames; use -o FILE to keep the times"
        )

    lost = Counter(stream.type for stream in getattr(clip, "other_streams", ()))
    words = [f"{count} {kind}" for kind, count in lost.items()]
    words += ["the transparency"] if clip.alpha else []
    words += ["the rotation"] if clip.rotation else []
    words += ["the HDR metadata"] if clip.hdr is not None else []
    if words:
        notes.append(f"a stream cannot carry {', '.join(words)}")
    return notes


def _start_worker(
    stdout: BinaryIO, opened: OpenRun, plan: Plan, form: StreamForm, parts: RunParts
) -> SegmentWorker:
    engine = opened.engine
    assert engine is not None
    header = plan_header(plan)
    writer = RawStreamWriter(
        lambda data: _write_frame(stdout.fileno(), data),
        form,
        match_pixel_aspect(plan.input, plan.width, plan.height),
        plan.encoding.pix_fmt,
        (plan.height, plan.width),
        _find_rate(plan),
    )
    stages = DecodeStage(header, borrow=engine.info.borrows), StreamStage(writer)
    return SegmentWorker(header, opened.ledger.folder, engine, stages=stages, enhance=parts.enhance)


def _execute(
    worker: SegmentWorker, opened: OpenRun, plan: Plan, progress: Reporter
) -> ExecutionReport:
    """Run all segments; raises StageError unless every frame of the plan was written."""
    assert opened.engine is not None
    tasks = tasks_for(plan, [segment.index for segment in plan.segments])
    written = sum(record.frames for record in run_tasks(worker, tasks, progress))
    if written != len(plan.reference_map):
        raise StageError(
            f"{count_items(written, 'frame')} were written, but the plan has "
            f"{len(plan.reference_map)}; make a new plan"
        )
    return ExecutionReport("inline", opened.engine.info, worker.clock.seconds())


def _write_frame(descriptor: int, data: bytes) -> None:
    """Write a frame without a buffer, as a blocked thread would hold the buffer's lock at exit.

    Raises StageError if the frame cannot be written.
    """
    try:
        write_all(descriptor, data)
    except BrokenPipeError:
        # keep the interpreter from flushing the broken pipe when it exits
        sys.stdout = None
        raise StageError(_ENDED) from None
    except OSError as error:
        raise StageError(
            f"cannot write to stdout ({error.strerror}); check the program or file that receives "
            "it, or try -o FILE"
        ) from error
