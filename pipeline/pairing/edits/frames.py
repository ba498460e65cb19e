"""Edit the frames of a plan's input as its trusted key frames were edited.

The edited frames look as if the whole recording had been graded and repaired like the key frames.
The network then compares like with like, and so does every guard against faults of the reference.
"""

from __future__ import annotations

from bisect import bisect_right
from collections import OrderedDict
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from typing import Protocol

import cv2
import numpy as np
from numpy.typing import NDArray

from crossnetpp.capture.grade import Grade, Planes, estimate_grade
from crossnetpp.capture.moments import reduce_picture
from crossnetpp.networks.taps import join_taps, make_bicubic_taps
from pipeline.errors import MediaError, StageError
from pipeline.pairing.capture import make_taps
from pipeline.pairing.edits.repairs import EditedKey, compare_key, find_repair, join_repairs
from pipeline.pairing.fit import Affine, fit_to_grid
from pipeline.pixels import Pixels, as_pixels, match_depth, to_8_bit
from pipeline.recording import Source, open_frames
from pipeline.schema.plan import Plan, TrustedKeys

_KEPT = 3  # key frames whose edits are cached: one on each side of a frame, and the next one


class Pictures(Protocol):
    """A source from which pictures are read by their pts."""

    def get(self, pts: int) -> Pixels:
        """Return the picture at exactly `pts` as uint8 or uint16 H x W x 3 RGB."""
        ...


@dataclass(frozen=True)
class ReducedKey:
    """A key frame on the grid of LR pixels."""

    shown: Pixels
    """h x w x 3, at the bit depth of the input."""
    seen: NDArray[np.float32]
    """The share (0..1) of each pixel that the key frame covers."""


def reduce_key(
    picture: Pixels, lr: Pixels, size: tuple[int, int], affine: Affine | None, kernel: Planes
) -> ReducedKey:
    """Return a key frame (H' x W' x 3) reduced to the size of an LR frame by a kernel.

    The kernel is 4s x 4s at scale s. `size` is the height and width of the network's frames, whose
    pixels `affine` maps to those of the key frame; None scales the key frame.
    """
    fitted, mask = fit_to_grid(match_depth(picture, lr), *size, affine)
    shown = reduce_picture(fitted, kernel)

    seen = np.ones(lr.shape[:2], np.float32)
    if mask is not None:
        reduced = cv2.resize(mask, (lr.shape[1], lr.shape[0]), interpolation=cv2.INTER_AREA)
        seen = np.asarray(reduced, np.float32) / np.float32(255)
    return ReducedKey(as_pixels(shown), seen)


@dataclass(frozen=True)
class _Key:
    """The edits of a key frame."""

    grade: Grade | None
    edited: EditedKey


