"""Descriptions of recordings (videos, still pictures and light fields), without their pixels."""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Iterator, Sequence
from fractions import Fraction
from typing import Annotated, Any, Literal, Self

from pydantic import (
    Field,
    PlainSerializer,
    PlainValidator,
    SerializerFunctionWrapHandler,
    TypeAdapter,
    model_serializer,
    model_validator,
)
from pydantic.dataclasses import dataclass

from pipeline.schema import texts
from pipeline.schema.colour import Colour, StaticHdr
from pipeline.schema.model import Model

# Keys of a recording in a plan file, in order; every kind of recording has all of them.
KEYS = (
    "kind", "path", "files", "times", "container", "stream_index", "codec", "pix_fmt", "alpha",
    "bit_depth", "width", "height", "rotation", "sample_aspect_ratio", "time_base", "frame_rate",
    "duration_pts", "colour", "hdr", "interlaced", "deinterlace", "sandbox", "other_streams",
    "chapters", "size_bytes", "fingerprint", "grid", "url",
)  # fmt: skip
# The values that are written for keys that a kind of recording does not use.
_UNUSED: dict[str, Any] = {
    "times": (),
    "container": "",
    "stream_index": 0,
    "interlaced": False,
    "deinterlace": "off",
    "other_streams": (),
    "chapters": 0,
    "grid": None,
}


class StreamInfo(Model):
    """A stream of the container other than the chosen video stream, such as audio or subtitles."""

    index: int
    type: texts.Word
    codec: texts.Word
    language: str = ""


