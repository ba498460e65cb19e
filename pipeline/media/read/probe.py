"""The description of a recording (`probe`) and its frame times (`scan`), without decoding it."""

from __future__ import annotations

import hashlib
from array import array
from collections.abc import Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path

import numpy as np
from av.container import InputContainer
from av.video.stream import VideoStream

from pipeline.errors import MediaError, first_line
from pipeline.media.alpha import has_alpha, stored_pix_fmt
from pipeline.media.colour import describe_colour
from pipeline.media.container import (
    DEMUX_ERRORS,
    check_size,
    choose_video,
    codec_name,
    decode_first_frame,
    demux_packets,
    frame_pts,
    open_container,
)
from pipeline.media.hdr import read_static_hdr
from pipeline.media.pictures import numbered, stills, transparent
from pipeline.media.sandbox.parent import probe_in_child, sandboxed
from pipeline.schema.clip import Clip, FrameIndex, Stills, StreamInfo, VideoClip

_MEBIBYTE = 1 << 20
_STILLS_RATE = Fraction(25)
# Codecs with packets for hidden frames: only decoding finds the displayed frames.
_PACKETS_WITHOUT_FRAME = frozenset({"vp8"})


def probe(path: str, *, sandbox: bool = False) -> Clip:
    """Describe a video file, a still image, a folder of images or a glob; raises MediaError.

    With `sandbox`, child processes with limited resources describe it now and decode it later.
    """
    if sandbox:
        return probe_in_child(path)
    given = Path(path)
    if given.is_dir() or (not given.exists() and any(c in path for c in "*?[")):
        return _probe_stills(path)
    if not given.exists():
        raise MediaError(
            f"{path} does not exist; expected a video, a picture or a folder; check the path"
        )
    if given.suffix.lower() in stills.SUFFIXES:
        return _probe_stills(path)
    return probe_video(path)


def fingerprint(files: list[Path]) -> str:
    """Return a SHA-256 over the size and the first and last MiB of each file, to detect changes."""
    digest = hashlib.sha256()
    for file in files:
        size = file.stat().st_size
        digest.update(f"{size}\n".encode())
        with file.open("rb") as stream:
            digest.update(stream.read(_MEBIBYTE))
            stream.seek(max(0, size - _MEBIBYTE))
            digest.update(stream.read(_MEBIBYTE))
    return digest.hexdigest()


def _probe_stills(path: str) -> Stills:
    files = stills.list_pictures(path)
    headers = [stills.read_header(file) for file in files]
    width, height, bits, _ = headers[0]
    for file, header in zip(files, headers, strict=True):
        if header[:3] != (width, height, bits):
            raise MediaError(
                f"{file} is {header[0]}x{header[1]} of {header[2]} bits, {files[0].name} is "
                f"{width}x{height} of {bits} bits; expected one size and depth; move it elsewhere"
            )
    pix_fmt = "rgb48le" if bits == 16 else "rgb24"
    return Stills(
        path=path,
        files=tuple(str(file) for file in files),
        times=numbered.sequence_times(files)
        or stills.picture_times(files, [header[3] for header in headers]),
        codec=files[0].suffix.lower().lstrip("."),
        pix_fmt=pix_fmt,
        alpha=any(transparent.has_alpha(str(file)) for file in files),
        bit_depth=bits,
        width=width,
        height=height,
        time_base=1 / _STILLS_RATE,
        frame_rate=_STILLS_RATE,
        duration_pts=len(files),
        colour=describe_colour(pix_fmt, width, height),
        size_bytes=sum(file.stat().st_size for file in files),
        fingerprint=fingerprint(files),
    )


def probe_video(path: str) -> VideoClip:
    """Describe the video stream of a file; raises MediaError."""
    with open_container(path) as container:
        stream = choose_video(container, path)
        context = stream.codec_context
        check_size(context.width, context.height, path)
        frame = decode_first_frame(container, stream, path)
        pix_fmt = stored_pix_fmt(stream, context.pix_fmt or frame.format.name)
        time_base = stream.time_base
        assert time_base is not None
        width, height = context.width, context.height
        return VideoClip(
            path=path,
            container=container.format.name,
            stream_index=stream.index,
            codec=codec_name(stream),
            pix_fmt=pix_fmt,
            alpha=has_alpha(pix_fmt),
            bit_depth=max(component.bits for component in frame.format.components),
            width=width,
            height=height,
            rotation=round(frame.rotation),
            sample_aspect_ratio=stream.sample_aspect_ratio or Fraction(1),
            time_base=time_base,
            frame_rate=stream.average_rate or stream.guessed_rate,
            duration_pts=stream.duration,
            colour=describe_colour(
                pix_fmt,
                width,
                height,
                matrix=int(context.colorspace),
                colour_range=int(context.color_range),
                primaries=int(context.color_primaries),
                transfer=int(context.color_trc),
            ),
            hdr=read_static_hdr(frame),
            interlaced=frame.interlaced_frame,
            other_streams=tuple(
                StreamInfo(
                    index=other.index,
                    type=other.type,
                    codec=codec_name(other),
                    language=other.metadata.get("language", ""),
                )
                for other in container.streams
                if other.index != stream.index
            ),
            chapters=len(container.chapters()),
            size_bytes=Path(path).stat().st_size,
            fingerprint=fingerprint([Path(path)]),
        )


