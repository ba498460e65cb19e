"""Open containers and read their video, raising MediaError instead of libav's errors."""

from __future__ import annotations

import ctypes
import os
import sys
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

from pipeline.errors import MediaError, first_line
from pipeline.schema.parsing import read_number_variable
from pipeline.schema.texts import is_word

# What PyAV raises for files that it cannot use; its argument checks raise ValueError and OSError.
MEDIA_ERRORS = (av.error.FFmpegError, ValueError, OSError)

# Demuxing also raises IndexError, for a packet of a stream that the header did not declare.
DEMUX_ERRORS = (*MEDIA_ERRORS, IndexError)

_MOST_BOXES = 1000  # how many boxes of an MP4 file to examine when looking for its index

# Formats that contain all of their data, unlike playlists and image lists, which name other files.
_DEMUXERS = (
    "mov,mp4,m4a,3gp,3g2,mj2", "matroska,webm", "avi", "mpegts", "mpeg", "nut", "flv", "asf", "ogg",
    "mxf", "gif", "apng", "h264", "hevc", "m4v", "mpegvideo", "ivf", "obu", "yuv4mpegpipe", "dv",
    "rm", "wav", "mp3", "flac", "aac", "ac3", "w64", "aiff", "amr", "av1",
)  # fmt: skip
_SAFE = {"protocol_whitelist": "file", "format_whitelist": ",".join(_DEMUXERS)}

# Streams without a container: their frames have no times and are numbered in order.
UNTIMED_FORMATS = frozenset({"h264", "hevc", "m4v", "mpegvideo"})
MEGAPIXELS_VARIABLE = "PIPELINE_MAX_MEGAPIXELS"  # limit on a frame's size, in megapixels
# 16384 x 16384, more than any of the encoders supports: a frame of 8-bit RGB takes 0.8 GB.
DEFAULT_MEGAPIXELS = 256.0


def open_input(path: str) -> InputContainer:
    """Open a video or picture file for reading; raises MediaError if that fails."""
    file = Path(path)
    if not file.exists():
        raise MediaError(f"{path} does not exist; expected a video file; check the path")
    if file.is_file() and file.stat().st_size == 0:
        raise MediaError(f"{path} is empty; expected a video file; copy the file again")
    try:
        # metadata in old files is often not UTF-8, which must not prevent decoding
        return av.open(f"file:{path}", options=_SAFE, metadata_errors="surrogateescape")
    except MEDIA_ERRORS as error:
        if _lacks_index(file):
            raise MediaError(
                f"{path} lacks its index (moov); expected an intact MP4 or MOV file; the recording "
                "or the copy was cut off: copy the file again, or repair it with a program such as "
                "untrunc"
            ) from error
        raise MediaError(
            f"{path} cannot be opened as a video ({first_line(error)}); "
            "expected a video or picture file; check that another program can open it"
        ) from error


def _lacks_index(file: Path) -> bool:
    """Return whether a file begins like an MP4 or MOV file, but has no index among its boxes."""
    if not file.is_file():
        return False
    kinds: list[bytes] = []
    with file.open("rb") as stream:
        end = stream.seek(0, os.SEEK_END)
        start, size = 0, 8
        while size >= 8 and start < end and len(kinds) < _MOST_BOXES:
            stream.seek(start)
            head = stream.read(16)
            size = int.from_bytes(head[:4], "big")
            if size == 1:
                size = int.from_bytes(head[8:16], "big")
            kinds.append(head[4:8])
            start += size
    return kinds[:1] == [b"ftyp"] and not {b"moov", b"meta"} & set(kinds)


@contextmanager
def open_container(path: str) -> Iterator[InputContainer]:
    """Open a video file as `open_input` does, and release its memory at the end of the block."""
    try:
        with open_input(path) as container:
            yield container
    finally:
        release_memory()


def release_memory() -> None:
    """Return freed memory to the system if the C library supports it.

    The index of an hour-long MP4 takes 20 MB or more. Without this, freed memory stays in the
    heap of its thread, and the next thread that opens the file allocates as much again.
    """
    trim = _trim()
    if trim is not None:
        trim(0)


