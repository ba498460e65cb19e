"""Copy the beginning of a recording into other containers, packet by packet."""

from __future__ import annotations

import io
from pathlib import Path

import av
from av.container import InputContainer, OutputContainer

CONTAINERS = ("mp4", "matroska", "mpegts", "flv", "mov", "nut")  # FFmpeg's muxer names
LEAST_FRAMES = 3
MOST_FRAMES = 8
PIXELS = 800_000  # limit for all copied frames together, although LEAST_FRAMES are always copied
LARGEST_FRAME = 1_000_000  # pixels; larger frames would take seconds to enhance


def cut_beginnings(path: Path) -> list[bytes]:
    """Return the beginning of a recording, with sound, as a file in each of CONTAINERS.

    Containers that cannot hold the streams are left out. The list is empty if the frames are larger
    than LARGEST_FRAME.
    """
    with av.open(str(path)) as container:
        video = container.streams.video[0]
        pixels = video.width * video.height
    if pixels > LARGEST_FRAME:
        return []

    frames = max(LEAST_FRAMES, min(MOST_FRAMES, PIXELS // pixels))
    found = []
    for name in CONTAINERS:
        try:
            found.append(cut_beginning(path, frames, name))
        except (av.error.FFmpegError, ValueError):
            continue
    return found


def cut_beginning(path: Path, frames: int, container: str) -> bytes:
    """Return a file with the first `frames` video packets and the sound packets in between.

    Raises FFmpegError or ValueError if the container cannot hold the streams.
    """
    written = io.BytesIO()
    with av.open(str(path)) as source, av.open(written, "w", format=container) as target:
        _copy_packets(source, target, frames)
    return written.getvalue()


def _copy_packets(source: InputContainer, target: OutputContainer, frames: int) -> None:
    streams = [source.streams.video[0], *source.streams.audio[:1]]
    copies = {stream.index: target.add_stream_from_template(stream) for stream in streams}
    left = frames
    for packet in source.demux(streams):
        if packet.dts is None:
            continue
        if packet.stream is streams[0]:
            left -= 1
        packet.stream = copies[packet.stream.index]
        target.mux(packet)
        if not left:
            return
