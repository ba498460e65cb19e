"""Write segment files, which `join.remux` joins packet by packet without re-encoding them."""

from __future__ import annotations

import os
from fractions import Fraction
from pathlib import Path
from types import TracebackType
from typing import Self

import av
from av.container import OutputContainer
from av.packet import Packet
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

from pipeline.errors import StageError, first_line
from pipeline.media.alpha import (
    BESIDE_PACKETS,
    MATROSKA_TICK,
    add_alpha,
    keeps_alpha,
    opaque_pix_fmt,
    opaque_plane,
)
from pipeline.media.colour import FromRgb, is_rgb, make_contiguous, output_colour
from pipeline.media.container import MEDIA_ERRORS
from pipeline.media.planes import PlaneFormat
from pipeline.media.streams import can_hold
from pipeline.media.write.encoder import configure_encoder, encoder_options
from pipeline.media.write.priority import keep_priority
from pipeline.pixels import Pixels
from pipeline.schema.clip import Clip
from pipeline.schema.encoding import (
    Encoding,
)

# Metadata of a segment file: the pts of its first frame, in ticks of the input.
FIRST_PTS_TAG = "first_pts"
# Ticks before the first frame of a segment file, because dts start before the first pts, and NUT
# cannot store negative times. No encoder reorders this many frames.
LEAD = 64

_LARGEST_RATE = 1_000_000


class SegmentWriter:
    """Encodes frames (uint8 or uint16, H x W x 3 RGB or H x W x 4 RGBA) into one segment file.

    Instead of RGB, frames may be planes in the encoder's format, with the shape
    `PlaneFormat.shape`. The file is NUT, which supports any time base, so that times are exact;
    they are relative to the `first_pts` tag. NUT supports neither ProRes nor DNxHD, which are
    written as QuickTime. It does not support alpha beside the packets either, so segments with such
    alpha are written as Matroska, with each tick stored as a millisecond.
    """

    def __init__(
        self, path: str | Path, clip: Clip, plan_encoding: Encoding, width: int, height: int
    ) -> None:
        self._path = Path(path)
        self._clip = clip
        self._encoding = plan_encoding
        self._width = width
        self._height = height
        self._alpha = keeps_alpha(plan_encoding.codec, plan_encoding.pix_fmt)
        made = opaque_pix_fmt(plan_encoding.pix_fmt) if self._alpha else plan_encoding.pix_fmt
        self._convert = FromRgb(clip.colour, made)
        self._container: OutputContainer | None = None
        self._stream: VideoStream | None = None
        self._first = 0
        self._count = 0
        self._format = "nut"

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def write(self, rgb: Pixels, pts: int) -> None:
        """Encode one frame at `pts`, in ticks of the clip's time base; pts must increase.

        Raises StageError if the frame has the wrong shape, or if the encoder fails.
        """
        expected: tuple[int, ...] = self._height, self._width, rgb.shape[2] if self._alpha else 3
        if rgb.ndim == 2:
            expected = PlaneFormat(self._width, self._height, self._encoding.pix_fmt).shape
        if rgb.shape != expected:
            raise StageError(f"a frame has the shape {rgb.shape}, expected {expected}")
        try:
            if self._stream is None:
                self._open(pts)
            frame = self._picture(rgb)
            frame.pts = pts - self._first + LEAD
            frame.time_base = self._clip.time_base
            # ProRes stores the colour tags of each frame, not those of the stream
            colour = output_colour(self._clip.colour, self._encoding.pix_fmt)
            frame.color_primaries, frame.color_trc = colour.primaries, colour.transfer
            assert self._stream is not None
            self._mux(self._stream.encode(frame))
        except MEDIA_ERRORS as error:
            raise StageError(
                f"{self._encoding.codec} cannot encode the frame at pts {pts}: {first_line(error)}"
            ) from error

    def _picture(self, rgb: Pixels) -> VideoFrame:
        if not self._alpha:
            return self._convert(rgb)
        frame = self._convert(make_contiguous(rgb[..., :3]))
        alpha = (
            rgb[..., 3]
            if rgb.shape[2] == 4
            else opaque_plane(self._height, self._width, deep=False)
        )
        return add_alpha(frame, alpha, self._encoding.pix_fmt)

    def close(self) -> None:
        """Finish encoding, and flush the file to disk; raises StageError if encoding fails."""
        container = self._container
        stream = self._stream
        self._container = None
        self._stream = None
        if container is None or stream is None:
            return
        try:
            self._mux(stream.encode(None), container)
        except MEDIA_ERRORS as error:
            raise StageError(
                f"{self._path} cannot be finished ({first_line(error)}); check that the disk has "
                "room"
            ) from error
        finally:
            container.close()
        with self._path.open("rb+") as file:
            os.fsync(file.fileno())

    def _open(self, first_pts: int) -> None:
        clip, encoding = self._clip, self._encoding
        rate = clip.frame_rate or Fraction(25)
        options = {"avoid_negative_ts": "disabled", "fflags": "+bitexact"}
        if self._alpha and encoding.codec in BESIDE_PACKETS:
            self._format = "matroska"
        elif not can_hold("nut", encoding.codec):
            self._format = "mov"
            ticks = str(clip.time_base.denominator)
            options |= {"video_track_timescale": ticks, "movie_timescale": ticks}
            options["movflags"] = "+use_metadata_tags"
        self._container = av.open(
            str(self._path),
            "w",
            format=self._format,
            container_options=options,
        )
        self._container.metadata[FIRST_PTS_TAG] = str(first_pts)
        stream = self._container.add_stream(
            encoding.codec,
            rate=rate.limit_denominator(_LARGEST_RATE),
            options=encoder_options(encoding),
        )
        assert isinstance(stream, VideoStream)
        context = stream.codec_context
        configure_encoder(context, encoding, self._width, self._height, clip.time_base)
        matroska = self._format == "matroska"
        stream.time_base = MATROSKA_TICK if matroska else clip.time_base
        if not is_rgb(encoding.pix_fmt) or clip.sample_aspect_ratio != 1:
            context.sample_aspect_ratio = clip.sample_aspect_ratio
        colour = output_colour(clip.colour, encoding.pix_fmt)
        context.colorspace, context.color_range = colour.matrix, colour.range
        context.color_primaries, context.color_trc = colour.primaries, colour.transfer
        with keep_priority():
            context.open(strict=False)
        self._stream = stream
        self._first = first_pts

    def _mux(
        self, packets: list[Packet[VideoStream]], container: OutputContainer | None = None
    ) -> None:
        target = container or self._container
        assert target is not None
        for packet in packets:
            # Encoders guess dts from the intervals between frames. With a variable rate or few
            # frames, a dts may even be later than its pts, so `remux` computes all dts itself.
            packet.dts = self._count if self._format == "nut" else packet.pts
            if self._format == "matroska":
                packet.time_base = MATROSKA_TICK
            self._count += 1
            target.mux(packet)
