"""How the frames of a segment are stored until they are joined: as which recording, at which pts.

Views of cameras with videos of their own are encoded once, with that camera's times, and joined by
packets; all others are kept without loss and written into their layout at the end.
"""

from __future__ import annotations

from fractions import Fraction

from pipeline.lightfield.reader import Times
from pipeline.schema.clip import Clip

_RATE = Fraction(25)


def joined_by_packets(clip: Clip, to: str | None) -> bool:
    """Tell whether the output has one video for each camera, as the input has."""
    return clip.grid is not None and clip.grid.layout == "video" and to in (None, "video")


class Storage:
    """Which recording each frame of an input is encoded as, and when in it."""

    def __init__(self, clip: Clip, to: str | None = None) -> None:
        self._clip = clip
        self._own = joined_by_packets(clip, to)
        self._times = Times(clip) if self._own else None

    def clip(self, pts: int) -> Clip:
        """Return the recording whose times and colours the segment of this frame has."""
        grid = self._clip.grid
        if grid is None:
            return self._clip
        if self._own:
            view = grid.views[grid.place(pts)[0]]
            assert view.clip is not None
            return view.clip.model_copy(update={"alpha": False})  # views are read without theirs
        return as_stills(self._clip)

    def pts(self, pts: int) -> int:
        """Return when the frame is, in ticks of that recording."""
        if self._times is None:
            return pts
        assert self._clip.grid is not None
        return self._times.pts(*self._clip.grid.place(pts))


def as_stills(clip: Clip) -> Clip:
    """Return views as pictures in order: RGB, without loss."""
    colour = clip.colour.model_copy(
        update={
            "matrix": 0,
            "range": 2,
            "primaries": 2,
            "transfer": 2,
            "used_matrix": "rgb",
            "used_range": "full",
        }
    )
    deep = clip.bit_depth > 8
    return clip.model_copy(
        update={
            "kind": "stills",
            "alpha": False,
            "files": (),
            "grid": None,
            "colour": colour,
            "codec": "png",
            "pix_fmt": "rgb48le" if deep else "rgb24",
            "bit_depth": 16 if deep else 8,
            "time_base": 1 / _RATE,
            "frame_rate": _RATE,
        }
    )
