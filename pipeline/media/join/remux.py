"""Join segments packet by packet, and copy the other streams of the input's container."""

from __future__ import annotations

import math
from array import array
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
from av.container import OutputContainer
from av.packet import Packet
from av.stream import Stream
from av.subtitles.codeccontext import SubtitleCodecContext
from av.video.stream import VideoStream

from pipeline.errors import StageError, first_line
from pipeline.media.alpha import (
    ALPHA_MODE,
    BESIDE_PACKETS,
    MATROSKA_TICK,
    keeps_alpha,
)
from pipeline.media.colour import output_colour
from pipeline.media.container import MEDIA_ERRORS, open_container
from pipeline.media.hdr import read_side_data
from pipeline.media.join.capabilities import read_first_frame
from pipeline.media.join.decoded import read_first_pts, write_stills
from pipeline.media.read.probe import scan
from pipeline.media.sandbox.parent import sandboxed
from pipeline.media.streams import (
    EXACT_MUXERS,
    MATROSKA_MUXERS,
    TimeWindow,
    add_copied_stream,
    add_text_stream,
    choose_muxer,
    fill_durations,
    list_text_forms,
    select_chapters,
    select_packets,
    split_streams,
)
from pipeline.media.subtitles import TextConverter, move_packets
from pipeline.media.write.segment import LEAD
from pipeline.schema.clip import Clip, Stills, VideoClip
from pipeline.schema.encoding import Encoding

_LARGEST_TIMESCALE = 2**31 - 1
# Container tags that MP4 stores in boxes of their own; any others need its key-value box.
# fmt: off
_ITUNES_TAGS = frozenset({
    "title", "artist", "album_artist", "composer", "album", "date", "comment", "genre",
    "copyright", "grouping", "lyrics", "description", "synopsis", "show", "episode_id",
    "network", "keywords", "season_number", "episode_sort", "media_type", "hd_video",
    "gapless_playback", "compilation", "track", "disc", "encoder", "encoded_by",
    "creation_time", "major_brand", "minor_version", "compatible_brands", "location",
    "location-eng",
})
# fmt: on


@dataclass(frozen=True)
class _Timing:
    """The times of the joined video, in ticks."""

    pts: Sequence[int]
    """The times of the frames, in ascending order."""
    delay: int
    """How many frames the dts lag behind the pts."""

    end_pts: int
    window: TimeWindow
    mirrored: bool
    """Whether the last packet in decode order is also the last one displayed."""

    def dts(self, position: int) -> int:
        """Return the dts of the packet at `position`: the pts `delay` positions before it.

        The first `delay` packets get times before the first pts.
        """
        if position >= self.delay:
            return self.pts[position - self.delay]
        if self.mirrored:
            # so that the last packet lasts exactly as long as its frame is shown
            return self.pts[0] - (self.pts[-1] - self.pts[position - 1 - self.delay])
        # even steps before the first pts, small enough for the last packet to have a duration
        even = self.pts[1] - self.pts[0] if len(self.pts) > 1 else 1
        room = (self.end_pts - self.pts[-1 - self.delay] - 1) // self.delay
        return self.pts[0] - (self.delay - position) * max(1, min(even, room))

    def duration(self, pts: int) -> int:
        """Return the duration of the frame at `pts`, in ticks."""
        after = bisect_right(self.pts, pts)
        return (self.pts[after] if after < len(self.pts) else self.end_pts) - pts

    def last_duration(self) -> int:
        """Return the duration, in ticks, with which the last packet ends the track on time.

        MP4 adds up the steps between dts. With a variable rate and B-frames, their sum is shorter
        than the time for which the frames are shown.
        """
        last = len(self.pts) - 1
        return self.end_pts - self.pts[0] - (self.dts(last) - self.dts(0))


@sandboxed
def join_segments(
    clip: Clip, segments: Sequence[str | Path], out: Path, encoding: Encoding
) -> None:
    """Join the segments and the input's other streams into `out`, which is overwritten.

    If `clip` consists of pictures, the frames of the segments are written as pictures instead.
    Raises StageError if there are no segments, if they cannot be joined, or if `out` cannot be
    written.
    """
    files = [Path(segment) for segment in segments]
    if not files:
        raise StageError("there are no segments to join; run the same command again to create them")
    if isinstance(clip, Stills):
        write_stills(clip, files, out)
        return
    timing = _time(clip, files)
    try:
        _write_video(clip, files, out, encoding, timing)
    except MEDIA_ERRORS as error:
        raise StageError(
            f"{out} cannot be written ({first_line(error)}); "
            "check that the disk has room, or try another container such as .mkv"
        ) from error


