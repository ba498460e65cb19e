"""Frames of any recording: a video, stills or a light field; the one way in for all stages."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Literal, Protocol

from pipeline.errors import MediaError
from pipeline.lightfield.reader import ViewReader, index_of, read_views
from pipeline.lightfield.sidecar import sidecar_path
from pipeline.media.read.frames import Frame, FrameReader
from pipeline.media.read.frames import read as read_clip
from pipeline.media.read.probe import scan as scan_clip
from pipeline.media.sandbox.parent import called
from pipeline.paths import check_text
from pipeline.pixels import Pixels
from pipeline.schema.clip import Clip, FrameIndex
from pipeline.schema.settings import GridSettings, ViewSettings


class Source(Protocol):
    """Single frames by pts."""

    def get(self, pts: int) -> Pixels:
        """Return the frame at exactly `pts` as uint8 or uint16 H x W x 3 RGB; read only."""
        ...

    def close(self) -> None:
        """Close the files and forget the frames."""
        ...


def open_frames(clip: Clip, *, cache: int = 4, threads: int = 0) -> Source:
    """Return a reader of single frames, which keeps the last `cache` of them."""
    kind = FrameReader if clip.grid is None else ViewReader
    return kind(clip, cache=cache, threads=threads)


def read(
    clip: Clip,
    start_pts: int | None = None,
    end_pts: int | None = None,
    *,
    on_error: Literal["stop", "conceal"] = "stop",
    threads: int = 0,
    expected: Sequence[int] | None = None,
) -> Iterator[Frame]:
    """Yield the frames with start_pts <= pts < end_pts in order; see `media.reader.read`."""
    reader = read_clip if clip.grid is None else read_views
    return reader(clip, start_pts, end_pts, on_error=on_error, threads=threads, expected=expected)


def scan(clip: Clip, *, distinct: bool = True) -> FrameIndex:
    """List the pts of every frame of a recording; see `media.probe.scan`."""
    return scan_clip(clip, distinct=distinct) if clip.grid is None else index_of(clip)


def check_recording(clip: Clip) -> None:
    """Raise InputError where a recording lies in files or folders whose names are no UTF-8."""
    grid = clip.grid
    views = grid.views if grid is not None else ()
    check_text([clip.path, *clip.files, *(file for view in views for file in view.files)])
    for view in views:
        if view.clip is not None:
            check_text([view.clip.path])


_A_FILE = 0.1
"""Seconds that may be waited for each file of a folder."""


def open_guarded(path: str, asked: GridSettings) -> Clip | None:
    """Do what `open_light_field` does, in a child; the clip is read in children, too."""
    fields = {name: getattr(asked, name) for name in GridSettings.model_fields}
    told = GridSettings(**fields).model_dump(mode="json")
    return _opened("pipeline.lightfield.opening:open_light_field", path, {"asked": told})


def reference_guarded(path: str, settings: ViewSettings, lr: Clip) -> Clip:
    """Do what `open_reference` does, in a child; the clip is read in children, too."""
    given = {
        "settings": settings.model_dump(
            mode="json", exclude_unset=True, include=set(ViewSettings.model_fields)
        ),
        "lr": lr.model_dump(mode="json"),
    }
    found = _opened("pipeline.pairing.reference_views:open_reference", path, given)
    assert found is not None
    return found


def _opened(function: str, path: str, arguments: dict[str, Any]) -> Clip | None:
    whole = Path(path).absolute()
    count = sum(1 for _ in whole.rglob("*")) if whole.is_dir() else 1
    given = {"path": str(whole), **arguments}
    made = called(function, given, str(whole), _A_FILE * count, [sidecar_path(whole)])
    if made is None:
        return None
    clip = Clip.model_validate(made)
    # which files are opened later is not left to the child
    for file in _files(clip):
        if Path(file) != whole and whole not in Path(file).parents:
            raise MediaError(
                f"{whole} makes the reader name another file, {file}; expected an intact light "
                "field; do not open it elsewhere"
            )
    return clip.guarded(True)


def _files(clip: Clip) -> Iterator[str]:
    yield clip.path
    yield from clip.files
    if clip.grid is None:
        return
    for view in clip.grid.views:
        yield from view.files
        if view.clip is not None:
            yield from _files(view.clip)
    if clip.grid.sheets is not None:
        yield from _files(clip.grid.sheets)
