"""Find the frames of the input that trusted key frames show, and check the match."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from math import log10
from pathlib import Path

import cv2
import numpy as np

from crossnetpp.capture.grade import estimate_grade
from crossnetpp.networks.taps import join_taps, make_bicubic_taps
from pipeline.errors import PairingError
from pipeline.pairing.capture import list_common_instants
from pipeline.pairing.edits.frames import reduce_key
from pipeline.pairing.field_of_view import read_pairs
from pipeline.pairing.rules import Paired, find_half_interval, spread_evenly
from pipeline.pairing.still_times import are_frames_of, read_sidecar
from pipeline.pixels import Pixels, to_8_bit
from pipeline.schema.clip import LightField, Recording, Stills
from pipeline.schema.plan import ReferencePlan, TrustedKeys
from pipeline.schema.reference_map import ReferenceMap

MOST_CHECKED = 6  # key frames that are compared with the input before the run
MOST_LIKE = 5  # frames that are compared with each picture without a time
# Correlation of edges below which a key frame does not show the frame at its instant. A frame that
# has moved by a few pixels reaches 0.3; most parts of an edited frame are far above that.
LEAST_LIKENESS = 0.4


def trust_key_frames(lr: Recording, paired: Paired, scale: int, size: tuple[int, int]) -> Paired:
    """Return the pairing, completed with its trusted key frames and a note about them.

    `size` is the height and width of the network's frames. Raises PairingError if no reference
    shows a frame of the input, or if the input is a light field.
    """
    if isinstance(lr, LightField):
        raise PairingError(
            "--trust-reference applies only to videos and image sequences, not to light fields; "
            "leave the option out"
        )
    ref, choices = paired.reference, paired.choices
    instants = _list_instants(lr, ref, choices)
    if not instants:
        instants = _match_by_content(lr, ref, choices, scale, size)
    if not instants:
        raise PairingError(
            "found no key frame that shows the instant of a frame of the input, but "
            "--trust-reference needs at least one; edit pictures that `pipeline keyframes` wrote, "
            "or put the times of the pictures into their names"
        )

    trusted = TrustedKeys(
        pts=tuple(pts for pts, _ in instants), ref_pts=tuple(ref for _, ref in instants)
    )
    kept = ref.model_copy(update={"trusted": trusted, "match_colour": False})
    note = _describe(lr, ref, instants, scale, size)
    return replace(paired, reference=kept, notes=[*paired.notes, note])


def _list_instants(
    lr: Recording, ref: ReferencePlan, choices: ReferenceMap
) -> list[tuple[int, int]]:
    """Return (frame pts, reference pts) for each frame that a reference shows.

    A single picture has no time in the choices, but keyframes.json or its name may contain one.
    """
    common = list_common_instants(lr, ref, choices)
    found = {c.pts: c.ref_pts for c in common if c.ref_pts is not None}
    clip = ref.clip
    if found or not isinstance(clip, Stills) or len(clip.files) > 1 or isinstance(lr, LightField):
        return sorted(found.items())

    sidecar = read_sidecar(clip)
    if sidecar is not None and are_frames_of(lr, clip, sidecar):
        key = sidecar.find_key(Path(clip.files[0]).stem)
        return [(key.pts, 0)] if key is not None and key.pts in set(choices.pts) else []
    if not clip.times or not lr.has_times:
        return []
    away = [abs(lr.seconds(pts) - clip.times[0]) for pts in choices.pts]
    nearest = int(np.argmin(away))
    half = find_half_interval([lr.seconds(pts) for pts in choices.pts])
    return [(choices.pts[nearest], 0)] if away[nearest] <= half + 1e-6 else []


def _match_by_content(
    lr: Recording, ref: ReferencePlan, choices: ReferenceMap, scale: int, size: tuple[int, int]
) -> list[tuple[int, int]]:
    """Return (frame pts, picture pts) for each picture without a time that shows a frame."""
    likest: dict[int, list[tuple[float, int]]] = {}
    for choice in choices:
        if choice.ref_pts is not None and choice.similarity is not None:
            likest.setdefault(choice.ref_pts, []).append((-choice.similarity, choice.pts))

    found: dict[int, int] = {}
    for ref_pts, frames in likest.items():
        pairs = [(pts, ref_pts) for _, pts in sorted(frames)[:MOST_LIKE]]
        pictures = read_pairs(lr, ref.clip, pairs)
        likeness = {
            pts: _compare_edges(small, large, ref, scale, size)
            for (pts, _), (small, large) in pictures.items()
        }
        best = max(likeness, key=lambda pts: (likeness[pts], -pts), default=None)
        if best is not None and likeness[best] >= LEAST_LIKENESS:
            found[best] = ref_pts
    return sorted(found.items())


def _compare_edges(
    lr: Pixels, picture: Pixels, ref: ReferencePlan, scale: int, size: tuple[int, int]
) -> float:
    """Return the correlation between the edges of a frame and of the reduced key frame."""
    kernel = join_taps(make_bicubic_taps(scale))
    reduced = reduce_key(picture, lr, size, ref.affine, kernel)
    edges = []
    for rgb in (lr, reduced.shown):
        grey = cv2.cvtColor(to_8_bit(rgb), cv2.COLOR_RGB2GRAY).astype(np.float32)
        fine = grey - cv2.GaussianBlur(grey, (0, 0), 2)
        # the sign counts, but strong edges count hardly more than weak ones
        edges.append((fine / (np.abs(fine) + 2))[reduced.seen > 0.99])
    first, second = edges
    power = float(np.sqrt((first**2).sum() * (second**2).sum()))
    return float((first * second).sum()) / power if power > 1e-6 else 0.0


def _describe(
    lr: Recording,
    ref: ReferencePlan,
    instants: Sequence[tuple[int, int]],
    scale: int,
    size: tuple[int, int],
) -> str:
    """Return a sentence about the trusted key frames and how well the estimated grade fits them."""
    checked = [instants[number] for number in spread_evenly(len(instants), MOST_CHECKED)]
    kernel = join_taps(make_bicubic_taps(scale))
    plain, graded, unlike = [], [], []
    for (pts, _), (small, large) in read_pairs(lr, ref.clip, checked).items():
        reduced = reduce_key(large, small, size, ref.affine, kernel)
        seen = reduced.seen > 0.99
        if not seen.any():
            continue
        if _compare_edges(small, large, ref, scale, size) < LEAST_LIKENESS:
            unlike.append(pts)
        grade = estimate_grade(small, reduced.shown, seen)
        top = np.iinfo(small.dtype).max
        shown, before = reduced.shown / top, small / top
        after = before if grade is None else grade.apply(small).clip(0, 1)
        plain.append(float(np.square(before - shown)[seen].mean()))
        graded.append(float(np.square(after - shown)[seen].mean()))

    count = len(instants)
    text = f"trusted reference: the edits of {count} key frame{'s' if count > 1 else ''} are "
    text += "applied to the frames around " + ("them" if count > 1 else "it")
    if graded:
        before_db, after_db = _find_psnr(plain), _find_psnr(graded)
        text += f"; the input matches them to {before_db:.1f} dB"
        if after_db > before_db:
            text += f", and with their grade to {after_db:.1f} dB"
    if unlike:
        times = ", ".join(f"{lr.seconds(pts):.3f} s" for pts in unlike)
        text += f"; the key frames at {times} hardly resemble the input, so check their times"
    return text


def _find_psnr(errors: Sequence[float]) -> float:
    return -10 * log10(max(float(np.mean(errors)), 1e-10))
