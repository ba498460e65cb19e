"""Plan the enhancement of frames that are passed as arrays: sizes, scale and references."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from numbers import Integral, Rational, Real
from typing import Any

from crossnetpp.machine import count_cores
from pipeline.arrays.pictures import find_form, read_pixels
from pipeline.errors import InputError, PairingError, count_items
from pipeline.pairing.clock import ROUNDED
from pipeline.pairing.geometry import has_same_aspect
from pipeline.pairing.rules import References
from pipeline.pixels import Pixels
from pipeline.planning.capture import find_capture
from pipeline.planning.output_size import choose_size
from pipeline.schema.clip import Stills, VideoClip
from pipeline.schema.encoding import Encoding
from pipeline.schema.plan import Plan, ReferencePlan
from pipeline.schema.settings import ExecutionSettings, PairingSettings

USUAL_RATE = Fraction(25)
"""Frames per second if the caller gives no rate and no reference has a time in seconds."""
LEAST_RATE, MOST_RATE = 0.01, 1000.0
_LARGEST_DIVISOR = 1001  # as in 30000/1001


@dataclass(frozen=True)
class GivenReferences:
    """The reference pictures that a caller passed, in order of time."""

    times: References
    """The references' times; the pts of a reference is its position in `pictures`."""
    pictures: list[Any]
    names: list[str]
    """The name of each picture in error messages."""

    def get(self, pts: int) -> Pixels:
        """Return the picture at position `pts` as uint8 or uint16, H x W x 3 RGB."""
        return read_pixels(self.pictures[pts], self.names[pts])

    def sizes(self) -> list[tuple[int, int]]:
        """Return the height and width of each picture.

        Raises InputError if a picture's form is not supported.
        """
        return [find_form(p, name)[1] for p, name in zip(self.pictures, self.names, strict=True)]


def parse_rate(rate: float | Fraction | None, references: Iterable[Any]) -> Fraction:
    """Return the frame rate in frames per second: `rate`, or USUAL_RATE if that is None.

    `references` are pairs of a time and a picture. Raises InputError if `rate` is not a number from
    LEAST_RATE to MOST_RATE, or if it is None although a reference has a time in seconds.
    """
    if rate is None:
        timed = [pair[0] for pair in references if not isinstance(pair[0], Integral)]
        if timed:
            raise InputError(
                f"a reference is at {timed[0]} seconds, but the frame rate is unknown; pass it in "
                "frames per second, as in rate=25, or pass integer frame numbers instead of times"
            )
        return USUAL_RATE

    is_number = isinstance(rate, Real) and not isinstance(rate, bool)
    if not is_number or not LEAST_RATE <= rate <= MOST_RATE:
        raise InputError(
            f"the rate is {rate!r}, expected {LEAST_RATE:g} to {MOST_RATE:g} frames per second; "
            "try rate=25"
        )
    # Fraction rejects NumPy's float32, which is neither a float nor rational
    exact = Fraction(rate) if isinstance(rate, Rational) else Fraction(float(rate))
    return exact.limit_denominator(_LARGEST_DIVISOR)


def check_pairs(references: Iterable[Any]) -> list[tuple[Any, Any]]:
    """Return the references as a list of pairs of a time and a picture.

    A time is a frame number (int) or a number of seconds (float). The pictures are not checked.
    Raises InputError if there are no references, or if one is not such a pair.
    """
    pairs = []
    for number, pair in enumerate(references):
        is_pair = isinstance(pair, tuple | list) and len(pair) == 2
        when = pair[0] if is_pair else None
        is_time = isinstance(when, Real) and not isinstance(when, bool) and math.isfinite(when)
        if not is_time or (isinstance(when, Integral) and when < 0):
            found = f"has the time {when!r}" if is_pair else f"is of type {type(pair).__name__}"
            raise InputError(
                f"reference {number} {found}, expected a pair (WHEN, PICTURE), where "
                "WHEN is a frame number (0, 1, ...) or a finite time in seconds (float); try "
                "[(0, picture)]"
            )
        pairs.append((when, pair[1]))

    if not pairs:
        raise InputError(
            "there are no references; pass a sharp picture of what the frame shows or, for a "
            "video, pairs of a time and a picture, as in [(0, picture)]"
        )
    return pairs