@lru_cache
def _trim() -> Any:
    """Return glibc's malloc_trim, or None with any other C library."""
    if sys.platform != "linux":
        return None
    return getattr(ctypes.CDLL(None), "malloc_trim", None)


def is_cover(stream: Stream) -> bool:
    """Return whether a stream is cover art or a thumbnail."""
    return bool(stream.disposition & (Disposition.attached_pic | Disposition.timed_thumbnails))


def choose_video(container: InputContainer, path: str) -> VideoStream:
    """Return the first video stream that is not cover art and has a decoder.

    Raises MediaError if there is none.
    """
    real = [stream for stream in container.streams.video if not is_cover(stream)]
    usable = [s for s in real if s.codec_context is not None]
    if usable:
        return usable[0]
    if real:
        raise MediaError(
            f"{path} has video in a codec that this FFmpeg cannot decode; convert it to H.264 "
            "with a program that can"
        )

    kinds = {"cover art" if is_cover(stream) else stream.type for stream in container.streams}
    found = "only " + " and ".join(sorted(kinds)) if kinds else "no streams"
    raise MediaError(f"{path} has {found}; expected a video stream; try another file")


def frame_pts(frame: VideoFrame) -> int | None:
    """Return a frame's pts in ticks, or its dts if it has no pts; None if it has neither."""
    return frame.pts if frame.pts is not None else frame.dts


def codec_name(stream: Stream) -> str:
    """Return the name of a stream's codec (`av1`) rather than of its decoder (`libdav1d`).

    For an attachment, return its file name if that is a single word, else "unknown".
    """
    context = stream.codec_context
    if context is not None:
        return str(context.codec.canonical_name)
    name = str(getattr(stream, "name", None) or "")
    return name if name and is_word(name) else "unknown"


def demux_packets(
    container: InputContainer, streams: Stream | list[Stream], path: str
) -> Iterator[Packet[Any]]:
    """Yield the packets of the streams in file order.

    Raises MediaError if the file cannot be read to its end.
    """
    packets = container.demux(streams)
    while True:
        try:
            packet = next(packets, None)
        except DEMUX_ERRORS as error:
            raise MediaError(
                f"{path} cannot be read to its end ({first_line(error)}); expected an intact file; "
                "copy it again"
            ) from error
        if packet is None:
            return
        yield packet


def decode_first_frame(container: InputContainer, stream: VideoStream, path: str) -> VideoFrame:
    """Return a stream's first decodable frame; raises MediaError if it has none."""
    error: BaseException | None = None
    for packet in demux_packets(container, stream, path):
        try:
            for frame in packet.decode():
                assert isinstance(frame, VideoFrame)
                return frame
        except MEDIA_ERRORS as caught:
            error = caught
    reason = first_line(error) if error else "it contains no frames"
    raise MediaError(
        f"{path} has a video stream ({codec_name(stream)}) that cannot be decoded ({reason}); "
        "expected at least one frame; the file may be truncated: copy it again"
    )


def read_pixel_limit() -> float:
    """Return the largest number of pixels that a frame may have.

    Raises InputError if PIPELINE_MAX_MEGAPIXELS is set to anything but a positive number.
    """
    return read_number_variable(MEGAPIXELS_VARIABLE, DEFAULT_MEGAPIXELS, "megapixels") * 2**20


def check_size(width: int, height: int, path: str) -> None:
    """Raise MediaError if a frame has no pixels, or more than `read_pixel_limit` allows.

    A crafted header may claim any size, even in a file of a hundred bytes.
    """
    limit = read_pixel_limit()
    if width <= 0 or height <= 0:
        raise MediaError(
            f"{path} has a frame size of {width}x{height}; expected at least one pixel; "
            "copy the file again"
        )
    if width * height > limit:
        raise MediaError(
            f"{path} has a frame size of {width}x{height}; expected at most "
            f"{limit / 2**20:g} megapixels; if you trust the file, increase {MEGAPIXELS_VARIABLE}"
        )
