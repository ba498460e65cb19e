"""Open containers and choose the picture in them; libav errors become ours here."""

from __future__ import annotations

import ctypes
import os
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from typing import Any

import av
from av.container import InputContainer
from av.packet import Packet
from av.stream import Disposition, Stream
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

from pipeline.errors import InputError, MediaError, first_line

MEDIA_ERRORS = (av.error.FFmpegError, ValueError, OSError)
"""What PyAV raises on files it cannot use; ValueError and OSError come from its argument checks."""

DEMUX_ERRORS = (*MEDIA_ERRORS, IndexError)
"""And while packets are read: IndexError for one of a stream that the header did not tell of."""

_DEMUXERS = (
    "mov,mp4,m4a,3gp,3g2,mj2", "matroska,webm", "avi", "mpegts", "mpeg", "nut", "flv", "asf", "ogg",
    "mxf", "gif", "apng", "h264", "hevc", "m4v", "mpegvideo", "ivf", "obu", "yuv4mpegpipe", "dv",
    "rm", "wav", "mp3", "flac", "aac", "ac3", "w64", "aiff", "amr", "av1",
)  # fmt: skip
"""Formats that hold their data themselves: playlists, concat and image lists read other files."""
_SAFE = {"protocol_whitelist": "file", "format_whitelist": ",".join(_DEMUXERS)}


def open_input(path: str) -> InputContainer:
    """Open a video file for reading; raises MediaError when it is not one."""
    file = Path(path)
    if not file.exists():
        raise MediaError(f"{path} does not exist; expected a video file; check the path")
    if file.is_file() and file.stat().st_size == 0:
        raise MediaError(f"{path} is empty; expected a video file; copy it again")
    try:
        # metadata in old files is often not UTF-8; it must not stop the pictures
        return av.open(f"file:{path}", options=_SAFE, metadata_errors="surrogateescape")
    except MEDIA_ERRORS as error:
        raise MediaError(
            f"{path} cannot be opened as a video ({first_line(error)}); "
            "expected a video or picture file; check that it plays"
        ) from error


@contextmanager
def open_container(path: str) -> Iterator[InputContainer]:
    """Open a video file for reading, and give its memory back afterwards; see `open_input`."""
    try:
        with open_input(path) as container:
            yield container
    finally:
        release_memory()


def release_memory() -> None:
    """Return what was freed to the system, where the C library can.

    An hour's MP4 has an index of 20 MB. What is freed stays with the thread's own heap otherwise,
    and the next thread to open the file takes as much again.
    """
    trim = _trim()
    if trim is not None:
        trim(0)


@lru_cache
def _trim() -> Any:
    """Return glibc's malloc_trim; None elsewhere."""
    return getattr(ctypes.CDLL(None), "malloc_trim", None)


def is_cover(stream: Stream) -> bool:
    """Tell cover art and thumbnails from real video."""
    return bool(stream.disposition & (Disposition.attached_pic | Disposition.timed_thumbnails))


def choose_video(container: InputContainer, path: str) -> VideoStream:
    """Return the first video stream that is not cover art and can be decoded."""
    real = [stream for stream in container.streams.video if not is_cover(stream)]
    usable = [s for s in real if s.codec_context is not None]
    if usable:
        return usable[0]
    if real:
        raise MediaError(f"{path} has a video codec without decoder; try to convert it to H.264")
    kinds = sorted({stream.type for stream in container.streams})
    found = "only " + " and ".join(kinds) if kinds else "no streams"
    if container.streams.video:
        found += " (the picture is cover art)"
    raise MediaError(f"{path} has {found}; expected a video stream; give another file")


def frame_pts(frame: VideoFrame) -> int | None:
    """Return a frame's presentation time in ticks, from its dts where the file has no pts."""
    return frame.pts if frame.pts is not None else frame.dts


def codec_name(stream: Stream) -> str:
    """Return the codec's own name (`h264`), not its decoder's (`libdav1d`)."""
    context = stream.codec_context
    if context is not None:
        return str(context.codec.canonical_name)
    return str(getattr(stream, "name", None) or "unknown")


def demux_packets(
    container: InputContainer, streams: Stream | list[Stream], path: str
) -> Iterator[Packet[Any]]:
    """Yield the packets of streams; raises MediaError where the container breaks off."""
    packets = container.demux(streams)
    while True:
        try:
            packet = next(packets, None)
        except DEMUX_ERRORS as error:
            raise MediaError(
                f"{path} breaks off ({first_line(error)}); expected an intact file; copy it again"
            ) from error
        if packet is None:
            return
        yield packet


def decode_first_frame(container: InputContainer, stream: VideoStream, path: str) -> VideoFrame:
    """Return the first frame that can be decoded; raises MediaError where there is none."""
    error: BaseException | None = None
    for packet in demux_packets(container, stream, path):
        try:
            for frame in packet.decode():
                assert isinstance(frame, VideoFrame)
                return frame
        except MEDIA_ERRORS as caught:
            error = caught
    reason = first_line(error) if error else "it holds no frames"
    raise MediaError(
        f"{path} has a {codec_name(stream)} stream that cannot be decoded ({reason}); "
        "expected at least one frame; the file may be truncated: copy it again"
    )


MEGAPIXELS_VARIABLE = "PIPELINE_MAX_MEGAPIXELS"


DEFAULT_MEGAPIXELS = 256.0
"""16384 x 16384: more than any encoder here takes, and 0.8 GB for a frame of 8-bit RGB."""


def read_pixel_limit() -> float:
    """Return how many pixels a picture may have; InputError for a limit that is no number."""
    text = os.environ.get(MEGAPIXELS_VARIABLE) or str(DEFAULT_MEGAPIXELS)
    try:
        return float(text) * 2**20
    except ValueError:
        raise InputError(
            f"found {MEGAPIXELS_VARIABLE}={text}, expected a number of megapixels"
        ) from None


def check_size(width: int, height: int, path: str) -> None:
    """Refuse a header whose picture would not fit; raises MediaError.

    A crafted file of a hundred bytes may claim any size.
    """
    limit = read_pixel_limit()
    if width <= 0 or height <= 0:
        raise MediaError(f"{path} says it is {width}x{height}; expected a picture; copy it again")
    if width * height > limit:
        raise MediaError(
            f"{path} says it is {width}x{height}; expected at most {limit / 2**20:g} megapixels; "
            f"if you trust it, set {MEGAPIXELS_VARIABLE}"
        )
