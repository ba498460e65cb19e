"""Find when the reference's pictures were taken, from their names and from the input's frames.

If pictures have no reliable times, their names are searched for frame numbers, times of day and
other clues. Each interpretation places the pictures on the input's clock. Thumbnails then decide
which placement is right, because a picture most closely resembles the frames of its own time.
"""

from __future__ import annotations

import re
from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from pipeline.errors import PairingError
from pipeline.media.pictures.key_frames import SIDECAR, KeyFrames, find_folder, read_key_frames
from pipeline.media.pictures.names import read_doubtful_times, read_numbers, read_times
from pipeline.pairing.clock import snap_times
from pipeline.pairing.cuts import Survey
from pipeline.pairing.offset import estimate_offset
from pipeline.pairing.rules import find_half_interval
from pipeline.pairing.thumbnails import correlate_thumbnails
from pipeline.recording import scan
from pipeline.schema.clip import Clip, Stills, VideoClip

# Possible numbers of the first frame: in FFmpeg's filters, in its picture files, and in film scans.
FIRST_NUMBERS = (0, 1, 1001)
HOUR = 3600  # seconds; timecodes often start at a full hour
CALENDAR = 1e8  # seconds from which a number is a date (1973 or later)
MOST_COMPARED = 64  # maximum number of pictures that are compared with the input's frames

# Prefixes that cameras give to file names; the number that follows counts all of a camera's photos.
CAMERA = re.compile(
    r"(DSC|IMG|_MG|_DSC|P\d{2}|GOPR|DJI|CIMG|PICT|SAM_|HPIM|MVI|PXL)", re.IGNORECASE
)

# Difference in correlation below which two frames look the same.
SAME_LOOKS = 0.001
# If the mean correlation of pictures with the frames most like them is below this, the pictures
# show a different field of view, so they neither support nor refute a placement.
SAME_VIEW = 0.9
# The pictures support a placement if, on average, at most MOST_BETTER of the frames resemble a
# picture more than the frame at its time does, and at least LEAST_WORSE resemble it less.
MOST_BETTER = 0.1
LEAST_WORSE = 0.5
# The pictures refute a placement if their correlation with the frames at their times is at least
# this much lower than with the frames most like them.
LEAST_LACK = 0.01
_BLOCK = 4096  # frames that are compared at once

Trust = Literal["certain", "likely", "possible"]


@dataclass(frozen=True)
class Placement:
    """A possible time on the input's clock for every picture of the reference."""

    seconds: tuple[float, ...]
    trust: Trust
    """The pictures must support a possible placement, and must not refute a likely one."""
    meaning: str
    """A phrase for notes that states where the times come from."""
    rank: int
    """A lower rank takes precedence; among equal ranks, the highest correlation wins."""
    offset_unknown: bool = False
    """Whether the times are dates, whose offset must be estimated from the pictures first."""
    are_frames: bool = False
    """Whether the pictures are known to be frames of the input."""


def name_source(ref: Clip) -> str | None:
    """Return a phrase that states where the times of a reference's pictures come from.

    The result is None for videos, single pictures and pictures without times.
    """
    if not isinstance(ref, Stills) or len(ref.files) < 2 or not ref.times:
        return None
    named = read_times(_list_stems(ref))
    if named is not None and named.values == ref.times:
        return f"times from names like {named.example}"
    return "dates from EXIF" if min(ref.times) > CALENDAR else "times from sequence.json"


def read_sidecar(ref: Clip) -> KeyFrames | None:
    """Return the content of the keyframes.json beside the pictures, or None if there is none."""
    if not isinstance(ref, Stills):
        return None
    folder = find_folder(ref.files)
    return None if folder is None else read_key_frames(folder)


def are_frames_of(lr: Clip, ref: Clip, stored: KeyFrames | None) -> bool:
    """Return whether `stored` (keyframes.json) was made for `lr` and lists a picture of `ref`."""
    if stored is None or not isinstance(ref, Stills):
        return False
    return stored.fingerprint == lr.fingerprint and _are_listed(stored, ref)


def describe_unused_sidecar(lr: Clip, ref: Clip, stored: KeyFrames | None) -> str:
    """Return a clause about an unused keyframes.json; "" if the file is used or does not exist."""
    if stored is None or not isinstance(ref, Stills):
        return ""
    if stored.fingerprint != lr.fingerprint:
        return f"; {SIDECAR} was made for another recording and is not used"
    return "" if _are_listed(stored, ref) else f"; {SIDECAR} lists none of them"


