"""Correct the location of an input's chroma samples if its key frames show a different one.

Programs that convert RGB to 4:2:0, or scale 4:2:0, often place chroma samples halfway between two
columns of pixels, but the stream then signals or implies that they are on the left.
"""

from __future__ import annotations

import math
from typing import TypeVar

from pipeline.schema.capture import Capture
from pipeline.schema.clip import RecordingBase, VideoClip
from pipeline.schema.colour import ChromaLocation

# Position of a chroma sample, in pixels to the right of and below the first luma sample it covers.
_PLACES: dict[ChromaLocation, tuple[float, float]] = {
    "left": (0.0, 0.5),
    "center": (0.5, 0.5),
    "topleft": (0.0, 0.0),
    "top": (0.5, 0.0),
}
_NAMES = {
    "left": "on the left of two pixels",
    "center": "in the centre of four pixels",
    "topleft": "on every second pixel",
    "top": "between two pixels of a row",
}
_LEAST_GAIN = 0.1  # pixels by which another location must be nearer to the measured one

R = TypeVar("R", bound=RecordingBase)


def correct_chroma(lr: R, capture: Capture | None) -> tuple[R, str]:
    """Return the input with the chroma location that its capture shows, and a note (may be empty).

    The input is unchanged unless it is 4:2:0 video and its capture was measured.
    """
    shift = None if capture is None else capture.chroma_shift
    if shift is None or not isinstance(lr, VideoClip) or "420" not in lr.pix_fmt:
        return lr, ""
    tagged = lr.colour.chroma
    if not tagged:
        return lr, ""

    measured = [place + moved for place, moved in zip(_PLACES[tagged], shift, strict=True)]
    distances = {name: math.dist(measured, place) for name, place in _PLACES.items()}
    found = min(distances, key=distances.__getitem__)
    if distances[tagged] - distances[found] < _LEAST_GAIN:
        return lr, ""
    colour = lr.colour.model_copy(update={"chroma": found})
    note = (
        f"the chroma samples of the input are {_NAMES[found]}, as the key frames show, and not "
        f"{_NAMES[tagged]}, as the stream signals or implies"
    )
    return lr.model_copy(update={"colour": colour}), note
