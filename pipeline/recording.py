"""Open and read any recording: a video, still pictures or a light field."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Literal, Protocol, TypeVar

from pipeline.errors import MediaError
from pipeline.lightfield.opening import open_light_field
from pipeline.lightfield.reader import ViewReader, index_views, read_views
from pipeline.lightfield.sidecar import sidecar_path
from pipeline.media.planes import PlaneFormat
from pipeline.media.read.frames import Frame, FrameReader
from pipeline.media.read.frames import read_frames as read_clip
from pipeline.media.read.probe import probe
from pipeline.media.read.probe import scan as scan_clip
from pipeline.media.sandbox.parent import call_in_child
from pipeline.paths import check_encodable
from pipeline.pixels import Pixels
from pipeline.schema.clip import FrameIndex, LightField, Recording, RecordingBase
from pipeline.schema.parsing import narrow_settings
from pipeline.schema.settings import GridSettings

R = TypeVar("R", bound=RecordingBase)

_SECONDS_PER_FILE = 0.1  # added to a child's time limit for each file in a folder


class Source(Protocol):
    """A reader that returns single frames by pts."""

    def get(self, pts: int) -> Pixels:
        """Return the frame at exactly `pts` as uint8 or uint16 H x W x 3 RGB; do not modify it."""
        ...

    def close(self) -> None:
        """Close the files and empty the cache."""
        ...


def open_recording(
    path: str, layout: GridSettings | None = None, *, sandbox: bool = False
) -> Recording:
    """Return a description of the recording at `path`: a light field, a video or stills.

    With `sandbox`, confined child processes open the recording now and decode it later. Raises
    InputError if the files do not match the `layout`, and MediaError if they cannot be read.
    """
    found = find_light_field(path, layout, sandbox=sandbox)
    return found or probe(str(Path(path).absolute()), sandbox=sandbox)


def find_light_field(
    path: str, layout: GridSettings | None = None, *, sandbox: bool = False
) -> LightField | None:
    """Return a description of the light field at `path`, or None if there is none.

    With `sandbox`, confined child processes open the light field now and decode it later.
    """
    if not sandbox:
        return open_light_field(path, layout)

    grid_settings = narrow_settings(layout or GridSettings(), GridSettings)
    arguments = {"settings": grid_settings.model_dump(mode="json")}
    data = describe_in_child("pipeline.lightfield.opening:open_light_field", path, arguments)
    return None if data is None else confine_recording(LightField.model_validate(data), path)


def describe_in_child(function: str, path: str, arguments: dict[str, Any]) -> Any:
    """Call a function on `path` in a confined child process, and return its result as parsed JSON.

    `function` has the form "module:function", and `arguments` are its other arguments.
    """
    whole = Path(path).absolute()
    count = sum(1 for _ in whole.rglob("*")) if whole.is_dir() else 1
    return call_in_child(
        function,
        {"path": str(whole), **arguments},
        str(whole),
        _SECONDS_PER_FILE * count,
        [sidecar_path(whole)],
    )


def confine_recording(recording: R, path: str) -> R:
    """Return a child process's description of the recording at `path`, safe for later use.

    The result is marked to be opened only in confined child processes. Raises MediaError if it
    lists a file that is neither `path` nor inside it, because a malicious recording may have taken
    over the child to choose the files that are opened later.
    """
    whole = Path(path).absolute()
    for file in recording.list_paths():
        if Path(file) != whole and whole not in Path(file).parents:
            raise MediaError(
                f"{whole} refers to {file}, a file outside it, and may be malicious; do not open "
                "it with other programs"
            )
    return recording.model_copy(update={"url": ""}).with_sandbox(True)


def check_recording(recording: Recording) -> None:
    """Raise InputError if a file or folder of the recording has a name that is not UTF-8."""
    check_encodable(recording.list_paths())


def open_frames(
    recording: Recording, *, cache: int = 4, threads: int = 0, apart: bool = False
) -> Source:
    """Return a reader of single frames that caches the last `cache` of them.

    Set `apart` if the wanted frames are far apart, so that the reader seeks to each one.
    """
    if isinstance(recording, LightField):
        return ViewReader(recording, cache=cache, threads=threads)
    return FrameReader(recording, cache=cache, threads=threads, apart=apart)


def read(
    recording: Recording,
    start_pts: int | None = None,
    end_pts: int | None = None,
    *,
    on_error: Literal["stop", "conceal"] = "stop",
    threads: int = 0,
    expected: Sequence[int] | None = None,
    planes: PlaneFormat | None = None,
) -> Iterator[Frame]:
    """Yield the frames with start_pts <= pts < end_pts in order.

    The options have the same meaning as in `media.read.frames.read_frames` or, for light fields,
    `lightfield.reader.read_views`. Light fields ignore `planes`.
    """
    if isinstance(recording, LightField):
        return read_views(
            recording, start_pts, end_pts, on_error=on_error, threads=threads, expected=expected
        )
    return read_clip(
        *(recording, start_pts, end_pts),
        on_error=on_error,
        threads=threads,
        expected=expected,
        planes=planes,
    )


def scan(recording: Recording, *, distinct: bool = True) -> FrameIndex:
    """Return an index of all frames of a recording, as `media.read.probe.scan` does."""
    if isinstance(recording, LightField):
        return index_views(recording)
    return scan_clip(recording, distinct=distinct)
