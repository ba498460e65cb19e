"""What happens to a segment: decode and pair, enhance, encode; each stage without its thread.

`worker.py` joins them by queues. Only uint8 and uint16 frames pass between them: a 4K frame is
25 MB so, and 100 MB in fp32.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Generator
from dataclasses import dataclass, field, replace
from pathlib import Path

import cv2
import numpy as np

from deploy.protocol import Engine, Pixels
from pipeline.errors import StageError
from pipeline.execution.fusion import fuse
from pipeline.ledger.run_folder import RunFolder, Written
from pipeline.lightfield.intermediate import Storage
from pipeline.media.alpha import Plane, keeps
from pipeline.media.write.segment import SegmentWriter
from pipeline.pairing.choose_views import GIVEN
from pipeline.pairing.fit import prepare_reference, same_depth
from pipeline.pairing.upsample import as_pixels, upsample
from pipeline.recording import open_frames, read
from pipeline.schema.clip import Clip
from pipeline.schema.plan import Plan, Segment, SegmentRecord
from pipeline.schema.reference_map import ReferenceChoice, ReferenceMap


@dataclass(frozen=True)
class SegmentTask:
    """A segment and the references chosen for its frames: all that travels to a worker."""

    segment: Segment
    choices: ReferenceMap


def header(plan: Plan) -> Plan:
    """Return the plan without its segments and map, which travel with the tasks instead.

    Its paths are absolute: an actor's working directory is not the driver's.
    """
    reference = plan.reference.model_copy(update={"clip": _absolute(plan.reference.clip)})
    return plan.model_copy(
        update={
            "input": _absolute(plan.input),
            "reference": reference,
            "segments": (),
            "reference_map": ReferenceMap(),
        }
    )


def _absolute(clip: Clip) -> Clip:
    files = tuple(str(Path(file).absolute()) for file in clip.files)
    return clip.model_copy(update={"path": str(Path(clip.path).absolute()), "files": files})


def tasks(plan: Plan, indices: list[int]) -> list[SegmentTask]:
    """Return the tasks of the segments with these indices."""
    segments = {segment.index: segment for segment in plan.segments}
    ordered = plan.reference_map.in_order()
    wanted = [segments[index] for index in indices]
    return [SegmentTask(s, ordered.between(s.start_pts, s.end_pts)) for s in wanted]


@dataclass(frozen=True)
class Batch:
    """Decoded frames on their way to the engine, in presentation order."""

    task: SegmentTask
    pts: list[int]
    lr: Pixels
    """uint8 or uint16 N x h x w x 3 RGB."""
    paired: list[int]
    """Which of the N have a reference."""
    ref: Pixels | None
    """M x H x W x 3 RGB for the M paired frames; None when M = 0."""
    given: dict[int, Pixels]
    """Which of the N are in the reference itself, and pass through: H x W x 3 RGB each."""
    also: dict[int, list[Pixels]]
    """Further references of paired frames, H x W x 3 RGB each, to be fused with the first."""
    steps: dict[int, list[float]]
    """How far each of their references is, the first one included, in grid steps."""
    alpha: dict[int, Plane]
    """Transparency of the N, h x w each; empty where it is not kept."""
    concealed: tuple[int, ...]
    last: bool
    """Whether the segment ends with this batch."""


@dataclass(frozen=True)
class Enhanced:
    """SR frames on their way to the encoder, in presentation order."""

    task: SegmentTask
    pts: list[int]
    frames: list[Pixels]
    """H x W x 3 RGB each, or H x W x 4 with transparency."""
    concealed: tuple[int, ...]
    last: bool


class Where:
    """Where a stage is and since when, for its error messages and the watchdog."""

    def __init__(self) -> None:
        self.pts: int | None = None
        """LR pts of the frame being worked on."""
        self.since = time.monotonic()

    def at(self, pts: int) -> None:
        """Say that the stage has come to the frame at `pts`."""
        self.pts, self.since = pts, time.monotonic()


class DecodeStage:
    """Read LR frames and their references and pair them into batches."""

    def __init__(self, plan: Plan, *, threads: int = 0, borrow: bool = True) -> None:
        self._plan = plan
        self._borrow = borrow
        self._threads = threads
        self._keeps_alpha = keeps(plan.encoding.codec, plan.encoding.pix_fmt)
        self._references = open_frames(plan.reference.clip, cache=4, threads=threads)
        self._held: tuple[int, Pixels] | None = None
        self.where = Where()

    def close(self) -> None:
        """Close the reference's file."""
        self._references.close()

    def batches(self, task: SegmentTask) -> Generator[Batch]:
        """Yield the segment's frames in batches of at most `plan.batch`."""
        plan, segment = self._plan, task.segment
        expected = [choice.pts for choice in task.choices]
        self.where.at(expected[0] if expected else segment.start_pts)
        entries: list[_Entry] = []
        concealed: list[int] = []
        done = 0
        frames = read(
            plan.input,
            segment.start_pts,
            segment.end_pts,
            on_error=plan.on_error,
            threads=self._threads,
            expected=expected,
        )
        for frame in frames:
            if done == len(expected) or frame.pts != expected[done]:
                due = "the end" if done == len(expected) else f"pts {expected[done]}"
                raise StageError(f"got pts {frame.pts} where the plan has {due}; probe the input")
            # the batch before goes only now: the last one must wait until the reader has ended
            # well, because the encoder commits the segment with it
            if len(entries) == plan.batch:
                yield _batch(task, entries, concealed, last=False)
                entries, concealed = [], []
            alpha = frame.alpha if self._keeps_alpha else None
            entries.append(replace(self._entry(task.choices[done], frame.rgb), alpha=alpha))
            if frame.concealed:
                concealed.append(frame.pts)
            done += 1
            self.where.at(expected[min(done, len(expected) - 1)])
        if not entries or done != segment.frames or done != len(expected):
            raise StageError(
                f"got {done} frames of {segment.frames}; "
                "the input may be truncated: try --on-error conceal"
            )
        yield _batch(task, entries, concealed, last=True)

    def _entry(self, choice: ReferenceChoice, lr: Pixels) -> _Entry:
        """Pair an LR frame with its references; one that is given is taken as it is."""
        pts = choice.pts
        if choice.ref_pts is None:
            return _Entry(pts, lr)
        plan = self._plan
        if choice.why == GIVEN:
            given = same_depth(self._frame(choice.ref_pts), lr)
            if given.shape[:2] == (plan.height, plan.width):
                return _Entry(pts, lr, given=given)
        if not self._borrow:
            return _Entry(pts, lr)
        if choice.views is None:
            return _Entry(pts, lr, [self._reference(choice.ref_pts, lr)])
        numbers = choice.ref_pts, *choice.views.also
        steps = [choice.views.steps or 0.0, *choice.views.also_steps]
        return _Entry(pts, lr, [self._reference(ref, lr) for ref in numbers], steps)

    def _frame(self, ref_pts: int) -> Pixels:
        if self._held is None or self._held[0] != ref_pts:
            # let go of the old frame before the next is decoded: an 8K frame is 100 MB
            self._held = None
            self._held = (ref_pts, self._references.get(ref_pts))
        return self._held[1]

    def _reference(self, ref_pts: int, lr: Pixels) -> Pixels:
        reference = self._plan.reference
        return prepare_reference(
            self._frame(ref_pts),
            lr,
            self._plan.height,
            self._plan.width,
            affine=reference.affine,
            match_colour=reference.match_colour,
        )


