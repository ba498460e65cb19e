"""Find the times of a video's frames from its packets or, if these are not frames, by decoding.

Demuxing is a hundred times faster than decoding, and in most files each packet is one frame. The
exceptions are field-coded H.264 (two packets per frame), MPEG-4 with frames that are not coded (a
packet without a frame), and recordings that begin between key frames (packets that cannot be
decoded). Raw streams have no times at all.
"""

from __future__ import annotations

from array import array
from dataclasses import dataclass, field, replace
from functools import lru_cache

import numpy as np
from av.container import InputContainer
from av.video.stream import VideoStream
from numpy.typing import NDArray

from pipeline.errors import MediaError, first_line
from pipeline.media.container import (
    DEMUX_ERRORS,
    UNTIMED_FORMATS,
    demux_packets,
    frame_pts,
    open_container,
)
from pipeline.schema.clip import FrameIndex, VideoClip

# Codecs whose hidden frames have packets of their own, so that only decoding finds the shown ones.
_HIDES_FRAMES = frozenset({"vp8"})

# Size of the largest MPEG-4 packet that only marks a frame as "not coded": 8 bytes, and stuffing.
_NOT_CODED_BYTES = 12

Column = NDArray[np.int64]
Flags = NDArray[np.bool_]


@dataclass(frozen=True)
class _Times:
    """The times in ticks and the sizes in bytes of frames or packets, in the order of the file."""

    pts: array[int] = field(default_factory=lambda: array("q"))
    durations: array[int] = field(default_factory=lambda: array("q"))
    keys: array[int] = field(default_factory=lambda: array("q"))
    sizes: array[int] = field(default_factory=lambda: array("q"))
    starts_at_key: bool = True
    """Whether the file begins with a key frame, and no frame is displayed before that one."""

    def add(self, pts: int, duration: int | None, size: int, *, key: bool) -> None:
        """Add a frame or packet of `size` bytes; an unknown duration becomes 0."""
        self.pts.append(pts)
        self.durations.append(duration or 0)
        self.sizes.append(size)
        if key:
            self.keys.append(pts)

    def find_doubled(self) -> int | None:
        """Return the earliest pts that two frames share; None if all pts are different."""
        ordered = np.sort(self.pts)
        same = ordered[1:][np.diff(ordered) == 0]
        return int(same[0]) if len(same) else None

    def find_step_back(self) -> tuple[int, int] | None:
        """Return the first pts that is lower than its predecessor, with that predecessor.

        The result is None if there is no such pts.
        """
        times = _column(self.pts)
        back = np.flatnonzero(np.diff(times) < 0)
        return (int(times[back[0] + 1]), int(times[back[0]])) if len(back) else None


def index_frames(clip: VideoClip, *, distinct: bool) -> FrameIndex:
    """Return the presentation times of all frames, in ticks.

    Raises MediaError if the file is truncated or has no frames, if its times go backwards or, with
    `distinct`, if two frames have the same time. Without `distinct`, such frames count as one.
    """
    packets = _read_packets(clip)
    if packets is not None and not _may_differ_from_frames(clip, packets):
        return _make_index(clip, packets, packets)

    frames = _decode_times(clip, strict=packets is None)
    if distinct and (pts := frames.find_doubled()) is not None:
        raise MediaError(
            f"{clip.path} has two frames at {clip.seconds(pts):.3f} s (pts {pts}), expected "
            "distinct times; give every frame its own time with "
            f"ffmpeg -i INPUT -fps_mode cfr -c:a copy OUTPUT{_suffix(clip)}"
        )
    _refuse_step_back(clip, frames)

    if packets is None:
        return _make_index(clip, frames, frames)
    return _merge(clip, packets, frames)


def _suffix(clip: VideoClip) -> str:
    return ".mp4" if clip.container.startswith("mov") else ".mkv"


def _column(times: array[int]) -> Column:
    return np.asarray(times, np.int64)