@sandboxed
def scan(clip: Clip, *, distinct: bool = True) -> FrameIndex:
    """List the presentation times of every frame of a clip, in ticks, from its packets.

    Raises MediaError if two frames have the same time; unless `distinct`, they count as one.
    """
    if isinstance(clip, Stills):
        count = len(clip.files)
        return FrameIndex(pts=range(count), keys=range(count), end_pts=count)
    with open_container(clip.path) as container:
        stream = container.streams[clip.stream_index]
        assert isinstance(stream, VideoStream)
        _refuse_truncated(stream, clip)
        counts = clip.codec not in _PACKETS_WITHOUT_FRAME
        found = _scan_packets(container, stream, clip.path) if counts else None
    if found is None:
        found = _scan_frames(clip)
        if distinct:
            _refuse_doubled(found, clip)
    if not found.pts:
        raise MediaError(f"{clip.path} holds no frames; expected a video; copy it again")
    pts, keys = (array("q", np.unique(times).tobytes()) for times in (found.pts, found.keys))
    last = _last_duration(clip, pts, found.durations[int(np.argmax(found.pts))])
    return FrameIndex(pts=pts, keys=keys or pts[:1], end_pts=pts[-1] + last)


@dataclass(frozen=True)
class _Times:
    """Times of frames in ticks, in any order."""

    pts: array[int] = field(default_factory=lambda: array("q"))
    durations: array[int] = field(default_factory=lambda: array("q"))
    keys: array[int] = field(default_factory=lambda: array("q"))

    def add(self, pts: int, duration: int | None, *, key: bool) -> None:
        """Add a frame; an unknown duration counts as 0."""
        self.pts.append(pts)
        self.durations.append(duration or 0)
        if key:
            self.keys.append(pts)

    def doubled(self) -> int | None:
        """Return a time that two frames have, or None."""
        ordered = np.sort(self.pts)
        same = ordered[1:][np.diff(ordered) == 0]
        return int(same[0]) if len(same) else None


def _refuse_truncated(stream: VideoStream, clip: VideoClip) -> None:
    # MP4 lists its samples in advance: those beyond the end of the file are lost
    entries = stream.index_entries
    end = max((entry.pos + entry.size for entry in entries), default=0)
    if end > clip.size_bytes:
        lost = sum(entry.pos + entry.size > clip.size_bytes for entry in entries)
        raise MediaError(
            f"{clip.path} is truncated: {lost} of {len(entries)} frames are beyond its end; "
            "expected the whole file; copy it again"
        )


def _scan_packets(container: InputContainer, stream: VideoStream, path: str) -> _Times | None:
    """Return the times of the packets, or None if they are not the times of frames."""
    found = _Times()
    for packet in demux_packets(container, stream, path):
        if packet.size == 0 or packet.is_discard:
            continue
        if packet.pts is None:
            return None
        found.add(packet.pts, packet.duration, key=packet.is_keyframe)
    return found if found.doubled() is None else None


def _scan_frames(clip: VideoClip) -> _Times:
    found = _Times()
    with open_container(clip.path) as container:
        stream = container.streams[clip.stream_index]
        assert isinstance(stream, VideoStream)
        stream.thread_type = "AUTO"
        try:
            for frame in container.decode(stream):
                if (pts := frame_pts(frame)) is not None:
                    found.add(pts, frame.duration, key=frame.key_frame)
        except DEMUX_ERRORS as error:
            raise MediaError(
                f"{clip.path} cannot be decoded ({first_line(error)}); try to convert it to MP4"
            ) from error
    return found


def _refuse_doubled(found: _Times, clip: Clip) -> None:
    if (pts := found.doubled()) is not None:
        raise MediaError(
            f"{clip.path} has two frames at {clip.seconds(pts):.3f} s (pts {pts}), expected "
            "distinct times; try to convert it to MP4"
        )


def _last_duration(clip: VideoClip, pts: Sequence[int], shown: int) -> int:
    """Return the last frame's duration in ticks; `shown` is the duration of its packet."""
    if clip.container.startswith("mov") and clip.duration_pts is not None:
        # an MP4 packet lasts until the next one in decoding order: use the track's length instead
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
