"""Choose the clip and the pts with which frames are encoded into segments.

If each camera has its own video in both the input and the output, views are encoded only once, with
their camera's times, and the segments are joined. The views of all other light fields are stored
losslessly, and converted to the output's layout at the end.
"""

from __future__ import annotations

from fractions import Fraction

from pipeline.lightfield.reader import ViewTimes
from pipeline.media.join.film import describe_output
from pipeline.schema.clip import Clip, LightField, Recording, RecordingBase, Stills

_DEFAULT_FRAME_RATE = Fraction(25)  # pictures per second


def is_joined_by_packets(light_field: LightField, to: str | None) -> bool:
    """Return whether both the input and the output have one video per camera."""
    return light_field.grid.layout == "video" and to in (None, "video")


class Storage:
    """Finds the clip and the pts with which each frame of a recording is encoded."""

    def __init__(
        self, recording: Recording, to: str | None = None, output: str | None = None
    ) -> None:
        self._recording: Recording = recording
        if isinstance(recording, Stills) and output is not None:
            self._recording = describe_output(recording, output)
        self._cameras = None
        if isinstance(recording, LightField) and is_joined_by_packets(recording, to):
            self._cameras = _Cameras(recording)

    def clip(self, pts: int) -> Clip:
        """Return the clip that defines the time base and colours of the segment at `pts`."""
        if self._cameras is not None:
            return self._cameras.clip(pts)
        if isinstance(self._recording, LightField):
            return as_stills(self._recording)
        return self._recording

    def pts(self, pts: int) -> int:
        """Return the pts with which to encode the frame at `pts`, in ticks of `clip(pts)`."""
        return pts if self._cameras is None else self._cameras.pts(pts)


class _Cameras:
    """Finds the clip and the pts of frames in a light field with one video per camera."""

    def __init__(self, light_field: LightField) -> None:
        self._grid = light_field.grid
        self._times = ViewTimes(light_field)

    def clip(self, number: int) -> Clip:
        position, _ = self._grid.place(number)
        # views are decoded without their transparency
        return self._grid.views[position].video.model_copy(update={"alpha": False})

    def pts(self, number: int) -> int:
        return self._times.pts(*self._grid.place(number))


def as_stills(recording: Recording) -> Stills:
    """Return the recording described as a sequence of lossless RGB pictures."""
    colour = recording.colour.model_copy(
        update={
            "matrix": 0,
            "range": 2,
            "primaries": 2,
            "transfer": 2,
            "used_matrix": "rgb",
            "used_range": "full",
        }
    )
    deep = recording.bit_depth > 8
    shared = {name: getattr(recording, name) for name in RecordingBase.model_fields}
    changed = {
        "alpha": False,
        "files": (),
        "colour": colour,
        "codec": "png",
        "pix_fmt": "rgb48le" if deep else "rgb24",
        "bit_depth": 16 if deep else 8,
        "time_base": 1 / _DEFAULT_FRAME_RATE,
        "frame_rate": _DEFAULT_FRAME_RATE,
    }
    times = recording.times if isinstance(recording, Stills) else ()
    return Stills(**{**shared, **changed}, times=times)