class RecordingBase(Model):
    """The fields that videos, still pictures and light fields share."""

    path: texts.PathText
    files: tuple[texts.PathText, ...] = ()
    """The files of stills or views; empty for a video, whose file is `path`."""
    codec: texts.Word
    pix_fmt: texts.Word
    alpha: bool = False
    """Whether the frames have transparency."""
    bit_depth: int
    width: int
    """Stored width in pixels, before display rotation."""
    height: int
    rotation: int = 0
    """Display rotation in degrees, counter-clockwise, as in FFmpeg's display matrix."""
    sample_aspect_ratio: texts.Ratio = Fraction(1)
    time_base: texts.Ratio
    """Seconds per tick of a pts."""
    frame_rate: texts.Ratio | None = None
    duration_pts: int | None = None
    colour: Colour = Colour()
    hdr: StaticHdr | None = None
    sandbox: bool = False
    """Whether the recording is opened and decoded only in confined child processes."""
    size_bytes: int
    fingerprint: texts.Word
    """SHA-256 of the files' sizes and contents (sampled if large), to detect changes."""
    url: texts.PathText = ""
    """URL from which the recording was downloaded to `path`; "" if it was not downloaded."""

    @property
    def has_times(self) -> bool:
        """Whether the frames' times are known, rather than derived from an assumed frame rate."""
        return True

    def seconds(self, pts: int) -> float:
        """Return the time of `pts` in seconds on the recording's own clock."""
        return float(pts * self.time_base)

    def with_sandbox(self, on: bool) -> Self:
        """Return the recording, and any nested recordings, with `sandbox` set to `on`."""
        return self.model_copy(update={"sandbox": on})

    def with_path(self, path: str) -> Self:
        """Return the recording with its path changed to `path`, and its files' paths with it."""
        return self._with_root(self.path, path)

    def list_paths(self) -> Iterator[str]:
        """Yield the paths of the recording and of all its files, nested recordings included."""
        yield self.path
        yield from self.files

    def _with_root(self, old: str, new: str) -> Self:
        files = _replace_root(self.files, old, new)
        (path,) = _replace_root((self.path,), old, new)
        return self.model_copy(update={"path": path, "files": files})

    @classmethod
    def _unused_keys(cls) -> dict[str, Any]:
        return {key: value for key, value in _UNUSED.items() if key not in cls.model_fields}

    @model_validator(mode="before")
    @classmethod
    def _drop_unused_keys(cls, data: object) -> object:
        if not isinstance(data, dict):
            return data

        unused = cls._unused_keys()
        used = {}
        for key, value in data.items():
            plain = tuple(value) if isinstance(value, list) else value
            # keep any other value, so that the model rejects it
            if key not in unused or plain != unused[key]:
                used[key] = value
        return used

    @model_serializer(mode="wrap")
    def _add_unused_keys(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        whole = {**self._unused_keys(), **handler(self)}
        # an unknown field raises ValueError rather than being dropped from the file
        return {key: whole[key] for key in sorted(whole, key=KEYS.index)}


class VideoClip(RecordingBase):
    """The video stream of a file, or a video to be made from pictures."""

    kind: Literal["video"] = "video"
    container: texts.Containers = ""
    stream_index: int = 0
    interlaced: bool = False
    """Whether the first frame is flagged as interlaced."""
    deinterlace: Literal["off", "flagged", "all"] = "off"
    """Which frames are deinterlaced when they are read."""
    other_streams: tuple[StreamInfo, ...] = ()
    """The file's other streams that will be copied: all of them, or all except audio."""
    chapters: int = 0

    @property
    def is_film(self) -> bool:
        """Whether the video is to be made from the pictures in `files` and has no container."""
        return self.container == "pictures"


class Stills(RecordingBase):
    """Still pictures in order; a pts is an index into `files`, and a tick lasts 1 / frame rate."""

    kind: Literal["stills"] = "stills"
    times: tuple[float, ...] = ()
    """Each file's time in seconds, from a sidecar, EXIF or file names; empty if unknown."""

    @property
    def has_times(self) -> bool:
        """Whether the pictures have times of their own."""
        return bool(self.times)

    def seconds(self, pts: int) -> float:
        """Return the picture's own time in seconds, or the one that the frame rate implies."""
        return self.times[pts] if self.times else super().seconds(pts)


# A single video, or pictures: the recordings that `pipeline.media` can read.
Clip = Annotated[VideoClip | Stills, Field(discriminator="kind")]


class View(Model):
    """One view of a light field: its place in the grid, and the source of its pixels.

    Rows are numbered downwards and columns rightwards, as in the file names.
    """

    row: int
    col: int
    files: tuple[texts.PathText, ...] = ()
    """One picture per moment; empty for a view in a sheet, a dataset or a video."""
    clip: VideoClip | None = None
    """The camera's own video, if it has one."""
    frames: int = 1
    x: float | None = None
    """Camera centre (x, y) in grid steps, from names, poses or a sidecar; None means (col, row)."""
    y: float | None = None

    @property
    def video(self) -> VideoClip:
        """The camera's own video; raises LookupError if the view has none."""
        if self.clip is None:
            raise LookupError(f"view ({self.row}, {self.col}) has no video of its own")
        return self.clip


class Grid(Model):
    """The views of a light field, and the layout in which they are stored.

    Frames are numbered moment by moment, and view by view within a moment; but if each view is a
    video, they are numbered view by view, and moment by moment within a view.
    """

    layout: Literal["folder", "lenslet", "mosaic", "quilt", "h5", "video"]
    views: tuple[View, ...]
    """The views, row by row; holes have no entry."""
    moments: int = 1
    packed: tuple[int, int] | None = None
    """Number of rows and columns of views in a sheet or dataset; None for other layouts."""
    first: tuple[int, int] = (0, 0)
    """Row and column of the first view in a sheet or dataset."""
    line: bool = False
    """Whether a sheet's views form a single line that continues from row to row, as in a quilt."""
    sheets: Clip | None = None
    """The sheets: pictures or a video, each picture or frame of which contains all views of one
    moment."""
    order: Literal["row,col", "col,row"] = "row,col"
    template: texts.ViewTemplate = ""
    """Template of the view files' names."""
    dataset: texts.DataSetName = ""
    """Name of the HDF5 dataset."""
    axes: texts.Axes = ""
    """Axes of the dataset: t moments, r and c views, h and w pixels, 3 channels; or "WH"."""

    @property
    def tiling(self) -> tuple[int, int]:
        """Rows and columns of views in a sheet or dataset; raises LookupError for other layouts."""
        if self.packed is None:
            raise LookupError(f"the layout {self.layout} has neither sheets nor a dataset")
        return self.packed

    @property
    def sheet_clip(self) -> Clip:
        """The recording of the sheets; raises LookupError for layouts without sheets."""
        if self.sheets is None:
            raise LookupError(f"the layout {self.layout} has no sheets")
        return self.sheets

    @property
    def has_video_sheets(self) -> bool:
        """Whether the views are packed into the frames of a video."""
        return isinstance(self.sheets, VideoClip)

    @property
    def count(self) -> int:
        """Total number of frames in all views."""
        return sum(view.frames for view in self.views)

    def number(self, view: int, moment: int) -> int:
        """Return the frame number of `views[view]` at `moment`."""
        if self.layout == "video":
            return sum(v.frames for v in self.views[:view]) + moment
        return moment * len(self.views) + view

    def place(self, number: int) -> tuple[int, int]:
        """Return the index in `views` and the moment of the frame with the given number.

        Raises IndexError if the views are videos and no frame has this number.
        """
        if self.layout != "video":
            moment, view = divmod(number, len(self.views))
            return view, moment

        for position, camera in enumerate(self.views):
            if number < camera.frames:
                return position, number
            number -= camera.frames
        raise IndexError(number)

    def at(self, row: int, col: int) -> int | None:
        """Return the index in `views` of the view at (row, col), or None for a hole."""
        return next((i for i, v in enumerate(self.views) if (v.row, v.col) == (row, col)), None)

    def position(self, row: int, col: int) -> int:
        """Return the index in `views` of the view at (row, col); raises LookupError for a hole."""
        found = self.at(row, col)
        if found is None:
            raise LookupError(f"the grid has no view at ({row}, {col})")
        return found

    @property
    def rows(self) -> tuple[int, int]:
        """The first row, and the number of rows from the first to the last."""
        first = min(view.row for view in self.views)
        return first, max(view.row for view in self.views) - first + 1

    @property
    def cols(self) -> tuple[int, int]:
        """The first column, and the number of columns from the first to the last."""
        first = min(view.col for view in self.views)
        return first, max(view.col for view in self.views) - first + 1


class LightField(RecordingBase):
    """A light field; its pts are the frame numbers that `Grid.number` returns."""

    kind: Literal["views"] = "views"
    grid: Grid

    def with_sandbox(self, on: bool) -> Self:
        """Return the light field, including its videos and sheets, with `sandbox` set to `on`."""
        views = []
        for view in self.grid.views:
            clip = None if view.clip is None else view.clip.with_sandbox(on)
            views.append(view.model_copy(update={"clip": clip}))

        sheets = None if self.grid.sheets is None else self.grid.sheets.with_sandbox(on)
        grid = self.grid.model_copy(update={"views": tuple(views), "sheets": sheets})
        return super().with_sandbox(on).model_copy(update={"grid": grid})

    def list_paths(self) -> Iterator[str]:
        """Yield the paths of the light field and of all files of its views, cameras and sheets."""
        yield from super().list_paths()
        for view in self.grid.views:
            yield from view.files
            if view.clip is not None:
                yield from view.clip.list_paths()
        if self.grid.sheets is not None:
            yield from self.grid.sheets.list_paths()

    def _with_root(self, old: str, new: str) -> Self:
        views = []
        for view in self.grid.views:
            files = _replace_root(view.files, old, new)
            clip = None if view.clip is None else view.clip._with_root(old, new)
            views.append(view.model_copy(update={"files": files, "clip": clip}))

        sheets = None if self.grid.sheets is None else self.grid.sheets._with_root(old, new)
        grid = self.grid.model_copy(update={"views": tuple(views), "sheets": sheets})
        return super()._with_root(old, new).model_copy(update={"grid": grid})


# Any recording, as plans describe it.
Recording = Annotated[VideoClip | Stills | LightField, Field(discriminator="kind")]

_RECORDING: TypeAdapter[VideoClip | Stills | LightField] = TypeAdapter(Recording)


def parse_recording(data: object) -> Recording:
    """Return the recording described by JSON data; raises ValidationError if it is invalid."""
    return _RECORDING.validate_python(data)


def _replace_root(paths: Iterable[str], old: str, new: str) -> tuple[str, ...]:
    """Return the paths with their root `old` replaced by `new`; paths outside it are unchanged."""
    inside = f"{old.rstrip('/')}/"
    moved = []
    for path in paths:
        is_inside = path == old or path.startswith(inside)
        moved.append(new + path[len(old) :] if is_inside else path)
    return tuple(moved)


def pack_ticks(times: Iterable[int]) -> array[int]:
    """Return times (ticks) as a 64-bit array, which takes a fifth of a list's memory."""
    return times if isinstance(times, array) else array("q", times)


Ticks = Annotated[Sequence[int], PlainValidator(pack_ticks), PlainSerializer(list)]


@dataclass(frozen=True, slots=True)
class FrameIndex:
    """The presentation times of all frames of a recording, in ticks."""

    pts: Ticks
    keys: Ticks
    """Presentation times of the key frames, at which decoding can start."""
    end_pts: int
    """End of the last frame: its pts plus its duration."""
    undecodable: int = 0
    """Number of frames left out at the start of the file, because they depend on missing frames."""
