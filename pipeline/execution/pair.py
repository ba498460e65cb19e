"""Pair LR frames with their references on the network's grid, and combine them into batches.

This is the same for decoded frames and for frames that are passed as arrays.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from operator import attrgetter
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from crossnetpp.networks.priors import weigh_references
from pipeline.execution.fusion import STEP_DECADES
from pipeline.execution.resize import resize_picture
from pipeline.execution.restore import restore_frame
from pipeline.execution.task import Batch, ReferenceGroup, SegmentTask
from pipeline.media.alpha import Plane
from pipeline.pairing.capture import ReferenceFitter, make_taps
from pipeline.pairing.choose_views import SAME_INSTANT
from pipeline.pairing.edits.frames import EditedFrames
from pipeline.pairing.noise import Noise, find_excess_noise, find_step, measure_noise
from pipeline.pixels import Pixels, as_pixels, match_depth
from pipeline.schema.plan import Plan
from pipeline.schema.reference_map import ReferenceChoice


class ReferencePictures(Protocol):
    """An object that reads a reference's pictures by pts."""

    def get(self, pts: int) -> Pixels:
        """Return the picture at exactly `pts` as uint8 or uint16 H x W x 3 RGB."""
        ...


@dataclass(frozen=True)
class PairedFrame:
    """An LR frame and its references, best first."""

    pts: int
    lr: Pixels
    references: list[Pixels] = field(default_factory=list)
    weights: NDArray[np.float32] | None = None
    """The weight of each reference, or None without references."""
    given: Pixels | None = None
    """The H x W x 3 frame that the reference provides and that is output unchanged, if any."""
    alpha: Plane | None = None
    """The alpha (h x w) of the LR frame, if any."""
    noise: Noise | None = None
    """Noise of the references that exceeds the LR frame's; None if the excess is small."""


