"""The decode stage: read LR frames and their references, and combine them into batches."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import dataclass, field, replace
from operator import attrgetter
from typing import Any

import numpy as np
from numpy.typing import NDArray

from crossnetpp.networks.priors import weigh_references
from pipeline.errors import StageError
from pipeline.execution.fusion import STEP_DECADES
from pipeline.execution.task import Batch, ReferenceGroup, SegmentTask, StagePosition
from pipeline.media.alpha import Plane, keeps_alpha
from pipeline.media.read.identity import UnchangedSources
from pipeline.pairing.capture import ReferenceFitter
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
        self._kept: dict[int, Pixels] = {}
        self._recoloured: dict[int, Pixels] = {}
        self._fitter = ReferenceFitter(plan)
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

        interval = _find_interval(plan, expected)
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
            entry = self._pair_frame(task.choices[done], frame.rgb, interval)
            entries.append(replace(entry, alpha=alpha))
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

    def _pair_frame(self, choice: ReferenceChoice, lr: Pixels, interval: float) -> _Entry:
        """Pair an LR frame with its references, or with the HR frame that is given for it.

        `interval` is the time between two LR frames in seconds.
        """
        pts = choice.pts
        if choice.ref_pts is None:
            return _Entry(pts, lr)

        plan = self._plan
        if choice.why == "given":
            given = match_depth(self._read_references(choice.references[:1])[0], lr)
            if given.shape[:2] == (plan.height, plan.width):
                return _Entry(pts, lr, given=given)

        if not self._borrow:
            return _Entry(pts, lr)
        numbers = choice.references
        self._read_references(numbers)
        return _Entry(
            pts,
            lr,
            [self._fit_reference(number, lr) for number in numbers],
            _weigh_choice(choice, plan.reference.select, interval),
            noise=self._find_noise(numbers, lr),
        )

    def _read_references(self, numbers: Sequence[int]) -> list[Pixels]:
        """Return frames of the reference; those of the frame before are not decoded again."""
        # free the others before decoding the next: an 8K frame takes 100 MB
        self._kept = {ref: self._kept[ref] for ref in numbers if ref in self._kept}
        self._recoloured = {
            ref: self._recoloured[ref] for ref in self._kept.keys() & self._recoloured.keys()
        }
        # a video is read fastest in rising order
        for ref in sorted(set(numbers) - self._kept.keys()):
            self._kept[ref] = self._references.get(ref)
        return [self._kept[ref] for ref in numbers]

    def _fit_reference(self, ref_pts: int, lr: Pixels) -> Pixels:
        """Return a reference frame in use at the output's size, matched to the LR frame."""
        if ref_pts not in self._recoloured:
            self._recoloured[ref_pts] = self._fitter.convert(self._kept[ref_pts])
        return self._fitter.fit(self._recoloured[ref_pts], lr)

    def _find_noise(self, numbers: Sequence[int], lr: Pixels) -> Noise | None:
        """Return the noise that `lr` does not show, of the noisiest of several references."""
        noisiest = max((self._measure(ref) for ref in numbers), key=attrgetter("coarse"))
        return find_excess_noise(noisiest, lr, self._plan.scale)

    def _measure(self, ref_pts: int) -> Noise:
        """Return the noise of a reference frame in use, which is measured only once."""
        if ref_pts not in self._noise:
            reference = self._kept[ref_pts]
            step = find_step(self._plan.reference.affine, len(reference), self._plan.height)
            self._noise[ref_pts] = measure_noise(reference, step)
        return self._noise[ref_pts]


@dataclass(frozen=True)
class _Entry:
    """A decoded frame and its references, the best first."""

    pts: int
    lr: Pixels
    references: list[Pixels] = field(default_factory=list)
    weights: NDArray[np.float32] | None = None
    """The weight of each reference; None without any."""
    given: Pixels | None = None
    alpha: Plane | None = None
    noise: Noise | None = None
    """The noise of the references that the LR frame does not show; None if there is little."""


def _find_interval(plan: Plan, pts: Sequence[int]) -> float:
    """Return the mean time between two LR frames in seconds, from the `pts` of a segment if needed.

    It depends on the plan alone, and so do the weights of references.
    """
    if plan.input.frame_rate:
        return float(1 / plan.input.frame_rate)
    if len(pts) < 2:
        return 1.0
    return float((pts[-1] - pts[0]) * plan.input.time_base) / (len(pts) - 1)


def _weigh_choice(choice: ReferenceChoice, select: str, interval: float) -> NDArray[np.float32]:
    """Return the weight of each reference of a frame by its distance in grid steps or frames."""
    if choice.views is not None:
        steps = [choice.views.steps or 0.0, *choice.views.also_steps]
        return weigh_references(steps, STEP_DECADES)

    # a reference that was chosen because it looks alike is not worse for being far away in time
    if select == "content" or choice.seconds is None or not choice.also_seconds:
        return np.ones(len(choice.references), np.float32)
    frames = [abs(each) / interval for each in (choice.seconds, *choice.also_seconds)]
    return weigh_references(frames)


def _make_batch(
    task: SegmentTask, entries: list[_Entry], concealed: list[int], *, last: bool
) -> Batch:
    numbered = list(enumerate(entries))
    return Batch(
        task=task,
        pts=[entry.pts for entry in entries],
        lr=as_pixels(np.stack([entry.lr for entry in entries])),
        groups=_group_references(entries),
        given={i: entry.given for i, entry in numbered if entry.given is not None},
        alpha={i: entry.alpha for i, entry in numbered if entry.alpha is not None},
        noise={i: entry.noise for i, entry in numbered if entry.noise is not None},
        concealed=tuple(concealed),
        last=last,
    )


def _group_references(entries: list[_Entry]) -> list[ReferenceGroup]:
    """Return the frames that have references in groups with equally many, the fewest first."""
    by_count: dict[int, list[int]] = {}
    for i, entry in enumerate(entries):
        if entry.references:
            by_count.setdefault(len(entry.references), []).append(i)

    return [
        ReferenceGroup(
            frames=frames,
            refs=[
                as_pixels(np.stack([entries[i].references[rank] for i in frames]))
                for rank in range(count)
            ],
            weights=np.stack([w for i in frames if (w := entries[i].weights) is not None]),
        )
        for count, frames in sorted(by_count.items())
    ]
