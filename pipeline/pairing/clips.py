"""Choose the references of every frame of a clip, by time or by content."""

from __future__ import annotations

from array import array
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from pipeline.errors import PairingError
from pipeline.pairing.choose_frames import choose_by_content, choose_by_time
from pipeline.pairing.clock import (
    ReferenceClock,
    align_clocks,
    check_shared_time,
    compare_sound,
    needs_estimated_offset,
    snap_to_frames,
)
from pipeline.pairing.cuts import Survey, survey_frames
from pipeline.pairing.field_of_view import COMPARED_PAIRS, choose_map, list_pairs
from pipeline.pairing.geometry import adopt_pixel_aspect, count_quarter_turns
from pipeline.pairing.rules import FrameRules, Paired, References, find_half_interval
from pipeline.pairing.still_times import (
    are_frames_of,
    choose_placement,
    describe_unused_sidecar,
    list_placements,
    name_source,
    read_sidecar,
)
from pipeline.pairing.thumbnails import correlate_thumbnails
from pipeline.progress import SILENT, Reporter
from pipeline.recording import read, scan
from pipeline.schema.clip import Clip, FrameIndex, Stills, VideoClip, pack_ticks
from pipeline.schema.plan import ReferencePlan
from pipeline.schema.reference_map import ReferenceMap
from pipeline.schema.settings import PairingSettings

FAR = 1.0  # seconds beyond which a note reports a reference as far away


def plan_references(
    lr: Clip,
    index: FrameIndex,
    ref: Clip,
    settings: PairingSettings,
    size: tuple[int, int],
    progress: Reporter = SILENT,
) -> Paired:
    """Choose the references of every frame of `index`.

    `size` is the height and width of the network's frames.

    One pass over the input finds scene cuts. The whole reference is decoded only to choose by
    content, to find the times of its pictures, or to estimate the offset; otherwise, only a few of
    its frames are decoded, to compare fields of view. Raises PairingError if no frame of the
    reference can be decoded, if the settings need times or an offset that cannot be found, if
    keyframes.json contradicts the pictures, or if no reference is near the input in time.
    """
    turns = count_quarter_turns(lr, ref)
    seen = _look_at_both(lr, index, ref, settings, turns, progress)
    ref, lr_look, ref_look = seen.ref, seen.lr_look, seen.ref_look
    timed = _is_timed(ref)
    select = _choose_selection(settings, timed)

    ref_pts = ref_look.pts if ref_look is not None else scan(ref, distinct=False).pts
    if not ref_pts:
        raise PairingError(
            f"no frame of the reference {ref.path} can be decoded; copy it again, or pass another "
            "reference"
        )

    clock = ReferenceClock(0.0, 1.0)
    if timed:
        with progress.step("aligning the clocks"):
            clock = align_clocks(lr, seen.lr_whole, ref, ref_look, settings, seen.heard)
    at = [ref.seconds(pts) * clock.drift + clock.offset if timed else 0.0 for pts in ref_pts]
    order = np.argsort(at, kind="stable")
    references = References(
        pack_ticks(ref_pts[i] for i in order), array("d", (at[i] for i in order))
    )
    lr_seconds = array("d", map(lr.seconds, index.pts))

    if timed:
        check_shared_time(lr_seconds, references.seconds, settings.max_ref_distance, seen.source)
    rules = FrameRules(
        max_distance=settings.max_ref_distance,
        cuts=[lr.seconds(pts) for pts in lr_look.cuts],
        margin=find_half_interval(lr_seconds),
        count=settings.ref_count,
    )

    if ref_look is None or select == "time":
        choices = choose_by_time(index.pts, lr_seconds, references, rules)
    else:
        similarity = _Similarity(lr_look, index.pts, ref_look, references.pts)
        among = _Similarity(ref_look, references.pts, ref_look, references.pts)
        choices = choose_by_content(
            index.pts, lr_seconds, references, rules, similarity, timed=timed, among=among
        )

    with progress.step("comparing the reference with the input"):
        affine, view_notes = choose_map(lr, ref, _pick_closest_pairs(choices), size, turns=turns)
    reference = ReferencePlan(
        clip=ref,
        select=select,
        offset=clock.offset,
        drift=clock.drift,
        max_distance=settings.max_ref_distance,
        affine=affine,
    )
    source_notes = []
    if isinstance(ref, Stills) and seen.source:
        source_notes = [f"reference pictures: {seen.source} ({len(ref.files)} pictures)"]
    notes = [*source_notes, *clock.notes, *view_notes, *_write_notes(choices, lr_look)]
    return Paired(reference, choices, lr_look.cuts, notes)


