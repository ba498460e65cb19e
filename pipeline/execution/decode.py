"""The decode stage: read LR frames and their references, and combine them into batches."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass, field, replace
from operator import attrgetter
from typing import Any

import numpy as np

from pipeline.errors import StageError
from pipeline.execution.task import Batch, SegmentTask, StagePosition
from pipeline.media.alpha import Plane, keeps_alpha
from pipeline.media.read.identity import UnchangedSources
from pipeline.pairing.fit import prepare_reference
from pipeline.pairing.noise import Noise, find_excess_noise, find_step, measure_noise
from pipeline.pixels import Pixels, as_pixels, match_depth
from pipeline.recording import open_frames, read
from pipeline.schema.plan import Plan
from pipeline.schema.reference_map import ReferenceChoice

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
        self._borrow = borrow
        self._threads = threads
        self._read_frames = read_frames
        self._keeps_alpha = keeps_alpha(plan.encoding.codec, plan.encoding.pix_fmt)
        self._sources = UnchangedSources(plan)
        self._references = open_frames(plan.reference.clip, cache=4, threads=threads)
        self._last_reference: tuple[int, Pixels] | None = None
        self._noise: dict[int, Noise] = {}
        self.position = StagePosition()

    def close(self) -> None:
        """Close the reference's file."""
        self._references.close()

    def batches(self, task: SegmentTask) -> Generator[Batch]:
        """Yield the segment's frames in batches of at most `plan.batch`.

        Raises StageError if the frames of the input are not those in the plan, and
        ChangedInputError if the input or the reference changed since it was planned.
        """
        self._sources.check()
        try:
            yield from self._read_batches(task)
        except Exception:
            self._sources.check()  # a changed file explains any other error
            raise

    def _read_batches(self, task: SegmentTask) -> Generator[Batch]:
        plan, segment = self._plan, task.segment
        expected = [choice.pts for choice in task.choices]
        self.position.move_to(expected[0] if expected else segment.start_pts)

        entries: list[_Entry] = []
        concealed: list[int] = []
        done = 0
        frames = self._read_frames(
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
                raise StageError(
                    f"found a frame at pts {frame.pts}, expected {due} according to the plan; make "
                    "a new plan"
                )

            # A full batch leaves only when the next frame has arrived: the encoder commits the
            # segment with its last batch, which must wait until the reader ends without error.
            if len(entries) == plan.batch:
                yield _make_batch(task, entries, concealed, last=False)
                entries = []
                concealed = []

            alpha = frame.alpha if self._keeps_alpha else None
            entries.append(replace(self._pair_frame(task.choices[done], frame.rgb), alpha=alpha))
            if frame.concealed:
                concealed.append(frame.pts)
            done += 1
            self.position.move_to(expected[min(done, len(expected) - 1)])

        if not entries or done != segment.frames or done != len(expected):
            raise StageError(
                f"found {done} frames, expected {segment.frames}; the input may be truncated: try "
                "--on-error conceal"
            )
        # the encoder commits the segment with this batch
        self._sources.check()
        yield _make_batch(task, entries, concealed, last=True)

    def _pair_frame(self, choice: ReferenceChoice, lr: Pixels) -> _Entry:
        """Pair an LR frame with its references, or with the HR frame that is given for it."""
        pts = choice.pts
        if choice.ref_pts is None:
            return _Entry(pts, lr)

        plan = self._plan
        if choice.why == "given":
            given = match_depth(self._read_reference(choice.ref_pts), lr)
            if given.shape[:2] == (plan.height, plan.width):
                return _Entry(pts, lr, given=given)

        if not self._borrow:
            return _Entry(pts, lr)
        if choice.views is None:
            reference = self._fit_reference(choice.ref_pts, lr)
            noise = self._find_noise([choice.ref_pts], lr)
            return _Entry(pts, lr, [reference], noise=noise)

        numbers = [choice.ref_pts, *choice.views.also]
        steps = [choice.views.steps or 0.0, *choice.views.also_steps]
        references = [self._fit_reference(ref, lr) for ref in numbers]
        return _Entry(pts, lr, references, steps, noise=self._find_noise(numbers, lr))

    def _read_reference(self, ref_pts: int) -> Pixels:
        """Return a frame of the reference, which is decoded only once for consecutive uses."""
        if self._last_reference is None or self._last_reference[0] != ref_pts:
            # free the old frame before decoding the next: an 8K frame takes 100 MB
            self._last_reference = None
            self._last_reference = (ref_pts, self._references.get(ref_pts))
        return self._last_reference[1]

    def _fit_reference(self, ref_pts: int, lr: Pixels) -> Pixels:
        """Return a reference frame at the output's size, matched to the LR frame."""
        reference = self._plan.reference
        return prepare_reference(
            self._read_reference(ref_pts),
            lr,
            self._plan.height,
            self._plan.width,
            affine=reference.affine,
            match_colour=reference.match_colour,
        )

    def _find_noise(self, numbers: list[int], lr: Pixels) -> Noise | None:
        """Return the noise that `lr` does not show, of the noisiest of several references."""
        noisiest = max((self._measure(ref) for ref in numbers), key=attrgetter("coarse"))
        return find_excess_noise(noisiest, lr, self._plan.scale)

    def _measure(self, ref_pts: int) -> Noise:
        """Return the noise of a reference frame, which is measured only once."""
        if ref_pts not in self._noise:
            reference = self._read_reference(ref_pts)
            step = find_step(self._plan.reference.affine, len(reference), self._plan.height)
            self._noise[ref_pts] = measure_noise(reference, step)
        return self._noise[ref_pts]


@dataclass(frozen=True)
class _Entry:
    """A decoded frame and its references, the nearest first."""

    pts: int
    lr: Pixels
    references: list[Pixels] = field(default_factory=list)
    steps: list[float] = field(default_factory=list)
    given: Pixels | None = None
    alpha: Plane | None = None
    noise: Noise | None = None
    """The noise of the references that the LR frame does not show; None if there is little."""


def _make_batch(
    task: SegmentTask, entries: list[_Entry], concealed: list[int], *, last: bool
) -> Batch:
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
        noise={i: entry.noise for i, entry in numbered if entry.noise is not None},
        concealed=tuple(concealed),
        last=last,
    )
