"""The beginning of a recording in another container, packets copied."""

from __future__ import annotations

import io
from pathlib import Path

import av
from av.container import InputContainer, OutputContainer

CONTAINERS = ("mp4", "matroska", "mpegts", "flv", "mov", "nut")
"""FFmpeg's names of what a recording is cut into."""
LEAST, MOST, PIXELS = 3, 8, 800_000
"""Frames of a beginning, at least and at most; pixels of all of them."""
LARGEST = 1_000_000
"""Pixels of a frame: larger ones are left out, as they take seconds to enhance."""


def beginnings(path: Path) -> list[bytes]:
    """Return the first frames of a recording, and the sound beside them, in each container.

    One that cannot hold them is left out.
    """
    with av.open(str(path)) as container:
        video = container.streams.video[0]
        pixels = video.width * video.height
    if pixels > LARGEST:
        return []
    frames = max(LEAST, min(MOST, PIXELS // pixels))
    found = []
    for name in CONTAINERS:
        try:
            found.append(beginning(path, frames, name))
        except (av.error.FFmpegError, ValueError):
            continue
    return found


def beginning(path: Path, frames: int, container: str) -> bytes:
    """Return the first `frames` packets of the video, and the sound beside them, in a container.

    Raises PyAV's errors for one that cannot hold them.
    """
    written = io.BytesIO()
    with av.open(str(path)) as source, av.open(written, "w", format=container) as target:
        _copy(source, target, frames)
    return written.getvalue()


def _copy(source: InputContainer, target: OutputContainer, frames: int) -> None:
    kept = [source.streams.video[0], *source.streams.audio[:1]]
    copies = {stream.index: target.add_stream_from_template(stream) for stream in kept}
    left = frames
    for packet in source.demux(kept):
        if packet.dts is None:
            continue
        if packet.stream is kept[0]:
            left -= 1
        packet.stream = copies[packet.stream.index]
        target.mux(packet)
        if not left:
            return