def order_references(pairs: list[tuple[Any, Any]], rate: Fraction) -> GivenReferences:
    """Return the references in order of time, with frame numbers converted to exact times."""
    seconds = [_find_seconds(when, rate) for when, _ in pairs]
    order = sorted(range(len(pairs)), key=seconds.__getitem__)
    return GivenReferences(
        References(range(len(pairs)), [seconds[i] for i in order]),
        [pairs[i][1] for i in order],
        [f"reference {i}" for i in order],
    )


def check_distances(distances: Sequence[Any], count: int) -> None:
    """Raise InputError unless there are `count` distances, all of them finite numbers."""
    if len(distances) != count:
        raise InputError(
            f"found {count_items(len(distances), 'distance')} for "
            f"{count_items(count, 'reference')}; pass one distance for each reference, or none at "
            "all"
        )
    for number, distance in enumerate(distances):
        if not isinstance(distance, Real) or not math.isfinite(distance):
            raise InputError(
                f"the distance of reference {number} is {distance!r}, expected a finite number of "
                "frames; leave out a reference that is too far away, or pass no distances at all"
            )


def _find_seconds(when: Any, rate: Fraction) -> float:
    """Return the time in seconds for `when`, which is a frame number or a time in seconds.

    A time in seconds may be a frame's time rounded to milliseconds. If so, the exact time is
    returned.
    """
    if isinstance(when, Integral):
        return float(int(when) / rate)
    frame = float(round(float(when) * rate) / rate)
    return frame if abs(frame - float(when)) <= ROUNDED else float(when)


def check_overlap(times: References, end: float, reach: float) -> None:
    """Raise PairingError if all references are too early, or all are too late, for the frames.

    The first frame is at 0 seconds, and the last one at `end` seconds. A reference can be used up
    to `reach` seconds away.
    """
    first, last = times.seconds[0], times.seconds[-1]
    if last < -reach or first > end + reach:
        raise PairingError(
            f"the references are at {first:g} to {last:g} s and the frames at 0 to {end:g} s, so "
            f"no reference is within {reach:g} s of a frame; count frames and seconds from the "
            "first frame, which is at 0, or increase max_ref_distance"
        )


def plan_frames(
    frame: Pixels,
    sizes: list[tuple[int, int]],
    rate: Fraction,
    pairing: PairingSettings,
    execution: ExecutionSettings,
) -> Plan:
    """Return a plan for frames like `frame` (h x w x 3), without segments or a reference map.

    `sizes` contains the height and width of each reference, and `rate` is in frames per second.
    Raises InputError or PairingError if frames and references do not match, or if their size, scale
    or capture cannot be used.
    """
    height, width = frame.shape[:2]
    depth = 8 * frame.itemsize
    lr = VideoClip(
        path="frames", codec="rawvideo", pix_fmt="rgb24" if depth == 8 else "rgb48le",
        bit_depth=depth, width=width, height=height, time_base=1 / rate, frame_rate=rate,
        size_bytes=0, fingerprint="",
    )  # fmt: skip
    references = [_describe_reference(size, number) for number, size in enumerate(sizes)]
    for reference in references:
        if not has_same_aspect(lr, reference, 0):
            raise PairingError(
                f"a reference is {reference.width}x{reference.height}, but must have the same "
                f"proportions as the frames, which are {width}x{height}; crop the reference to "
                "what the frames show"
            )
    size = choose_size(lr, references[0], pairing)

    return Plan(
        input=lr,
        reference=ReferencePlan(
            clip=references[0], select="time", max_distance=pairing.max_ref_distance
        ),
        capture=find_capture(pairing.capture, size.scale),
        output="",
        scale=size.scale,
        width=size.width,
        height=size.height,
        engine=execution.engine,
        model=execution.model,
        batch=execution.batch,
        encoding=Encoding(),
        threads=count_cores(),
        segments=(),
        reference_map=(),
    )


def _describe_reference(size: tuple[int, int], number: int) -> Stills:
    return Stills(
        path=f"reference {number}", codec="rawvideo", pix_fmt="rgb24", bit_depth=8,
        width=size[1], height=size[0], time_base=Fraction(1), size_bytes=0, fingerprint="",
    )  # fmt: skip