def _segment_packets(clip: VideoClip, file: Path) -> Iterator[Packet[Any]]:
    """Yield a segment's packets in decode order, with pts in ticks of the clip."""
    with open_container(str(file)) as container:
        first = read_first_pts(container)
        stream = container.streams.video[0]
        # in Matroska, a tick of the clip is written as a millisecond
        tick = MATROSKA_TICK if "matroska" in container.format.name else clip.time_base
        for packet in container.demux(stream):
            if packet.pts is None:
                continue
            exact = packet.pts * packet.time_base / tick
            if exact.denominator != 1:
                raise StageError(
                    f"a frame in {file} is between two ticks of the input's time base; delete "
                    "the run folder and run again"
                )
            packet.time_base = clip.time_base
            packet.pts = int(exact) - LEAD + first
            packet.dts = None
            yield packet


def _time(clip: VideoClip, files: list[Path]) -> _Timing:
    headers = set()
    coded = array("q")
    for file in files:
        with open_container(str(file)) as container:
            headers.add(bytes(container.streams.video[0].codec_context.extradata or b""))
        coded.extend(
            packet.pts for packet in _segment_packets(clip, file) if packet.pts is not None
        )
    if len(headers) > 1:
        raise StageError(
            f"the {len(files)} segments have {len(headers)} different encoder headers, but must "
            "come from one version of the encoder; delete the run folder and run again"
        )
    order = np.argsort(coded)
    ordered = array("q", np.asarray(coded)[order].tobytes())
    if np.any(np.diff(ordered) == 0):
        raise StageError("two segments contain the same frame; delete the run folder and run again")
    delay = int(np.max(order - np.arange(len(order))))
    index = scan(clip)
    after = bisect_right(index.pts, ordered[-1])
    end = index.pts[after] if after < len(index.pts) else index.end_pts
    whole = after == len(index.pts) and ordered[0] == index.pts[0]
    window = (
        TimeWindow() if whole else TimeWindow(ordered[0] * clip.time_base, end * clip.time_base)
    )
    mirrored = coded[-1] == ordered[-1]
    return _Timing(ordered, delay, end, window, mirrored)


def _write_video(
    clip: VideoClip, files: list[Path], out: Path, encoding: Encoding, timing: _Timing
) -> None:
    muxer = choose_muxer(clip, out)
    with ExitStack() as stack:
        # a video made from pictures has no container whose streams could be copied
        source = None if clip.is_film else stack.enter_context(open_container(clip.path))
        streams = [] if source is None else list(source.streams)
        metadata = {} if source is None else dict(source.metadata)
        template = stack.enter_context(open_container(str(files[0])))
        options = _muxer_options(clip, muxer, streams, metadata)
        target = stack.enter_context(
            av.open(
                str(out),
                "w",
                format=muxer,
                container_options=options,
                metadata_errors="surrogateescape",
            )
        )
        video: VideoStream | None = None
        copies: dict[int, Stream] = {}
        converters: dict[int, TextConverter] = {}
        forms = list_text_forms(clip, muxer)
        kept = split_streams(clip, muxer)[0]
        if clip.is_film:
            video = _add_video(target, template.streams.video[0], clip, encoding)
        for stream in streams:
            if stream.index == clip.stream_index:
                video = _add_video(target, template.streams.video[0], clip, encoding, stream)
            elif stream.index in forms:
                text = add_text_stream(target, muxer, stream, forms[stream.index])
                assert isinstance(text.codec_context, SubtitleCodecContext)
                converters[stream.index] = TextConverter(stream, text.codec_context)
                copies[stream.index] = text
            elif stream.index in kept:
                copy = add_copied_stream(target, muxer, stream)
                assert copy is not None
                copies[stream.index] = copy
        assert video is not None
        target.metadata.update(metadata)
        joined = _joined(clip, files, timing, video, stretch=muxer in EXACT_MUXERS)
        copied: Iterator[Packet[Any]] = iter(())
        if source is not None:
            target.set_chapters(select_chapters(source, timing.window))
            carried = [s for s in streams if s.index in copies and s.type != "attachment"]
            copied = select_packets(source, carried, timing.window)
        if muxer in EXACT_MUXERS:
            copied = fill_durations(copied)
        _interleave(target, joined, move_packets(copied, copies, converters))