@dataclass(frozen=True)
class _Seen:
    """The reference with the times of its pictures, and the surveys of both recordings."""

    ref: Clip
    lr_look: Survey
    ref_look: Survey | None
    """None if no decision needs the pictures of the reference."""
    lr_whole: Survey
    """A survey of the whole input if --ref-offset auto compares pictures, else `lr_look`."""
    heard: tuple[float, float] | None
    """Offset and drift between the audio tracks; None if they were not compared or do not match."""
    source: str
    """A phrase that states the origin of the pictures' times; "" for a video or single picture."""


def _look_at_both(
    lr: Clip,
    index: FrameIndex,
    ref: Clip,
    settings: PairingSettings,
    turns: int,
    progress: Reporter,
) -> _Seen:
    """Survey the input and, if needed, the reference, and find the times of reference pictures."""
    sidecar = read_sidecar(ref)
    placements = list_placements(lr, ref, sidecar)
    source = name_source(ref)
    if settings.ref_offset is None:
        ref = snap_to_frames(lr, ref)
    timed = _is_timed(ref)
    if not placements:
        _choose_selection(settings, timed)  # check the settings before a long pass

    known = any(placement.trust == "certain" for placement in placements)
    unknown = not known and (bool(placements) or not timed)
    compared = settings.select == "content" or unknown
    heard: tuple[float, float] | None = None
    if (timed or known) and needs_estimated_offset(lr, ref, settings):
        with progress.step("comparing the sound"):
            heard = compare_sound(lr, ref, settings)
        compared = compared or heard is None

    with progress.step("looking for scene cuts", len(index.pts)) as count:
        lr_look = survey_frames(
            read(lr, index.pts[0], index.end_pts, on_error="conceal"),
            cuts=timed or bool(placements),
            thumbnails=compared,
            count=count,
        )
    ref_look = None
    if compared:
        with progress.step("looking at the reference") as count:
            ref_look = survey_frames(
                read(ref, on_error="conceal"), cuts=False, turns=turns, count=count
            )

    lr_whole = lr_look
    if compared and heard is None and settings.ref_offset == "auto" and _is_part(lr, index):
        # a part may be too short for an offset to stand out
        with progress.step("looking at the whole input") as count:
            frames = read(lr, on_error="conceal")
            lr_whole = survey_frames(frames, cuts=False, count=count)

    placement = choose_placement(placements, lr, lr_look, ref_look)
    if placement is not None:
        ref = ref.model_copy(update={"times": placement.seconds})
        source = placement.meaning
    # a single picture has no placement
    if placement.are_frames if placement is not None else are_frames_of(lr, ref, sidecar):
        aspect = adopt_pixel_aspect(lr, ref, turns)
        ref = ref.model_copy(update={"sample_aspect_ratio": aspect})
    if not _is_timed(ref):
        lr_look = replace(lr_look, cuts=())  # pictures without times are on neither side of a cut

    if source is None and isinstance(ref, Stills) and len(ref.files) > 1:
        source = "their names give no usable times; matched by content"
    if source is not None and isinstance(ref, Stills):
        source += describe_unused_sidecar(lr, ref, sidecar)
    return _Seen(ref, lr_look, ref_look, lr_whole, heard, source or "")