@dataclass(frozen=True)
class _Entry:
    """A decoded frame and its references, the nearest first."""

    pts: int
    lr: Pixels
    references: list[Pixels] = field(default_factory=list)
    steps: list[float] = field(default_factory=list)
    given: Pixels | None = None
    alpha: Plane | None = None


def _batch(task: SegmentTask, entries: list[_Entry], concealed: list[int], *, last: bool) -> Batch:
    numbered = list(enumerate(entries))
    references = [entry.references[0] for entry in entries if entry.references]
    return Batch(
        task=task,
        pts=[entry.pts for entry in entries],
        lr=as_pixels(np.stack([entry.lr for entry in entries])),
        paired=[i for i, entry in numbered if entry.references],
        ref=as_pixels(np.stack(references)) if references else None,
        given={i: entry.given for i, entry in numbered if entry.given is not None},
        also={i: entry.references[1:] for i, entry in numbered if len(entry.references) > 1},
        steps={i: entry.steps for i, entry in numbered if len(entry.references) > 1},
        alpha={i: entry.alpha for i, entry in numbered if entry.alpha is not None},
        concealed=tuple(concealed),
        last=last,
    )


def _enhanced(engine: Engine, lr: Pixels, ref: Pixels) -> Pixels:
    sr = engine.enhance(lr, ref)
    if sr.shape != ref.shape or sr.dtype != ref.dtype:
        raise StageError(
            f"engine {engine.info.name} returned {sr.dtype} {sr.shape}, "
            f"expected {ref.dtype} {ref.shape}"
        )
    return sr


