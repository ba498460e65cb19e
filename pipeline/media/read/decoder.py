"""Decode a video from any frame onwards, with accurate seeking."""

from __future__ import annotations

import heapq
from collections import deque
from collections.abc import Iterator
from typing import Any

from av.container import InputContainer
from av.packet import Packet
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

from pipeline.errors import MediaError, first_line
from pipeline.media.alpha import make_alpha_decoder
from pipeline.media.container import (
    DEMUX_ERRORS,
    MEDIA_ERRORS,
    UNTIMED_FORMATS,
    demux_packets,
    frame_pts,
    open_input,
    release_memory,
)
from pipeline.media.read.deinterlace import deinterlace_frames
from pipeline.schema.clip import VideoClip

_FARTHEST_SECONDS = 128  # limit on how far before a frame to look for a key frame
_LOOK_AHEAD = 16  # frames; no codec reorders frames by more than this


class Decoder:
    """Decodes the undamaged frames of a video in presentation order, without converting pixels."""

    def __init__(self, clip: VideoClip, *, threads: int = 0) -> None:
        self._clip = clip
        self._threads = threads
        self.error: str | None = None
        """The last error since decoding started, or since the caller set this to None."""
        self._container, self._stream = self._open()

    def close(self) -> None:
        """Close the file."""
        self._container.close()
        release_memory()

    def frames(self, start_pts: int | None, *, back: int = 0) -> Iterator[tuple[int, VideoFrame]]:
        """Yield (pts, frame), starting `back` key frames before the one that `start_pts` needs.

        Frames before `start_pts` are yielded, too. With deinterlacing, decoding starts another key
        frame earlier. If `start_pts` is None, it starts at the beginning of the file.
        """
        # deinterlacing a frame also needs the frame before it
        early = self._clip.deinterlace != "off"
        decoded = self._decode(start_pts, back + early)
        # with B-frames, AVI numbers frames in decoding order, not in display order
        if self._clip.container == "avi":
            decoded = _shown_in_order(decoded)
        if self._clip.deinterlace == "off":
            return decoded
        return deinterlace_frames(decoded, self._clip.deinterlace)

    def key_before(self, pts: int) -> int | None:
        """Return the pts of the key frame from which `pts` would be decoded.

        The result is None if `pts` would be decoded from the start of the file. This method seeks,
        so do not call it while frames are being read from this decoder.
        """
        found = self._find_key(pts)
        return found[1] if found else None

    def _decode(self, start_pts: int | None, back: int) -> Iterator[tuple[int, VideoFrame]]:
        self.error = None
        if start_pts is None or not self._seek(start_pts, back):
            self._container.close()
            self._container, self._stream = self._open()
        transparent = make_alpha_decoder(self._clip, self._threads)
        untimed = self._clip.container in UNTIMED_FORMATS
        count = 0
        for packet in self._packets():
            try:
                decoded = transparent.decode(packet) if transparent else packet.decode()
            except MEDIA_ERRORS as error:
                self.error = first_line(error)
                continue
            for frame in decoded:
                pts = count if untimed else frame_pts(frame)
                count += 1
                if frame.is_corrupt or pts is None:
                    self.error = "its data are damaged"
                else:
                    yield pts, frame

    def _packets(self) -> Iterator[Packet[Any]]:
        try:
            yield from demux_packets(self._container, self._stream, self._clip.path)
        except MediaError as error:
            self.error = str(error)

    def _open(self) -> tuple[InputContainer, VideoStream]:
        container = open_input(self._clip.path)
        stream = container.streams[self._clip.stream_index]
        assert isinstance(stream, VideoStream)
        stream.thread_type = "AUTO"
        stream.codec_context.thread_count = self._threads
        return container, stream

    def _seek(self, start_pts: int, back: int) -> bool:
        """Seek to a key frame at or before `start_pts`, or to one `back` key frames earlier.

        Return False if there is none, so that the file must be decoded from its start.
        """
        found = self._find_key(start_pts)
        for _ in range(back):
            found = self._find_key(found[1] - 1) if found else None
        if found is None:
            return False
        # seek again, because `_find_key` has consumed the packet there
        self._container.seek(found[0], stream=self._stream)
        return True

    def _find_key(self, pts: int) -> tuple[int, int] | None:
        """Return the time to seek to and the pts of the key frame there, at or before `pts`.

        The result is None if the file must be decoded from its start. Demuxers seek by dts, or to
        the nearest index entry, so they may find a key frame after `pts`; earlier times are then
        tried.
        """
        if self._clip.container in UNTIMED_FORMATS:
            return None
        second = max(1, round(1 / self._clip.time_base))
        step = 0
        while step <= _FARTHEST_SECONDS * second:
            key = self._landing(pts - step)
            if key is None:
                return None
            if key <= pts:
                return pts - step, key
            step = max(second, step * 2)
        return None

    def _landing(self, target: int) -> int | None:
        """Seek to `target`, and return the pts of the key frame there, or None if there is none."""
        try:
            self._container.seek(target, stream=self._stream)
            packet = next(self._container.demux(self._stream))
        except (*DEMUX_ERRORS, StopIteration):
            return None
        return packet.pts if packet.is_keyframe else None


def _shown_in_order(
    decoded: Iterator[tuple[int, VideoFrame]],
) -> Iterator[tuple[int, VideoFrame]]:
    """Yield frames in the order in which they arrive, but with their times in ascending order.

    The frames must arrive in display order, and no time more than `_LOOK_AHEAD` frames late.
    """
    frames: deque[VideoFrame] = deque()
    times: list[int] = []
    for pts, frame in decoded:
        frames.append(frame)
        heapq.heappush(times, pts)
        if len(frames) > _LOOK_AHEAD:
            yield heapq.heappop(times), frames.popleft()
    while frames:
        yield heapq.heappop(times), frames.popleft()
