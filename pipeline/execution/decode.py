"""The decode stage: read LR frames, pair them with their references, and form batches."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import replace
from typing import Any

from pipeline.errors import StageError
from pipeline.execution.pair import FramePairer, PairedFrame, make_batch
from pipeline.execution.task import Batch, SegmentTask, StagePosition
from pipeline.media.alpha import keeps_alpha
from pipeline.media.planes import PlaneFormat
from pipeline.media.read.identity import UnchangedSources
from pipeline.pairing.edits.frames import EditedFrames
from pipeline.recording import Source, open_frames, read
from pipeline.schema.plan import Plan

ReadFrames = Callable[..., Iterator[Any]]  # the signature of `pipeline.recording.read`


class DecodeStage:
    """Reads the frames of segments and pairs them with their references."""

    def __init__(
        self,
        plan: Plan,
        *,
        threads: int = 0,
        borrow: bool = True,
        read_frames: ReadFrames = read,
    ) -> None:
        self._plan = plan
        self._threads = threads
        self._read_frames = read_frames
        self._keeps_alpha = keeps_alpha(plan.encoding.codec, plan.encoding.pix_fmt)
        self._sources = UnchangedSources(plan)
        self._references = open_frames(plan.reference.clip, cache=4, threads=threads)
        self._instants: Source | None = None
        edits = None
        if plan.reference.trusted is not None:
            # reads the input's frames at the times of key frames, which may be in other segments
            self._instants = open_frames(plan.input, cache=1, threads=threads, apart=True)
            edits = EditedFrames(plan, self._instants, self._references)
        self._pairer = FramePairer(plan, self._references, borrow=borrow, edits=edits)
        self.position = StagePosition()

    def close(self) -> None:
        """Close the files of the reference and of the input."""
        self._references.close()
        if self._instants is not None:
            self._instants.close()

    def batches(self, task: SegmentTask) -> Generator[Batch]:
        """Yield the segment's frames in batches of at most `plan.batch` frames.

        Raises StageError if the input's frames are not those in the plan, and ChangedInputError if
        the input or the reference has changed since it was planned.
        """
        self._sources.check()
        try:
            yield from self._read_batches(task)
        except Exception:
            self._sources.check()  # if a file has changed, report that instead
            raise

    def _read_batches(self, task: SegmentTask) -> Generator[Batch]:
        plan, segment = self._plan, task.segment
        expected = [choice.pts for choice in task.choices]
        self.position.move_to(expected[0] if expected else segment.start_pts)

        interval = _find_interval(plan, expected)
        entries: list[PairedFrame] = []
        concealed: list[int] = []
        done = 0
        frames = self._read_frames(
            plan.input,
            segment.start_pts,
            segment.end_pts,
            on_error=plan.on_error,
            threads=self._threads,
            expected=expected,
            planes=_find_plane_format(plan),
        )
        for frame in frames:
            if done == len(expected) or frame.pts != expected[done]:
                due = "the end" if done == len(expected) else f"pts {expected[done]}"
                raise StageError(
                    f"found a frame at pts {frame.pts}, but the plan expects {due}; make a new plan"
                )

            # Yield a full batch only once the next frame has arrived, because the encoder commits
            # the segment with its last batch, and the reader must have ended without an error
            # before that.
            if len(entries) == plan.batch:
                yield make_batch(task, entries, concealed, last=False)
                entries = []
                concealed = []

            if plan.planes:
                entries.append(PairedFrame(frame.pts, frame.rgb))
            else:
                alpha = frame.alpha if self._keeps_alpha else None
                entry = self._pairer.pair(task.choices[done], frame.rgb, interval)
                entries.append(replace(entry, alpha=alpha))
            if frame.concealed:
                concealed.append(frame.pts)
            done += 1
            self.position.move_to(expected[min(done, len(expected) - 1)])

        if not entries or done != segment.frames or done != len(expected):
            raise StageError(
                f"the segment has {done} frames, but the plan expects {segment.frames}; if the "
                "input is truncated, try --on-error conceal"
            )
        # the encoder commits the segment with this batch
        self._sources.check()
        yield make_batch(task, entries, concealed, last=True)


def _find_plane_format(plan: Plan) -> PlaneFormat | None:
    """Return the format of the enlarged planes to decode, or None if frames are decoded as RGB."""
    if not plan.planes:
        return None
    return PlaneFormat(plan.width, plan.height, plan.encoding.pix_fmt)


def _find_interval(plan: Plan, pts: Sequence[int]) -> float:
    """Return the interval between LR frames in seconds, from the frame rate if that is known.

    Otherwise, it is the mean interval between the `pts` of a segment, or 1 for a single frame. It
    is computed from the plan alone, because the references' weights depend on it and must be the
    same in every run.
    """
    if plan.input.frame_rate:
        return float(1 / plan.input.frame_rate)
    if len(pts) < 2:
        return 1.0
    return float((pts[-1] - pts[0]) * plan.input.time_base) / (len(pts) - 1)
