"""Frames of any recording: a video, stills or a light field; the one way in for all stages."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Literal, Protocol

from pipeline.lightfield.reader import ViewReader, index_of, read_views
from pipeline.media.colour import Pixels
from pipeline.media.read.frames import Frame, FrameReader
from pipeline.media.read.frames import read as read_clip
from pipeline.media.read.probe import scan as scan_clip
from pipeline.schema.plan import Clip, FrameIndex


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