def list_placements(lr: Clip, ref: Clip, stored: KeyFrames | None) -> list[Placement]:
    """Return a placement for each possible meaning of the names of the reference's pictures.

    `stored` is the content of keyframes.json. If it lists frames of the input for the pictures,
    there is no other placement. Pictures that already have times are placed only by the names of
    the input's pictures, and only if the input has no times. The list is empty for videos and
    single pictures. Raises PairingError if keyframes.json and the pictures contradict each other.
    """
    if not isinstance(ref, Stills) or len(ref.files) < 2:
        return []
    stated = _place_key_frames(lr, ref, stored)
    if stated is not None:
        return [stated]

    matched = []
    if isinstance(lr, Stills) and not (lr.has_times and ref.has_times):
        matched = _match_names(lr, ref)
    if ref.has_times or not lr.has_times:
        return matched

    pts = scan(lr, distinct=False).pts
    times = [lr.seconds(each) for each in pts]
    if len(times) < 2:
        return []
    counted = _count_frames(pts, times, ref) if isinstance(lr, VideoClip) else []
    return [*matched, *counted, *_read_names(lr, ref, times)]


def _list_stems(clip: Stills) -> list[str]:
    return [Path(file).stem for file in clip.files]


def _are_listed(stored: KeyFrames, ref: Stills) -> bool:
    return any(stored.find_key(stem) is not None for stem in _list_stems(ref))


def _place_key_frames(lr: Clip, ref: Stills, stored: KeyFrames | None) -> Placement | None:
    """Return the placement of the pictures at the frames that keyframes.json lists for them.

    Pictures that it does not list need times in their names. The result is None if there is no such
    file, if it was made for another recording, or if it lists none of the pictures. Raises
    PairingError if two pictures show the same frame, if a listed frame is not in the input, or if a
    time is missing.
    """
    if stored is None or not are_frames_of(lr, ref, stored):
        return None

    stems = _list_stems(ref)
    keys = [stored.find_key(stem) for stem in stems]
    listed = [key.pts for key in keys if key is not None]
    if len(set(listed)) < len(listed):
        raise PairingError(
            f"{SIDECAR} in {ref.path} lists the same frame for two of the pictures, but there can "
            "be only one picture of each frame; move one of the two elsewhere"
        )
    if not set(listed) <= set(scan(lr, distinct=False).pts):
        raise PairingError(
            f"{SIDECAR} in {ref.path} lists frames that {lr.path} does not have; recreate the file "
            "with `pipeline keyframes`, or move it elsewhere"
        )

    others = [stem for stem, key in zip(stems, keys, strict=True) if key is None]
    named = read_times(others)
    if others and named is None:
        raise PairingError(
            f"the picture {others[0]} in {ref.path} is not listed in {SIDECAR} and has no time in "
            f"its name; rename it, for example to {others[0]}_12.5s, or move it elsewhere"
        )
    further = iter(snap_times(lr, named.values) if named else ())
    seconds = tuple(lr.seconds(key.pts) if key is not None else next(further) for key in keys)
    meaning = f"frames from {SIDECAR}"
    if named:
        meaning += f" for {len(listed)}, times from names like {named.example} for {len(others)}"
    return Placement(seconds, "certain", meaning, 0, are_frames=not others)


def _match_names(lr: Stills, ref: Stills) -> list[Placement]:
    """Return a list of the placement that matches pictures by equal names or numbers, or []."""
    ours = _list_stems(lr)
    theirs = _list_stems(ref)
    counters = read_numbers(theirs)
    known = read_numbers(ours)
    same_name = set(theirs) <= set(ours)
    if len(ours) < 2 or (not same_name and (len(counters) != 1 or len(known) != 1)):
        return []

    wanted: Sequence[float]
    places: Sequence[float]
    if same_name:
        position = {stem: float(place) for place, stem in enumerate(ours)}
        wanted = [position[stem] for stem in theirs]
        places = range(len(ours))
    else:
        wanted, places = counters[0], known[0]
        if len(wanted) == len(places) and _is_run(wanted) and _is_run(places):
            shift = min(places) - min(wanted)  # the two series may start at different numbers
            wanted = [number + shift for number in wanted]
    if min(wanted) < min(places) or max(wanted) > max(places):
        return []

    trust: Trust = "likely"
    if len(theirs) == len(ours) and set(wanted) == set(places):
        trust = "certain"
    elif len(counters) == 1 and _is_run(counters[0]) and wanted[0] == min(places):
        trust = "possible"  # the numbers may just count the reference's pictures
    order = np.argsort(np.asarray(places, np.float64))
    seconds = np.array([lr.seconds(number) for number in range(len(ours))])
    found = np.interp(wanted, np.asarray(places, np.float64)[order], seconds[order])
    what = "name" if same_name else "number"
    meaning = f"each belongs to the input's picture of the same {what}"
    return [Placement(tuple(map(float, found)), trust, meaning, 0)]