def _muxer_options(
    clip: VideoClip, muxer: str, streams: list[Stream], metadata: dict[str, str]
) -> dict[str, str]:
    options = {"fflags": "+bitexact"}
    if muxer in EXACT_MUXERS:
        # tracks start at times on the movie's clock, which counts only milliseconds by default
        options["movie_timescale"] = str(_common_scale(clip, streams))
        # this option applies to all video tracks
        videos = [stream for stream in streams if stream.type == "video"]
        options["video_track_timescale"] = str(_common_scale(clip, videos))
        if set(metadata) - _ITUNES_TAGS:
            options["movflags"] = "+use_metadata_tags"
    elif muxer == "mpegts":
        options["mpegts_copyts"] = "1"
    if muxer in MATROSKA_MUXERS or muxer == "mpegts":
        # these muxers shift all times if audio begins before 0, as AAC's priming does
        options["avoid_negative_ts"] = "disabled"
    return options


def _common_scale(clip: VideoClip, streams: list[Stream]) -> int:
    """Return the ticks per second that express the times of the clip and all streams exactly.

    If that number is larger than MP4 can store, return the clip's own ticks per second.
    """
    scales = [stream.time_base.denominator for stream in streams if stream.time_base]
    common = math.lcm(clip.time_base.denominator, *scales)
    return common if common <= _LARGEST_TIMESCALE else clip.time_base.denominator


def _add_video(
    target: OutputContainer,
    template: VideoStream,
    clip: VideoClip,
    encoding: Encoding,
    source: Stream | None = None,
) -> VideoStream:
    stream = target.add_stream_from_template(template, opaque=True)
    assert isinstance(stream, VideoStream)
    stream.time_base = clip.time_base
    context = stream.codec_context
    context.framerate = (clip.frame_rate or Fraction(25)).limit_denominator(1_000_000)
    context.sample_aspect_ratio = clip.sample_aspect_ratio
    colour = output_colour(clip.colour, encoding.pix_fmt)
    context.colorspace, context.color_range = colour.matrix, colour.range
    context.color_primaries, context.color_trc = colour.primaries, colour.transfer
    if encoding.codec in ("libx265", "hevc_nvenc") and target.format.name in EXACT_MUXERS:
        context.codec_tag = "hvc1"  # Apple's players refuse FFmpeg's default, hev1
    if keeps_alpha(encoding.codec, encoding.pix_fmt) and encoding.codec in BESIDE_PACKETS:
        context.pix_fmt = encoding.pix_fmt  # so that the muxer signals transparency
    if source is None:
        return stream

    matrix = read_display_matrix(clip)
    if matrix is not None:
        stream.set_display_matrix(matrix)
    own = ("encoder", "duration", "bps", "number_of_", "_statistics", ALPHA_MODE)
    stream.metadata.update(
        {k: v for k, v in source.metadata.items() if not k.lower().startswith(own)}
    )
    stream.disposition = source.disposition
    return stream


def read_display_matrix(clip: VideoClip) -> list[int] | None:
    """Return the nine numbers of the input's display matrix, or None if it has none."""
    for data in read_side_data(read_first_frame(clip)):
        if data.type.name == "DISPLAYMATRIX":
            return list(memoryview(bytes(data)).cast("i"))
    return None


def _joined(
    clip: VideoClip, files: list[Path], timing: _Timing, stream: VideoStream, *, stretch: bool
) -> Iterator[Packet[Any]]:
    position = 0
    for file in files:
        for packet in _segment_packets(clip, file):
            assert packet.pts is not None
            packet.dts = timing.dts(position)
            packet.duration = timing.duration(packet.pts)
            packet.stream = stream
            position += 1
            if stretch and position == len(timing.pts):
                packet.duration = timing.last_duration()
            yield packet


def _interleave(
    target: OutputContainer, video: Iterator[Packet[Any]], copied: Iterator[Packet[Any]]
) -> None:
    """Mux video and copied packets in order of decode time, so that the muxer buffers little."""
    target.start_encoding()
    clock = Fraction(-1 << 40)
    waiting = next(video, None)
    for packet in copied:
        if packet.dts is not None:
            clock = packet.dts * packet.time_base
        while waiting is not None and waiting.dts is not None:
            if waiting.dts * waiting.time_base > clock:
                break
            target.mux(waiting)
            waiting = next(video, None)
        target.mux(packet)
    while waiting is not None:
        target.mux(waiting)
        waiting = next(video, None)
