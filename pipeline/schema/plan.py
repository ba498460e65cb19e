"""What is written to disk and sent to workers: clips, settings, plans and records.

Times are kept as integer pts with an exact rational time base (seconds a tick), never as floats.
Every model is frozen; unknown fields are refused, so that a mistyped plan file is noticed.
"""

from __future__ import annotations

import hashlib
import json
from array import array
from collections.abc import Iterable, Sequence
from fractions import Fraction
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, PlainSerializer, PlainValidator
from pydantic.dataclasses import dataclass

from pipeline.schema.reference_map import ReferenceChoice, ReferenceMap


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


class Encoding(Model):
    """Encoder settings; the same for every segment so that packets can be joined."""

    codec: str = "libx264"
    crf: float | None = 16
    preset: str | None = "medium"
    pix_fmt: str = "yuv420p"
    profile: str | None = None
    hdr: StaticHdr | None = None
    threads: int = 0
    """Encoder threads; fixed in the plan because some encoders' output depends on it."""


class ReferencePlan(Model):
    """The reference stream and how it lies over the input."""

    clip: Clip
    select: Literal["time", "content", "view"]
    offset: float = 0.0
    """Seconds added to reference times to put them on the input's clock."""
    drift: float = 1.0
    """Reference times are multiplied by this before the offset is added."""
    max_distance: float
    """Seconds beyond which a reference is not borrowed from."""
    affine: tuple[float, float, float, float, float, float] | None = None
    """Row-major 2 x 3 map from output pixels to reference pixels; None = plain scaling."""
    match_colour: bool = True


class Segment(Model):
    """A run of LR frames that is decoded, enhanced, encoded and committed as one."""

    index: int
    start_pts: int
    """First frame's pts, inclusive."""
    end_pts: int
    """First pts after the segment, exclusive."""
    frames: int


class RunRecord(Model):
    """How the run went that finished an output."""

    command: str
    seconds: float
    """Wall-clock time from planning to publishing."""
    frames: int
    """Enhanced by this run; resumed ones are not counted."""
    engine: str
    device: str
    reason: str
    """Why this engine was taken."""
    runner: str
    busy: dict[str, float]
    """Busy seconds of each stage, summed over workers."""
    versions: dict[str, str]
    machine: str


class Plan(Model):
    """Everything a run does, decided before it starts; deterministic and editable."""

    version: Literal[1] = 1
    input: Clip
    reference: ReferencePlan
    output: str
    pictures: str = ""
    """Names of numbered pictures, such as %06d.png, in the folder `output`; "" for others."""
    output_url: str = ""
    """Where the output goes after `output` was made and verified on the driver's machine."""
    scale: Literal[2, 4, 8]
    width: int
    """Output width in stored pixels."""
    height: int
    engine: str
    model: str
    model_sha256: str = ""
    """Of the weights, set as a run starts: a run is not resumed with others."""
    batch: int
    encoding: Encoding
    threads: int = 0
    """CPU threads of an engine; some kernels' last bits depend on it. 0 = fixed as a run starts."""
    on_error: Literal["stop", "conceal"] = "stop"
    to: Literal["folder", "lenslet", "mosaic", "quilt", "h5", "video"] | None = None
    """Light fields: layout of the output; None = the input's."""
    cuts: tuple[int, ...] = ()
    """LR pts of the first frame after each scene cut."""
    segments: tuple[Segment, ...]
    reference_map: ReferenceMap
    notes: tuple[str, ...] = ()
    """What was guessed, what will be kept and what lost, in plain sentences."""
    expected_bytes: int | None = None
    """About how large the video will be; only in plans that `pipeline plan` made."""
    record: RunRecord | None = None
    """How the run went; only in the plan that is kept beside a finished output."""

    def digest(self) -> str:
        """Return the sha256 of all that decides the output's bits (not path, notes or record)."""
        # the map follows entry by entry: a long one is never held as text
        names = ("output", "output_url", "notes", "expected_bytes", "record", "reference_map")
        left = dict.fromkeys(names, True)
        lr, ref = self.input.guarded(False), self.reference.clip.guarded(False)
        plain = self.model_copy(
            update={"input": lr, "reference": self.reference.model_copy(update={"clip": ref})}
        )
        guard = {"sandbox": True}
        text = plain.model_dump_json(exclude={**left, "input": guard, "reference": {"clip": guard}})
        for clip in (self.input, self.reference.clip):
            if clip.url:  # copies lie elsewhere on every machine
                text = text.replace(json.dumps(clip.path)[1:-1], clip.url)
        digest = hashlib.sha256(text.encode())
        for line in self.reference_map.lines():
            digest.update(line)
        return digest.hexdigest()

    def choices(self, segment: Segment) -> list[ReferenceChoice]:
        """Return the reference choices of one segment, in presentation order."""
        return [c for c in self.reference_map if segment.start_pts <= c.pts < segment.end_pts]


class SegmentRecord(Model):
    """Proof that a segment is committed: what its file holds."""

    segment: int
    plan: str
    """Digest of the plan the segment was made for."""
    file: str
    frames: int
    first_pts: int
    last_pts: int
    sha256: str
    concealed: tuple[int, ...] = ()
    """LR pts where a corrupt frame was replaced by the one before it."""