def _is_run(numbers: Sequence[float]) -> bool:
    """Return whether distinct numbers are consecutive in some order, like those of a counter."""
    return max(numbers) - min(numbers) == len(numbers) - 1


def _count_frames(pts: Sequence[int], times: Sequence[float], ref: Stills) -> list[Placement]:
    """Return a placement for each meaning of the numbers in names: frame numbers, pts or times."""
    stems = _list_stems(ref)
    columns = read_numbers(stems)
    found = []
    for numbers in columns:
        ambiguous = _is_run(numbers) or len(columns) > 1 or CAMERA.match(stems[0])
        trust: Trust = "possible" if ambiguous else "likely"
        last = max(numbers)
        starts: tuple[int, ...] = FIRST_NUMBERS
        if _is_run(numbers) and len(numbers) == len(times):
            trust = "certain"  # a picture for every frame
            starts = (min(numbers),)
        for start in starts:
            if start <= min(numbers) and last - start < len(times):
                seconds = tuple(times[number - start] for number in numbers)
                held = trust if start < FIRST_NUMBERS[-1] or trust == "certain" else "possible"
                meaning = f"numbers in the names are frame numbers, from {start}"
                found.append(Placement(seconds, held, meaning, 1))

        at = dict(zip(pts, times, strict=True))
        if last >= len(times) and all(number in at for number in numbers):
            seconds = tuple(at[number] for number in numbers)
            found.append(Placement(seconds, trust, "numbers in the names are pts", 2))
        for unit, name in ((1000, "milliseconds"), (1, "seconds")):
            seconds = tuple(number / unit for number in numbers)
            if _is_within(seconds, times) and _are_frames_apart(seconds, times):
                meaning = f"numbers in the names are {name}"
                found.append(Placement(seconds, "possible", meaning, 3))
    return found


def _read_names(lr: Clip, ref: Stills, times: Sequence[float]) -> list[Placement]:
    """Return placements by the times in names that lie within the recording, and by dates."""
    found = []
    dates = []
    for reading in read_doubtful_times(_list_stems(ref)):
        dated = min(reading.values) > CALENDAR
        meaning = f"{'dates in' if dated else 'times from'} names like {reading.example}"
        trust: Trust = "possible" if reading.kind == "clock" else "likely"
        if dated:
            since = tuple(value - min(reading.values) for value in reading.values)
            dates.append(Placement(since, "possible", meaning, 5, offset_unknown=True))
            continue
        if reading.kind != "timecode":
            found.append(Placement(reading.values, trust, meaning, 4))
            continue
        rate = float(lr.frame_rate or 25)
        seconds = [
            value + frame / rate
            for value, frame in zip(reading.values, reading.frames, strict=True)
        ]
        hour = min(seconds) // HOUR * HOUR
        found.append(Placement(tuple(seconds), trust, meaning, 4))
        if hour:
            late = tuple(value - hour for value in seconds)
            found.append(Placement(late, "possible", meaning, 4))
    return [placement for placement in found if _is_within(placement.seconds, times)] + dates


def _is_within(seconds: Sequence[float], times: Sequence[float]) -> bool:
    """Return whether `seconds` are all inside the recording, or within one second of it."""
    return min(seconds) >= times[0] - 1 and max(seconds) <= times[-1] + 1


def _are_frames_apart(seconds: Sequence[float], times: Sequence[float]) -> bool:
    """Return whether the pictures are too far apart for any two to show the same frame."""
    return bool((np.diff(np.sort(np.asarray(seconds))) > find_half_interval(times)).all())