def _read_packets(clip: VideoClip) -> _Times | None:
    """Return the times of the packets; None if they cannot be the times of the frames.

    Raises MediaError if the file is truncated, or cannot be read to its end.
    """
    with open_container(clip.path) as container:
        stream = _find_stream(container, clip)
        _refuse_truncated(stream, clip)
        if clip.codec in _HIDES_FRAMES or clip.container in UNTIMED_FORMATS:
            return None

        found = _Times()
        start: int | None = None
        starts_at_key = True
        for packet in demux_packets(container, stream, clip.path):
            if packet.size == 0:
                continue
            if packet.pts is None:
                return None
            if start is None:
                start = packet.pts
                starts_at_key = packet.is_keyframe or _is_first_entry_key(stream)
            if not packet.is_discard:
                starts_at_key &= packet.pts >= start
                found.add(packet.pts, packet.duration, packet.size, key=packet.is_keyframe)
    if not found.pts or found.find_doubled() is not None:
        return None
    return replace(found, starts_at_key=starts_at_key)


def _is_first_entry_key(stream: VideoStream) -> bool:
    # the demuxer recognises key frames by their data, which may be damaged, not by MP4's index
    entry = next(iter(stream.index_entries), None)
    return entry is not None and entry.is_keyframe


def _refuse_truncated(stream: VideoStream, clip: VideoClip) -> None:
    # MP4's index lists all samples, of which those beyond the end of the file are lost
    entries = stream.index_entries
    end = max((entry.pos + entry.size for entry in entries), default=0)
    if end > clip.size_bytes:
        lost = sum(entry.pos + entry.size > clip.size_bytes for entry in entries)
        raise MediaError(
            f"{clip.path} is truncated, and lacks the data of {lost} of its {len(entries)} frames; "
            "copy the whole file again"
        )


def _may_differ_from_frames(clip: VideoClip, packets: _Times) -> bool:
    """Return whether some packets may lack a frame of their own, or the times may go backwards.

    If so, the frame times can only be found by decoding.
    """
    pts = _column(packets.pts)
    if not packets.starts_at_key:
        return True

    if clip.codec == "h264" and (clip.interlaced or _has_half_steps(pts)):
        return True  # may be coded in fields

    if clip.codec == "mpeg4" and min(packets.sizes) <= _NOT_CODED_BYTES:
        return True

    # a frame that precedes a key frame in the file is shown after it only if times go backwards
    highest = np.maximum.accumulate(pts)
    late = highest[:-1] > pts[1:]
    return bool(np.isin(pts[1:][late], _column(packets.keys)).any())


def _has_half_steps(pts: Column) -> bool:
    steps = np.diff(np.sort(pts))
    return len(steps) > 0 and 0.4 < steps.min() / np.median(steps) < 0.6


@lru_cache(maxsize=4)  # because planning, joining and verification each need the times
def _decode_times(clip: VideoClip, *, strict: bool) -> _Times:
    """Return the times of the decoded frames in presentation order.

    Raises MediaError if `strict` and a packet cannot be decoded.
    """
    found = _Times()
    with open_container(clip.path) as container:
        stream = _find_stream(container, clip)
        stream.thread_type = "AUTO"
        stream.codec_context.options = {"skip_loop_filter": "all"}  # only the times matter
        for packet in demux_packets(container, stream, clip.path):
            try:
                frames = packet.decode()
            except DEMUX_ERRORS as error:
                if not strict:
                    continue
                raise MediaError(
                    f"{clip.path} cannot be decoded ({first_line(error)}); expected an intact "
                    "file; copy it again, or try to convert it to MP4"
                ) from error

            for frame in frames:
                if frame.is_corrupt and not strict:
                    continue
                pts = len(found.pts) if clip.container in UNTIMED_FORMATS else frame_pts(frame)
                if pts is not None:
                    found.add(pts, frame.duration, 0, key=frame.key_frame)
    return found


def _refuse_step_back(clip: VideoClip, frames: _Times) -> None:
    # AVI numbers frames in decoding order
    if clip.container == "avi" or (step := frames.find_step_back()) is None:
        return
    later, earlier = (clip.seconds(pts) for pts in step)
    raise MediaError(
        f"{clip.path} goes back in time from {earlier:.3f} s to {later:.3f} s, expected ascending "
        "times; it seems to be joined from several recordings: pass each of them separately"
    )