def _fused(engine: Engine, batch: Batch, frames: dict[int, Pixels]) -> dict[int, Pixels]:
    """Return the frames with further references: what all of these make, fused."""
    results = {i: [frames[i]] for i in batch.also}
    for depth in range(max(map(len, batch.also.values()), default=0)):
        deep = [i for i, references in batch.also.items() if len(references) > depth]
        references = as_pixels(np.stack([batch.also[i][depth] for i in deep]))
        for i, sr in zip(deep, _enhanced(engine, batch.lr[deep], references), strict=True):
            results[i].append(sr)
    return {i: fuse(batch.lr[i], several, batch.steps[i]) for i, several in results.items()}


def enhance(plan: Plan, engine: Engine, batch: Batch) -> Enhanced:
    """Run the network on the paired frames of a batch and plain up-sampling on the others."""
    frames = dict(batch.given)
    if batch.ref is not None:
        lr = batch.lr if len(batch.paired) == len(batch.pts) else batch.lr[batch.paired]
        frames |= zip(batch.paired, _enhanced(engine, lr, batch.ref), strict=True)
    frames |= _fused(engine, batch, frames)
    for i in range(len(batch.pts)):
        if i not in frames:
            frames[i] = upsample(batch.lr[i], plan.height, plan.width)
    for i, alpha in batch.alpha.items():
        large = cv2.resize(alpha, (plan.width, plan.height), interpolation=cv2.INTER_CUBIC)
        frames[i] = as_pixels(np.dstack([frames[i], large]))
    return Enhanced(
        task=batch.task,
        pts=batch.pts,
        frames=[frames[i] for i in range(len(batch.pts))],
        concealed=batch.concealed,
        last=batch.last,
    )


class EncodeStage:
    """Encode the frames of one segment after the other, and commit each at its end."""

    def __init__(self, plan: Plan, folder: RunFolder) -> None:
        self._plan = plan
        self._folder = folder
        self._storage = Storage(plan.input, plan.to)
        self._writer: SegmentWriter | None = None
        self._attempt: Path | None = None
        self._pts: list[int] = []
        self._concealed: tuple[int, ...] = ()
        self.where = Where()

    def write(self, frame: Pixels, pts: int, segment: int) -> None:
        """Encode one H x W x 3 or x 4 frame; the segment's first one opens its file."""
        self.where.at(pts)
        if self._writer is None:
            plan, clip = self._plan, self._storage.clip(pts)
            self._attempt = self._folder.attempt(segment)
            self._writer = SegmentWriter(
                self._attempt, clip, plan.encoding, plan.width, plan.height
            )
        self._writer.write(frame, self._storage.pts(pts))
        self._pts.append(pts)

    def conceal(self, pts: tuple[int, ...]) -> None:
        """Remember frames which stand for corrupt ones."""
        self._concealed += pts

    def finish(self, task: SegmentTask) -> SegmentRecord:
        """Close the segment's file and commit it."""
        assert self._writer is not None
        assert self._attempt is not None
        self._writer.close()
        written = Written(
            segment=task.segment.index,
            frames=len(self._pts),
            first_pts=self._pts[0],
            last_pts=self._pts[-1],
            concealed=self._concealed,
        )
        record = self._folder.commit(self._attempt, written)
        self._reset()
        return record

    def abandon(self) -> None:
        """Close and delete a segment that will not be finished."""
        writer, attempt = self._writer, self._attempt
        self._reset()
        try:
            if writer is not None:
                writer.close()
        finally:
            if attempt is not None:
                attempt.unlink(missing_ok=True)

    def _reset(self) -> None:
        self._writer = self._attempt = None
        self._pts, self._concealed = [], ()


class Clock:
    """Busy seconds of each stage, summed from several threads."""

    def __init__(self) -> None:
        self._seconds = {"decode": 0.0, "infer": 0.0, "encode": 0.0}
        self._lock = threading.Lock()

    def add(self, stage: str, seconds: float) -> None:
        """Count `seconds` of work for `stage`."""
        with self._lock:
            self._seconds[stage] += seconds

    def seconds(self) -> dict[str, float]:
        """Return the busy seconds by stage."""
        with self._lock:
            return dict(self._seconds)
