"""The planning of references: which frames there are, how they lie in time, which serves which."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pipeline.alignment import Look, estimate_field_of_view, estimate_offset, likeness, look
from pipeline.errors import PairingError
from pipeline.media.probe import scan
from pipeline.media.reader import FrameReader, read
from pipeline.pairing import Affine
from pipeline.references import (
    References,
    Rules,
    choose_by_content,
    choose_by_time,
    hysteresis_margin,
)
from pipeline.schema import Clip, FrameIndex, ReferenceChoice, ReferencePlan
from pipeline.settings import RunSettings

FIELD_OF_VIEW_PAIRS = 3


@dataclass(frozen=True)
class Paired:
    """How the reference stream serves the input."""

    reference: ReferencePlan
    choices: list[ReferenceChoice]
    cuts: tuple[int, ...]
    notes: list[str]


def plan_references(
    lr: Clip, index: FrameIndex, ref: Clip, settings: RunSettings, size: tuple[int, int]
) -> Paired:
    """Choose a reference for every frame of `index`; `size` is the output's height and width.

    One pass over the input finds scene cuts; the reference is looked through only where content or
    offset ask for it. Raises PairingError when the two share no time.
    """
    ref_pts = scan(ref).pts
    timed = ref.kind == "video" or bool(ref.times)
    select = _selection(settings, timed)
    lr_look = look(read(lr, index.pts[0], index.end_pts, on_error="conceal"), cuts=timed)
    need_ref_look = select == "content" or settings.ref_offset == "auto"
    ref_look = look(read(ref), cuts=False) if need_ref_look else None
    offset, drift = _clock(lr, lr_look, ref, ref_look, settings)
    at = [ref.seconds(pts) * drift + offset if timed else 0.0 for pts in ref_pts]
    order = np.argsort(at, kind="stable")
    references = References([ref_pts[i] for i in order], [at[i] for i in order])
    lr_seconds = [lr.seconds(pts) for pts in index.pts]
    if timed:
        _check_shared_time(lr_seconds, references.seconds, settings.max_ref_distance)
    rules = Rules(
        max_distance=settings.max_ref_distance,
        cuts=[lr.seconds(pts) for pts in lr_look.cuts],
        margin=hysteresis_margin(lr_seconds),
    )
    if select == "time":
        choices = choose_by_time(index.pts, lr_seconds, references, rules)
    else:
        assert ref_look is not None
        similarity = _Similarity(lr_look, index.pts, ref_look, references.pts)
        choices = choose_by_content(
            index.pts, lr_seconds, references, rules, similarity, timed=timed
        )
    affine = _field_of_view(lr, ref, choices, size)
    reference = ReferencePlan(
        clip=ref,
        select=select,
        offset=offset,
        drift=drift,
        max_distance=settings.max_ref_distance,
        affine=affine,
    )
    return Paired(reference, choices, lr_look.cuts, _notes(reference, choices, lr_look, size))


def _selection(settings: RunSettings, timed: bool) -> str:
    if settings.select == "auto":
        return "time" if timed else "content"
    if settings.select == "time" and not timed:
        raise PairingError(
            "found still references without times, expected times in EXIF or file names for "
            "--select time; try --select content"
        )
    return settings.select


def _clock(
    lr: Clip, lr_look: Look, ref: Clip, ref_look: Look | None, settings: RunSettings
) -> tuple[float, float]:
    if settings.ref_offset != "auto":
        return settings.ref_offset, 1.0
    assert ref_look is not None
    return estimate_offset(
        lr_look.thumbnails,
        [lr.seconds(pts) for pts in lr_look.pts],
        ref_look.thumbnails,
        [ref.seconds(pts) for pts in ref_look.pts],
    )


def _check_shared_time(lr: Sequence[float], times: Sequence[float], reach: float) -> None:
    if times[-1] < lr[0] - reach or times[0] > lr[-1] + reach:
        raise PairingError(
            f"found references from {times[0]:.2f} to {times[-1]:.2f} s and an input from "
            f"{lr[0]:.2f} to {lr[-1]:.2f} s, expected them to overlap; "
            "try --ref-offset SECONDS or --ref-offset auto"
        )


class _Similarity:
    """Likeness of an LR frame to every reference, from the thumbnails of both."""

    def __init__(self, lr: Look, lr_pts: Sequence[int], ref: Look, ref_pts: Sequence[int]) -> None:
        at = {pts: number for number, pts in enumerate(lr.pts)}
        self._rows = [at.get(pts) for pts in lr_pts]
        self._lr = lr.thumbnails
        place = {pts: number for number, pts in enumerate(ref.pts)}
        self._ref = ref.thumbnails[[place[pts] for pts in ref_pts]]

    def __call__(self, number: int, first: int, last: int) -> NDArray[np.float32]:
        row = self._rows[number]
        if row is None:
            return np.zeros(last - first, np.float32)
        row_of: NDArray[np.float32] = likeness(self._lr[row : row + 1], self._ref[first:last])[0]
        return row_of


def _field_of_view(
    lr: Clip, ref: Clip, choices: list[ReferenceChoice], size: tuple[int, int]
) -> Affine | None:
    """Compare a few of the closest pairs; only then are two cameras told from camera motion."""
    paired = [c for c in choices if c.ref_pts is not None]
    if not paired:
        return None
    closest = sorted(paired, key=lambda c: (abs(c.seconds or 0.0), c.pts))
    spread = closest[: max(FIELD_OF_VIEW_PAIRS, len(closest) // 10)]
    picked = sorted(spread, key=lambda c: c.pts)[:: max(1, len(spread) // FIELD_OF_VIEW_PAIRS)]
    lr_reader, ref_reader = FrameReader(lr), FrameReader(ref)
    try:
        pairs = [
            (lr_reader.get(c.pts), ref_reader.get(c.ref_pts))
            for c in picked[:FIELD_OF_VIEW_PAIRS]
            if c.ref_pts is not None
        ]
    finally:
        lr_reader.close()
        ref_reader.close()
    return estimate_field_of_view(pairs, *size)


def _notes(
    reference: ReferencePlan, choices: list[ReferenceChoice], lr: Look, size: tuple[int, int]
) -> list[str]:
    notes = []
    if reference.offset or reference.drift != 1.0:
        notes.append(
            f"reference times are shifted by {reference.offset:+.3f} s"
            + (f" and stretched by {reference.drift:.6f}" if reference.drift != 1.0 else "")
        )
    ref = reference.clip
    if reference.affine is not None:
        notes.append("the reference shows another field of view; it is moved onto the output")
    elif (ref.height, ref.width) != size:
        notes.append(f"the reference of {ref.width}x{ref.height} is scaled to {size[1]}x{size[0]}")
    if lr.cuts:
        notes.append(f"{len(lr.cuts)} scene cuts; nothing is borrowed across them")
    without = Counter(c.why for c in choices if c.ref_pts is None)
    if without:
        reasons = ", ".join(f"{count} {why}" for why, count in without.most_common())
        notes.append(
            f"{sum(without.values())} of {len(choices)} frames have no reference ({reasons}) "
            "and are up-sampled plainly"
        )
    return notes