def _merge(clip: VideoClip, packets: _Times, frames: _Times) -> FrameIndex:
    """Return the index of the decoded frames, and of frames too damaged to be decoded.

    A packet without a frame is not a loss if it precedes the first frame that can be displayed, if
    it is the second field of a frame, or if it extends the display of the frame before it.
    """
    if not frames.pts:
        return _make_index(clip, packets, packets)

    pts = _column(packets.pts)
    missing = ~np.isin(pts, _column(frames.pts))
    before = pts < min(frames.pts)
    frame_duration = _find_frame_duration(frames)
    second = _find_second_fields(packets, frame_duration, missing)
    lost = missing & ~before & ~second
    if clip.codec == "mpeg4":
        lost &= _column(packets.sizes) > _NOT_CODED_BYTES

    shown = _Times(frames.pts[:], frames.durations[:], frames.keys)
    shown.pts.extend(pts[lost].tolist())
    shown.durations.extend(_column(packets.durations)[lost].tolist())
    ends = replace(packets, durations=_end_with_frames(packets, frame_duration, second))
    return _make_index(clip, shown, ends, undecodable=int((missing & before).sum()))


def _find_frame_duration(frames: _Times) -> float:
    """Return the usual duration of a frame in ticks; infinite for a single frame."""
    steps = np.diff(np.sort(_column(frames.pts)))
    return float(np.median(steps)) if len(steps) else float("inf")


def _find_second_fields(packets: _Times, frame_duration: float, missing: Flags) -> Flags:
    """Return a mask of the packets that contain only the second field of a frame.

    The packet before each of them contains the first field. `frame_duration` is in ticks, and
    `missing` is the mask of the packets at whose times no frame was decoded.
    """
    pts, durations = _column(packets.pts), _column(packets.durations)
    steps = pts[1:] - pts[:-1]
    # half of an odd duration is rounded; in Matroska, a field has the duration of a whole frame
    after_field = (np.abs(steps - durations[:-1]) <= 1) & (durations[:-1] < 0.75 * frame_duration)
    after_half = (np.abs(steps - frame_duration / 2) <= 1) & (steps < 0.75 * frame_duration)

    second = np.zeros(len(pts), np.bool_)
    second[1:] = missing[1:] & ~missing[:-1] & (after_field | after_half)
    return second


def _end_with_frames(packets: _Times, frame_duration: float, second: Flags) -> array[int]:
    """Return the packets' durations, shortened so that second fields end when their frames do."""
    durations, pts = _column(packets.durations).copy(), _column(packets.pts)
    late = np.flatnonzero(second & (durations > 0.75 * frame_duration))
    durations[late] -= pts[late] - pts[late - 1]
    return array("q", durations.tobytes())


def _make_index(
    clip: VideoClip, frames: _Times, packets: _Times, undecodable: int = 0
) -> FrameIndex:
    """Return the index of `frames`, with the end of the last one from `packets` or the container.

    `undecodable` is the number of packets before the first frame, none of which can be decoded.
    Raises MediaError if there are no frames.
    """
    if not frames.pts:
        raise MediaError(f"{clip.path} contains no frames; expected a video; copy it again")

    pts, keys = (array("q", np.unique(times).tobytes()) for times in (frames.pts, frames.keys))
    last = int(np.argmax(packets.pts))
    shown = packets.durations[last]
    if shown > 0:
        shown += packets.pts[last] - pts[-1]
    end_pts = pts[-1] + _find_last_duration(clip, pts, shown)
    return FrameIndex(pts=pts, keys=keys or pts[:1], end_pts=end_pts, undecodable=undecodable)


def _find_last_duration(clip: VideoClip, pts: array[int], shown: int) -> int:
    """Return the last frame's duration in ticks.

    `shown` is its duration according to the packets, or 0 if they do not state it.
    """
    if clip.container in UNTIMED_FORMATS:
        return 1
    if clip.container.startswith("mov") and clip.duration_pts is not None:
        # an MP4 packet lasts until the next one in decoding order, so only the track's end is right
        end = pts[0] + clip.duration_pts
        if end > pts[-1]:
            return end - pts[-1]
    if shown > 0:
        return shown
    if len(pts) > 1:
        return pts[-1] - pts[-2]
    if clip.frame_rate:
        return max(1, round(1 / (clip.frame_rate * clip.time_base)))
    return 1


def _find_stream(container: InputContainer, clip: VideoClip) -> VideoStream:
    stream = container.streams[clip.stream_index]
    assert isinstance(stream, VideoStream)
    return stream
