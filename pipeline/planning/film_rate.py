"""Choose the frame rate of a video that is made from still pictures."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction

import numpy as np

from pipeline.errors import InputError
from pipeline.media.join.film import becomes_film
from pipeline.planning.sources import Sources
from pipeline.schema.clip import Recording, Stills, VideoClip
from pipeline.schema.settings import OutputSettings

_USUAL = Fraction(25)
_NTSC = Fraction(1000, 1001)  # NTSC rates are whole multiples of this
_ROUNDING = 0.001  # pictures per second: largest rounding error in rates such as 23.976
_LARGEST_DENOMINATOR = 1001
_SLOWEST = 5  # pictures per second; slower series are probably not the frames of a video
_MOST_UNEVEN = 0.25  # largest range of the intervals, as a share of their median


def set_film_rate(sources: Sources, output: OutputSettings) -> Sources:
    """Return the sources, with a frame rate and a note about it if pictures become a video.

    Raises InputError if a rate is given for an output that keeps the times of its input.
    """
    lr = sources.lr
    is_film = output.output is not None and becomes_film(lr, output.output)
    if not is_film:
        if output.fps is not None:
            raise InputError(
                f"--fps {output.fps:g} does not apply: only a video made from pictures needs a "
                "frame rate, and other outputs keep the times of the input; leave --fps out"
            )
        return sources

    assert isinstance(lr, Stills)
    rate, why = _choose_rate(lr, sources.ref, output.fps)
    note = f"the video shows {float(rate):.6g} pictures per second, {why}"
    timed = lr.model_copy(update={"time_base": 1 / rate, "frame_rate": rate})
    return replace(sources, lr=timed, notes=(*sources.notes, note))


def _choose_rate(lr: Stills, ref: Recording, fps: float | None) -> tuple[Fraction, str]:
    """Return the frame rate in pictures per second, and a clause that states its origin."""
    if fps is not None:
        return _find_exact_rate(fps), "as requested"
    if (own := _find_own_rate(lr.times)) is not None:
        return own, "according to the times of the pictures; try --fps for another rate"
    if isinstance(ref, VideoClip) and ref.frame_rate:
        return ref.frame_rate, "like the reference; try --fps for another rate"
    return _USUAL, "by default; try --fps for another rate"


def _find_own_rate(times: tuple[float, ...]) -> Fraction | None:
    """Return the frame rate of pictures, or None if their times (in seconds) are unlike a video's.

    The frames of a video are evenly spaced, and at most 1 / _SLOWEST seconds apart.
    """
    if len(times) < 2:
        return None
    steps = np.diff(times)
    step = float(np.median(steps))
    if step <= 0 or float(np.ptp(steps)) > _MOST_UNEVEN * step or step > 1 / _SLOWEST:
        return None
    return _find_exact_rate(1 / step)


def _find_exact_rate(fps: float) -> Fraction:
    """Return the exact frame rate for a rounded number, such as 24000/1001 for 23.976."""
    ntsc = round(fps / float(_NTSC)) * _NTSC
    if abs(float(ntsc) - fps) < _ROUNDING:
        return ntsc
    return Fraction(fps).limit_denominator(_LARGEST_DENOMINATOR)