def _is_part(lr: Clip, index: FrameIndex) -> bool:
    return len(index.pts) < len(scan(lr, distinct=False).pts)


def _is_timed(ref: Clip) -> bool:
    """Return whether the reference has times and is not a single picture."""
    return ref.has_times and (isinstance(ref, VideoClip) or len(ref.files) > 1)


def _choose_selection(settings: PairingSettings, timed: bool) -> Literal["time", "content"]:
    if settings.select == "time" and not timed:
        raise PairingError(
            "the reference has no times, but --select time needs a video, or several stills with "
            "times in EXIF or file names; try --select content"
        )
    if settings.select == "content" or not timed:
        return "content"
    return "time"


class _Similarity:
    """The similarity of pictures to references, which is the correlation of their thumbnails.

    A picture without a thumbnail has similarity 0.
    """

    def __init__(
        self, pictures: Survey, pts: Sequence[int], ref: Survey, ref_pts: Sequence[int]
    ) -> None:
        self._pictures = pictures.thumbnails
        self._rows = _find_positions(pictures.pts, pts)
        self._ref = ref.thumbnails.picked(_find_positions(ref.pts, ref_pts))
        self._block: tuple[int, int, NDArray[np.float16]] | None = None

    def __call__(self, number: int, first: int, last: int) -> NDArray[np.float32]:
        row = int(self._rows[number])
        if row < 0:
            return np.zeros(last - first, np.float32)
        if self._block is None or self._block[:2] != (first, last):
            self._block = first, last, self._ref[first:last]
        picture = self._pictures[row : row + 1]
        row_of: NDArray[np.float32] = correlate_thumbnails(picture, self._block[2])[0]
        return row_of


def _find_positions(known: Sequence[int], wanted: Sequence[int]) -> NDArray[np.int64]:
    """Return the index in `known` of each element of `wanted`, or -1 if it is absent."""
    there = np.asarray(known, np.int64)
    sought = np.asarray(wanted, np.int64)
    if not len(there):
        return np.full(len(sought), -1)
    order = np.argsort(there, kind="stable")
    found = order[np.minimum(np.searchsorted(there, sought, sorter=order), len(order) - 1)]
    return np.where(there[found] == sought, found, -1)


def _pick_closest_pairs(choices: ReferenceMap) -> list[tuple[int, int]]:
    """Return (frame pts, reference pts) for a few frames spread over the clip.

    If times are known, these pairs are among the closest in time, so that camera motion is unlikely
    to be mistaken for a different field of view.
    """
    paired = np.fromiter((i for i, c in enumerate(choices) if c.ref_pts is not None), np.int64)
    if not len(paired):
        return []

    spread = paired
    if any(choice.seconds is not None for choice in choices):
        away = np.fromiter((abs(choices[i].seconds or 0.0) for i in paired), np.float64)
        closest = paired[np.argsort(away, kind="stable")]
        spread = np.sort(closest[: max(COMPARED_PAIRS, len(closest) // 10)])
    picked = np.unique(np.linspace(0, len(spread) - 1, COMPARED_PAIRS).astype(int))
    return list_pairs(choices[i] for i in spread[picked])


def _write_notes(choices: ReferenceMap, lr: Survey) -> list[str]:
    notes = []
    if lr.cuts:
        notes.append(f"scene cuts: {len(lr.cuts)}; nothing is borrowed across a cut")
    far = [abs(c.seconds) for c in choices if c.seconds is not None and abs(c.seconds) > FAR]
    if far:
        notes.append(
            f"frames that borrow from more than {FAR:g} s away: {len(far)} of {len(choices)}, "
            f"from up to {max(far):.2f} s away; expect less detail there"
        )
    without = Counter(c.why for c in choices if c.ref_pts is None)
    if without:
        reasons = ", ".join(f"{count} {why}" for why, count in without.most_common())
        notes.append(
            f"frames without a reference: {sum(without.values())} of {len(choices)} ({reasons}), "
            "up-sampled bicubically"
        )
    return notes