class EditedFrames:
    """Edits the frames of a plan's input; without trusted key frames, they stay unchanged."""

    def __init__(self, plan: Plan, frames: Pictures, references: Pictures) -> None:
        self._plan = plan
        self._frames = frames
        self._references = references
        self._keys: OrderedDict[int, _Key | None] = OrderedDict()
        taps = make_taps(plan.capture)
        self._kernel = join_taps(make_bicubic_taps(plan.scale) if taps is None else taps)

    def edit(self, pts: int, lr: Pixels, *, repair: bool = True) -> Pixels:
        """Return `lr`, the frame at `pts`, edited like the nearest key frames of its scene.

        Without `repair`, only the grade of the key frames is applied.
        """
        near = self._find_keys(pts)
        if not near:
            return lr

        graded = [_apply_grade(key.grade, lr) for key, _ in near]
        weights = [weight for _, weight in near]
        mixed = np.asarray(
            sum(w * each for w, each in zip(weights, graded, strict=True)), np.float32
        )
        if repair:
            grey = np.asarray(cv2.cvtColor(to_8_bit(lr), cv2.COLOR_RGB2GRAY), np.uint8)
            found = [
                find_repair(grey, each, key.edited)
                for (key, _), each in zip(near, graded, strict=True)
            ]
            mixed = join_repairs(mixed, found, weights)

        top = float(np.iinfo(lr.dtype).max)
        return as_pixels(np.rint(mixed * (top / 255)).clip(0, top).astype(lr.dtype))

    def _find_keys(self, pts: int) -> list[tuple[_Key, float]]:
        """Return the one or two nearest key frames in a frame's scene, with weights that sum to 1.

        The list is empty if there are none.
        """
        trusted = self._plan.reference.trusted
        if trusted is None:
            return []
        near = [
            (key, number)
            for number in list_neighbours(trusted, self._plan.cuts, pts)
            if (key := self._read_key(trusted.pts[number], trusted.ref_pts[number])) is not None
        ]
        if len(near) < 2:
            return [(key, 1.0) for key, _ in near]

        (before, first), (after, second) = near
        start, end = trusted.pts[first], trusted.pts[second]
        share = (pts - start) / (end - start)
        return [(before, 1 - share), (after, share)]

    def _read_key(self, pts: int, ref_pts: int) -> _Key | None:
        """Return the edits of a key frame, or None if it or its input frame cannot be read.

        Raises MediaError or StageError instead if the plan does not conceal corrupt frames.
        """
        if pts in self._keys:
            self._keys.move_to_end(pts)
            return self._keys[pts]
        try:
            lr = self._frames.get(pts)
            found: _Key | None = self._compare(lr, self._references.get(ref_pts))
        except (MediaError, StageError):
            if self._plan.on_error != "conceal":
                raise
            found = None
        self._keys[pts] = found
        while len(self._keys) > _KEPT:
            self._keys.popitem(last=False)
        return found

    def _compare(self, lr: Pixels, picture: Pixels) -> _Key:
        plan = self._plan
        size, affine = plan.network_size, plan.reference.affine
        reduced = reduce_key(picture, lr, size, affine, self._kernel)
        grade = estimate_grade(lr, reduced.shown, reduced.seen > 0.99)
        shown = reduced.shown.astype(np.float32) * np.float32(255 / np.iinfo(lr.dtype).max)
        return _Key(grade, compare_key(lr, _apply_grade(grade, lr), shown, reduced.seen))


def list_neighbours(trusted: TrustedKeys, cuts: tuple[int, ...], pts: int) -> list[int]:
    """Return the indices in `trusted` of the one or two key frames around a frame, in its scene.

    If the frame itself is a key frame, only its own index is returned. The list is empty if the
    scene has no key frame.
    """
    scene = bisect_right(cuts, pts)
    after = bisect_right(trusted.pts, pts)
    if after and trusted.pts[after - 1] == pts:
        return [after - 1]
    return [
        number
        for number in (after - 1, after)
        if 0 <= number < len(trusted.pts) and bisect_right(cuts, trusted.pts[number]) == scene
    ]


def _apply_grade(grade: Grade | None, lr: Pixels) -> Planes:
    """Return a frame in 8-bit levels from 0 to 255, with the grade applied if there is one."""
    if grade is None:
        return lr.astype(np.float32) * np.float32(255 / np.iinfo(lr.dtype).max)
    return np.asarray((255 * grade.apply(lr)).clip(0, 255), np.float32)


class EditedSource:
    """A source of the frames of a plan's input, edited like its trusted key frames."""

    def __init__(self, frames: Source, edits: EditedFrames) -> None:
        self._frames = frames
        self._edits = edits

    def get(self, pts: int) -> Pixels:
        """Return the frame at exactly `pts` as uint8 or uint16 H x W x 3 RGB."""
        return self._edits.edit(pts, self._frames.get(pts))


@contextmanager
def open_edited(plan: Plan) -> Iterator[Pictures]:
    """Yield a source of the plan's input frames, which are edited if the reference is trusted."""
    with ExitStack() as stack:
        frames = stack.enter_context(closing(open_frames(plan.input, cache=2)))
        if plan.reference.trusted is None:
            yield frames
            return
        apart = stack.enter_context(closing(open_frames(plan.input, cache=1, apart=True)))
        references = stack.enter_context(closing(open_frames(plan.reference.clip, cache=1)))
        yield EditedSource(frames, EditedFrames(plan, apart, references))
