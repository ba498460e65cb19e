"""TODO: what this module is for."""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Sequence
from fractions import Fraction
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, PlainSerializer, PlainValidator
from pydantic.dataclasses import dataclass


class Model(BaseModel):
    """Freeze the model and refuse unknown fields."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Colour(Model):
    """Colour description of a stream: the tags it carries, and what is used to convert it.

    The four tags are the integers of ITU-T H.273 (2 = unspecified).
    """

    matrix: int = 2
    range: int = 0
    """0 unspecified, 1 limited (16..235), 2 full (0..255); FFmpeg's AVColorRange."""
    primaries: int = 2
    transfer: int = 2
    used_matrix: Literal["rgb", "bt601", "bt709", "bt2020"] = "bt709"
    used_range: Literal["limited", "full"] = "limited"
    guessed: bool = False
    """True when matrix or range was not tagged and the usual guess (by height) was taken."""


class StaticHdr(Model):
    """Mastering display and content light level, the same for the whole recording."""

    display: str = ""
    """As x265 writes it: G(x,y)B(x,y)R(x,y)WP(x,y)L(max,min) in 0.00002 and 0.0001 cd/m2."""
    light: tuple[int, int] | None = None
    """Largest and mean content light level, cd/m2."""


class StreamInfo(Model):
    """A stream of the container that is not the picture: audio, subtitle, attachment, data."""

    index: int
    type: str
    codec: str
    language: str = ""


class Clip(Model):
    """A recording: one video stream, still images in order, or the views of a light field.

    For stills, `pts` is the position in `files` and `time_base` is 1 / frame rate; for views, it is
    the number that `Grid.number` gives.
    """

    kind: Literal["video", "stills", "views"]
    path: str
    files: tuple[str, ...] = ()
    times: tuple[float, ...] = ()
    """Stills only: seconds of each file, from EXIF or the file name; empty when unknown."""
    container: str = ""
    stream_index: int = 0
    codec: str
    pix_fmt: str
    alpha: bool = False
    """Whether its frames have transparency."""
    bit_depth: int
    width: int
    """Stored width in pixels, before display rotation."""
    height: int
    rotation: int = 0
    """Display rotation in degrees, counter-clockwise, as FFmpeg's display matrix states it."""
    sample_aspect_ratio: Fraction = Fraction(1)
    time_base: Fraction
    frame_rate: Fraction | None = None
    duration_pts: int | None = None
    colour: Colour = Colour()
    hdr: StaticHdr | None = None
    interlaced: bool = False
    """Whether the first frame says so."""
    deinterlace: Literal["off", "flagged", "all"] = "off"
    """Which frames are made progressive as they are read."""
    sandbox: bool = False
    """Whether it is opened and decoded by child processes under limits only."""
    other_streams: tuple[StreamInfo, ...] = ()
    """Those that are to be kept: all, or all but the sound."""
    chapters: int = 0
    size_bytes: int
    fingerprint: str
    """sha256 over size and the first and last MiB of each file: tells a changed input."""
    grid: Grid | None = None
    """Views only."""
    url: str = ""
    """Where it was fetched from, if it was; `path` is the copy on this machine then."""

    def seconds(self, pts: int) -> float:
        """Return the time of `pts` in seconds on this clip's own clock."""
        if self.times:
            return self.times[pts]
        return float(pts * self.time_base)

    def guarded(self, on: bool) -> Clip:
        """Return the clip, and what it consists of, with `sandbox` set so."""
        update: dict[str, object] = {"sandbox": on}
        if self.grid is not None:
            views = [
                view.model_copy(update={"clip": view.clip and view.clip.guarded(on)})
                for view in self.grid.views
            ]
            sheets = self.grid.sheets and self.grid.sheets.guarded(on)
            update["grid"] = self.grid.model_copy(update={"views": tuple(views), "sheets": sheets})
        return self.model_copy(update=update)


class View(Model):
    """One view of a light field: where it is in the grid, and where its pixels are.

    Rows and columns count from the top left, and are those of the file names.
    """

    row: int
    col: int
    files: tuple[str, ...] = ()
    """A picture for every moment; empty where the view lies in sheets, a data set or a video."""
    clip: Clip | None = None
    """The recording of a camera with a video of its own."""
    frames: int = 1
    x: float | None = None
    """Camera centre in grid steps, where names or poses tell it; None = at (col, row)."""
    y: float | None = None


class Grid(Model):
    """The views of a light field and the layout they lie in.

    Frames are numbered moment by moment, view by view within; videos view by view.
    """

    layout: Literal["folder", "lenslet", "mosaic", "quilt", "h5", "video"]
    views: tuple[View, ...]
    """Row by row; views that are missing are left out."""
    moments: int = 1
    packed: tuple[int, int] | None = None
    """Rows and columns of views in a sheet or data set."""
    first: tuple[int, int] = (0, 0)
    """Row and column of the first view of a sheet or data set."""
    line: bool = False
    """Whether a sheet's views are numbered on from one row to the next (a quilt's are)."""
    sheets: Clip | None = None
    """Pictures or a video, each frame of which holds all views of one moment."""
    order: Literal["row,col", "col,row"] = "row,col"
    template: str = ""
    """How the view files are named, from the layout's folder on."""
    dataset: str = ""
    """Name of the HDF5 data set."""
    axes: str = ""
    """What its axes are: n, t moments, r, c views, h, w pixels, 3 channels."""

    @property
    def count(self) -> int:
        """Return how many frames all views hold together."""
        return sum(view.frames for view in self.views)

    def number(self, view: int, moment: int) -> int:
        """Return the number of the frame of `views[view]` at `moment`."""
        if self.layout == "video":
            return sum(v.frames for v in self.views[:view]) + moment
        return moment * len(self.views) + view

    def place(self, number: int) -> tuple[int, int]:
        """Return which view (its position in `views`) and which moment a frame is of."""
        if self.layout != "video":
            moment, view = divmod(number, len(self.views))
            return view, moment
        for position, camera in enumerate(self.views):
            if number < camera.frames:
                return position, number
            number -= camera.frames
        raise IndexError(number)

    def at(self, row: int, col: int) -> int | None:
        """Return the position in `views` of the view at (row, col), None for a hole."""
        return next((i for i, v in enumerate(self.views) if (v.row, v.col) == (row, col)), None)

    @property
    def rows(self) -> tuple[int, int]:
        """Return the first row and how many there are, holes included."""
        first = min(view.row for view in self.views)
        return first, max(view.row for view in self.views) - first + 1

    @property
    def cols(self) -> tuple[int, int]:
        """Return the first column and how many there are, holes included."""
        first = min(view.col for view in self.views)
        return first, max(view.col for view in self.views) - first + 1


def ticks(times: Iterable[int]) -> array[int]:
    """Return times as an array: 8 bytes each, a fifth of what a list of them needs."""
    return times if isinstance(times, array) else array("q", times)


Ticks = Annotated[Sequence[int], PlainValidator(ticks), PlainSerializer(list)]


@dataclass(frozen=True, slots=True)
class FrameIndex:
    """Presentation times of every frame of a clip, without pixels (from the packets)."""

    pts: Ticks
    keys: Ticks
    """Presentation times of the key frames at which decoding can start."""
    end_pts: int
    """Presentation end of the last frame (its pts + duration)."""
