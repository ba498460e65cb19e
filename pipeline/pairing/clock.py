"""Align the reference's clock with the input's."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from pipeline.errors import PairingError
from pipeline.media.pictures.names import read_times
from pipeline.media.read.sound import read_loudness
from pipeline.pairing.cuts import Survey
from pipeline.pairing.offset import estimate_offset, estimate_sound_offset
from pipeline.recording import scan
from pipeline.schema.clip import Clip, Stills, VideoClip
from pipeline.schema.settings import PairingSettings

# Seconds above which a still's time is a date (1973 or later), not the time since some start.
CALENDAR = 1e8
# Seconds by which a time in a name, rounded to milliseconds, may differ from its frame's time.
ROUNDED = 0.001 + 1e-9


@dataclass(frozen=True)
class ReferenceClock:
    """The map from reference times to input times: drift x reference time + offset, in seconds."""

    offset: float
    drift: float
    notes: tuple[str, ...] = ()


def snap_to_frames(lr: Clip, ref: Clip) -> Clip:
    """Return the reference with exact times where its pictures' names contain rounded frame times.

    The picture of a frame then has the same time whether its name contains that time or the frame's
    number.
    """
    if not isinstance(lr, VideoClip) or not isinstance(ref, Stills) or not ref.times:
        return ref
    named = read_times([Path(file).stem for file in ref.files])
    if named is None or named.values != ref.times:
        return ref

    return ref.model_copy(update={"times": snap_times(lr, ref.times)})


def snap_times(lr: Clip, seconds: Sequence[float]) -> tuple[float, ...]:
    """Return times in seconds, with each rounded frame time replaced by the frame's exact time."""
    times = np.array([lr.seconds(pts) for pts in scan(lr, distinct=False).pts])
    values = np.array(seconds)
    after = np.searchsorted(times, values).clip(max=len(times) - 1)
    before = np.maximum(after - 1, 0)
    nearer = np.where(values - times[before] <= times[after] - values, before, after)
    near = np.abs(times[nearer] - values) <= ROUNDED
    return tuple(map(float, np.where(near, times[nearer], values)))


def _find_first_calendar_time(clip: Clip) -> float | None:
    """Return the earliest date of stills (seconds) if their times are dates (EXIF), else None."""
    if not isinstance(clip, Stills) or not clip.times:
        return None
    first = min(clip.times)
    return first if first > CALENDAR else None


def _find_calendar_start(lr: Clip, ref: Clip) -> float | None:
    """Return the reference's earliest date (seconds) if only the reference has dates, else None."""
    return _find_first_calendar_time(ref) if _find_first_calendar_time(lr) is None else None


def needs_estimated_offset(lr: Clip, ref: Clip, settings: PairingSettings) -> bool:
    """Return whether the offset must be estimated from sound or pictures.

    That is the case with --ref-offset auto, or without --ref-offset if only the reference has
    dates.
    """
    unknown = settings.ref_offset is None and _find_calendar_start(lr, ref) is not None
    return unknown or settings.ref_offset == "auto"


def align_clocks(
    lr: Clip,
    lr_look: Survey,
    ref: Clip,
    ref_look: Survey | None,
    settings: PairingSettings,
    heard: tuple[float, float] | None = None,
) -> ReferenceClock:
    """Return the map from reference times to input times, from the settings or an estimate.

    `heard` is the offset and drift between the audio tracks, if they match. `ref_look` may be None
    if `heard` is given, or if nothing has to be estimated. If only the reference has dates, its
    times are counted from its first photograph, which is assumed to show the start of the input if
    no offset stands out. Raises PairingError if --ref-offset is auto and no offset stands out.
    """
    first = _find_calendar_start(lr, ref)
    start = 0.0 if first is None else -first
    if not needs_estimated_offset(lr, ref, settings):
        given = settings.ref_offset if isinstance(settings.ref_offset, float) else 0.0
        return ReferenceClock(given + start, 1.0, _write_shift_notes(given, 1.0))
    if heard is not None:
        offset = round(heard[0], 6)
        notes = _write_shift_notes(offset, heard[1], "the sound of both recordings matches")
        return ReferenceClock(offset, heard[1], notes)
    assert ref_look is not None
    order = sorted(range(len(ref_look.pts)), key=lambda i: ref.seconds(ref_look.pts[i]))
    try:
        offset, drift = estimate_offset(
            lr_look.thumbnails,
            [lr.seconds(pts) for pts in lr_look.pts],
            ref_look.thumbnails.picked(order),
            [ref.seconds(ref_look.pts[i]) + start for i in order],
        )
    except PairingError:
        if settings.ref_offset == "auto":
            raise
        guess = (
            "the first photograph is assumed to have been taken at the input's start; if it was "
            "not, use --ref-offset"
        )
        return ReferenceClock(start + lr.seconds(lr_look.pts[0]), 1.0, (guess,))
    offset = round(offset, 6)
    notes = _write_shift_notes(offset, drift, "the pictures of both recordings match")
    return ReferenceClock(offset + start * drift, drift, notes)


def _write_shift_notes(offset: float, drift: float, source: str = "") -> tuple[str, ...]:
    """Return one note about the offset and drift, or an empty tuple if the clocks agree.

    If the offset was estimated, `source` is a clause that states what matches.
    """
    if not offset and drift == 1.0:
        return ()
    stretched = f" and stretched by {drift:.6f}" if drift != 1.0 else ""
    found = f", where {source}" if source else ""
    return (f"reference times are shifted by {offset:+.3f} s{stretched}{found}",)


def compare_sound(lr: Clip, ref: Clip, settings: PairingSettings) -> tuple[float, float] | None:
    """Return the offset in seconds and the drift between the audio tracks.

    The result is None unless --ref-offset is auto and both recordings have matching audio.
    """
    if settings.ref_offset != "auto":
        return None
    ours = read_loudness(lr)
    theirs = read_loudness(ref) if ours is not None else None
    return None if ours is None or theirs is None else estimate_sound_offset(ours, theirs)


def check_shared_time(
    lr: Sequence[float], times: Sequence[float], reach: float, source: str = ""
) -> None:
    """Raise PairingError if all references are more than `reach` seconds away from the input.

    All times are in seconds and ascending. `source` states where the references' times come from.
    """
    if times[-1] < lr[0] - reach or times[0] > lr[-1] + reach:
        origin = f" ({source})" if source else ""
        raise PairingError(
            f"the references are from {times[0]:.2f} to {times[-1]:.2f} s{origin}, which does not "
            f"overlap the input's {lr[0]:.2f} to {lr[-1]:.2f} s; try --ref-offset SECONDS or "
            "--ref-offset auto"
        )