def choose_placement(
    placements: Sequence[Placement], lr: Clip, lr_look: Survey, ref_look: Survey | None
) -> Placement | None:
    """Return the placement to use, or None if the pictures must be matched by content.

    Without `ref_look`, only a certain placement is used.
    """
    certain = next((each for each in placements if each.trust == "certain"), None)
    if certain is not None or ref_look is None or not (lr_look.pts and ref_look.pts):
        return certain

    looks = _Looks(lr, lr_look, ref_look)
    held = [each for each in placements if not each.offset_unknown and looks.confirm(each)]
    if held:
        rank = min(each.rank for each in held)
        # in a tie, the first wins
        return max((each for each in held if each.rank == rank), key=looks.rate)
    dates = [each for each in placements if each.offset_unknown]
    aligned = _align_dates(dates[0], lr, lr_look, ref_look) if dates else None
    return aligned if aligned is not None and looks.confirm(aligned) else None


def _align_dates(dates: Placement, lr: Clip, lr_look: Survey, ref_look: Survey) -> Placement | None:
    """Return the placement of dates on the input's clock, or None if no offset stands out."""
    order = sorted(range(len(ref_look.pts)), key=lambda i: dates.seconds[ref_look.pts[i]])
    try:
        offset, drift = estimate_offset(
            lr_look.thumbnails,
            [lr.seconds(pts) for pts in lr_look.pts],
            ref_look.thumbnails.picked(order),
            [dates.seconds[ref_look.pts[i]] for i in order],
        )
    except PairingError:
        return None
    seconds = tuple(each * drift + offset for each in dates.seconds)
    meaning = f"{dates.meaning}, aligned by the pictures' content"
    return Placement(seconds, "likely", meaning, dates.rank)


class _Looks:
    """The correlation of up to MOST_COMPARED reference pictures with every frame of the input."""

    def __init__(self, lr: Clip, lr_look: Survey, ref_look: Survey) -> None:
        count = len(ref_look.pts)
        rows = np.unique(np.linspace(0, count - 1, min(count, MOST_COMPARED)).astype(np.int64))
        self._pictures = [ref_look.pts[row] for row in rows]
        self._times = [lr.seconds(pts) for pts in lr_look.pts]
        pictures = ref_look.thumbnails[rows]
        parts = [
            correlate_thumbnails(pictures, lr_look.thumbnails[first : first + _BLOCK])
            for first in range(0, len(self._times), _BLOCK)
        ]
        self._likeness: NDArray[np.float32] = np.concatenate(parts, axis=1)

    def confirm(self, placement: Placement) -> bool:
        """Return whether the pictures support a placement or, if it is likely, do not refute it."""
        better = []
        worse = []
        lacking = []
        for row, frame in self._locate(placement):
            likeness = self._likeness[row]
            better.append(float((likeness > likeness[frame] + SAME_LOOKS).mean()))
            worse.append(float((likeness < likeness[frame] - SAME_LOOKS).mean()))
            lacking.append(float(likeness.max() - likeness[frame]))
        if not better or not self.show_same_view:
            return placement.trust == "likely"

        fits = float(np.mean(better)) <= MOST_BETTER
        if placement.trust == "likely":
            return fits or float(np.mean(lacking)) < LEAST_LACK
        return fits and float(np.mean(worse)) >= LEAST_WORSE

    @property
    def show_same_view(self) -> bool:
        """Whether the pictures resemble frames closely enough for their times to be found."""
        return float(self._likeness.max(axis=1).mean()) >= SAME_VIEW

    def rate(self, placement: Placement) -> float:
        """Return the mean correlation of the pictures with the frames nearest in time.

        The result is -1 if no picture can be compared.
        """
        found = [float(self._likeness[row, frame]) for row, frame in self._locate(placement)]
        return float(np.mean(found)) if found and self.show_same_view else -1.0

    def _locate(self, placement: Placement) -> list[tuple[int, int]]:
        """Return (row, number of the frame nearest in time) for each compared picture.

        Pictures that are more than a second away from every frame are left out.
        """
        found = []
        for row, picture in enumerate(self._pictures):
            at = placement.seconds[picture]
            after = min(bisect_left(self._times, at), len(self._times) - 1)
            before = max(after - 1, 0)
            nearer = before if at - self._times[before] <= self._times[after] - at else after
            if abs(self._times[nearer] - at) <= 1.0:
                found.append((row, nearer))
        return found