class FramePairer:
    """Pairs LR frames with the references chosen in a plan."""

    def __init__(
        self,
        plan: Plan,
        references: ReferencePictures,
        *,
        borrow: bool = True,
        edits: EditedFrames | None = None,
    ) -> None:
        """Pair frames as `plan` says; without `borrow`, frames get no references.

        `edits`, if any, applies the edits of trusted key frames to LR frames.
        """
        self._plan = plan
        self._edits = edits
        trusted = plan.reference.trusted
        self._trusted = (
            {} if trusted is None else dict(zip(trusted.pts, trusted.ref_pts, strict=True))
        )
        self._borrow = borrow
        self._references = references
        self._kept: dict[int, Pixels] = {}
        self._recoloured: dict[int, Pixels] = {}
        self._fitter = ReferenceFitter(plan)
        self._noise: dict[int, Noise] = {}

    def pair(self, choice: ReferenceChoice, lr: Pixels, interval: float) -> PairedFrame:
        """Return an LR frame with its references, or with the HR frame that is output in its place.

        `lr` is h x w x 3, and `interval` is the time between LR frames in seconds.
        """
        pts, plan = choice.pts, self._plan
        given = self._find_given(choice, lr)
        if given is not None:
            return PairedFrame(pts, lr, given=given)
        if self._edits is not None:
            lr = self._edits.edit(pts, lr)
        if choice.ref_pts is None:
            return PairedFrame(pts, lr)

        if not self._borrow:
            return PairedFrame(pts, lr)
        numbers = choice.references
        self._read_references(numbers)
        references = [self._fit_reference(number, lr) for number in numbers]
        # in a trusted key frame, grain and texture are intended, and not noise
        noise = None if self._trusted else self._find_noise(numbers, lr)
        if plan.restores_from_db is not None and noise is None and _is_same_instant(choice):
            kernel = make_taps(plan.capture)
            lr = restore_frame(lr, references[0], kernel, plan.restores_from_db)
        weights = _weigh_choice(choice, plan.reference.select, interval)
        return PairedFrame(pts, lr, references, weights, noise=noise)

    def _find_given(self, choice: ReferenceChoice, lr: Pixels) -> Pixels | None:
        """Return the picture that becomes a frame's output unchanged, or None if there is none.

        It is an HR view of a light field, or a trusted key frame, which is resized if necessary.
        """
        plan = self._plan
        if choice.why == "given":
            given = match_depth(self._read_references(choice.references[:1])[0], lr)
            return given if given.shape[:2] == (plan.height, plan.width) else None

        is_key = choice.ref_pts is not None and self._trusted.get(choice.pts) == choice.ref_pts
        if not is_key or plan.reference.affine is not None:
            return None
        key = match_depth(self._read_references(choice.references[:1])[0], lr)
        return resize_picture(key, plan.height, plan.width)

    def _read_references(self, numbers: Sequence[int]) -> list[Pixels]:
        """Return the reference's frames at the pts in `numbers`, and keep only these cached."""
        # free the other frames before decoding more, because an 8K frame takes 100 MB
        self._kept = {ref: self._kept[ref] for ref in numbers if ref in self._kept}
        self._recoloured = {
            ref: self._recoloured[ref] for ref in self._kept.keys() & self._recoloured.keys()
        }
        # a video is read fastest in order of time
        for ref in sorted(set(numbers) - self._kept.keys()):
            self._kept[ref] = self._references.get(ref)
        return [self._kept[ref] for ref in numbers]

    def _fit_reference(self, ref_pts: int, lr: Pixels) -> Pixels:
        """Return a cached reference frame at the network's size, fitted to the LR frame."""
        if ref_pts not in self._recoloured:
            self._recoloured[ref_pts] = self._fitter.convert(self._kept[ref_pts])
        return self._fitter.fit(self._recoloured[ref_pts], lr)

    def _find_noise(self, numbers: Sequence[int], lr: Pixels) -> Noise | None:
        """Return how much noisier the noisiest reference is than `lr`, or None if hardly at all."""
        noisiest = max((self._measure(ref) for ref in numbers), key=attrgetter("coarse"))
        return find_excess_noise(noisiest, lr, self._plan.scale)

    def _measure(self, ref_pts: int) -> Noise:
        """Return the noise of a cached reference frame, which is measured only once."""
        if ref_pts not in self._noise:
            reference = self._kept[ref_pts]
            height, _ = self._plan.network_size
            step = find_step(self._plan.reference.affine, len(reference), height)
            self._noise[ref_pts] = measure_noise(reference, step)
        return self._noise[ref_pts]


def _is_same_instant(choice: ReferenceChoice) -> bool:
    """Return whether a frame of a clip and its first reference show the same instant."""
    seconds = choice.seconds
    return choice.views is None and seconds is not None and abs(seconds) < SAME_INSTANT


def _weigh_choice(choice: ReferenceChoice, select: str, interval: float) -> NDArray[np.float32]:
    """Return the weights of a frame's K references (float32, K).

    A weight depends on the reference's distance in grid steps or in frames, but is 1 if the
    references were chosen by content.
    """
    if choice.views is not None:
        steps = [choice.views.steps or 0.0, *choice.views.also_steps]
        return weigh_references(steps, STEP_DECADES)

    # a reference that was chosen because it looks similar is no worse for being far away in time
    if select == "content" or choice.seconds is None or not choice.also_seconds:
        return np.ones(len(choice.references), np.float32)
    frames = [abs(each) / interval for each in (choice.seconds, *choice.also_seconds)]
    return weigh_references(frames)


def make_batch(
    task: SegmentTask, entries: Sequence[PairedFrame], concealed: Sequence[int], *, last: bool
) -> Batch:
    """Combine paired frames into a batch; `concealed` lists the pts of replaced corrupt frames."""
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


def _group_references(entries: Sequence[PairedFrame]) -> list[ReferenceGroup]:
    """Return the frames with references in groups, ordered by their number of references."""
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
