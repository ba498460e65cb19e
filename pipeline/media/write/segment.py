"""Segments: encoded video of one run of frames, in files which `remux` can join by packets."""

from __future__ import annotations

import math
import os
from fractions import Fraction
from pathlib import Path
from types import TracebackType
from typing import Self

import av
import cv2
from av.codec.context import Flags
from av.container import OutputContainer
from av.packet import Packet
from av.video.codeccontext import VideoCodecContext
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

from pipeline.errors import InputError, StageError
from pipeline.media.alpha import (
    BESIDE_PACKETS,
    MATROSKA_TICK,
    keeps,
    opaque,
    pix_fmt_for,
    solid,
    usual_encoder,
    with_alpha,
)
from pipeline.media.colour import FromRgb, Pixels, contiguous, is_rgb, output_colour
from pipeline.media.container import MEDIA_ERRORS, first_line
from pipeline.media.hdr import CARRIERS, x265_params
from pipeline.media.streams import can_hold
from pipeline.schema.clip import Clip
from pipeline.schema.encoding import (
    Encoding,
    Quality,
    check_crf,
    crf_for,
    profile_for,
    quality_option,
)

FIRST_PTS_TAG = "first_pts"
"""Metadata of a segment file: the pts, in ticks of the input, of its first frame."""
LEAD = 64
"""Ticks before the first frame in a segment file: NUT has no negative times, and dts start before
the first pts. More than any encoder's reordering depth."""

_LARGEST_RATE = 1_000_000
_AVX512 = 256
"""OpenCV's number for the part of AVX-512 that x264 uses."""
_WITHOUT_AVX512 = "MMX2,SSE2Fast,LZCNT,SSSE3,SSE4.2,AVX,FMA3,BMI2,AVX2"
"""x264's AVX-512 code for macroblock trees reads memory nobody wrote where a row is not a multiple
of 8 macroblocks: the bits then change from run to run. With these they are those of any processor.
"""


def default_encoding(
    clip: Clip,
    codec: str | None = None,
    crf: float | None = None,
    preset: str | None = None,
    pix_fmt: str | None = None,
    quality: Quality | None = None,
) -> Encoding:
    """Choose encoder settings: depth and chroma of the input are kept, stills and RGB lossless.

    Raises InputError for a `quality` that says nothing of the encoder.
    """
    if codec is None and clip.alpha and clip.kind == "stills":
        codec = "ffv1"
    elif codec is None and clip.alpha and preset is None:
        # who names a preset means x264 or x265, which drop it
        codec = usual_encoder(clip)
    rgb = clip.kind == "stills" or clip.colour.used_matrix == "rgb"
    if codec is None and clip.kind == "video" and rgb and clip.sample_aspect_ratio != 1:
        # FFV1 has no place for it; this one is lossless too
        codec, crf = ("libx264rgb", crf or 0) if clip.bit_depth == 8 else ("libx265", crf)
    if codec is None:
        codec = "ffv1" if rgb else "libx264" if clip.bit_depth == 8 else "libx265"
    if crf is None and quality is not None:
        crf = crf_for(codec, quality)
    elif crf is None and quality_option(codec) is not None:
        crf = 16
    if preset is None and codec in ("libx264", "libx264rgb", "libx265"):
        preset = "medium"
    pix_fmt = pix_fmt or _default_pix_fmt(clip, codec)
    return Encoding(
        codec=codec,
        crf=crf,
        preset=preset,
        profile=profile_for(codec, quality, pix_fmt),
        pix_fmt=pix_fmt,
        hdr=clip.hdr if codec in CARRIERS else None,
        # x264's bits depend on its threads: what it would choose here is written into the plan
        threads=min(16, math.ceil((os.cpu_count() or 1) * 1.5)),
    )


def _default_pix_fmt(clip: Clip, codec: str) -> str:
    if clip.alpha and (transparent := pix_fmt_for(codec, clip)):
        return transparent
    deep = clip.bit_depth > 8
    if clip.kind == "stills" or clip.colour.used_matrix == "rgb":
        if codec == "ffv1":
            return "gbrp16le" if deep else "bgr0"
        if codec == "libx264rgb":
            return "rgb24"
    if codec.startswith("prores"):
        return "yuv422p10le"
    chroma = "420"
    for other in ("444", "422"):
        if other in clip.pix_fmt and codec in ("libx264", "libx265", "ffv1"):
            chroma = other
    if not deep or codec in ("h264_nvenc", "libx264rgb"):
        return f"yuv{chroma}p"
    if codec.endswith("_nvenc"):
        return "p010le"
    return f"yuv{chroma}p{10 if clip.bit_depth <= 10 else 12}le"


def encoder_options(encoding: Encoding) -> dict[str, str]:
    """Return the private options of an encoder: quality, closed groups, silence."""
    options: dict[str, str] = {}
    if encoding.crf is not None:
        options[quality_option(encoding.codec) or "crf"] = f"{encoding.crf:g}"
    if encoding.preset is not None:
        options["preset"] = encoding.preset
    if encoding.profile is not None:
        options["profile"] = encoding.profile
    if encoding.codec == "libsvtav1":
        os.environ.setdefault("SVT_LOG", "1")  # its greeting goes straight to stderr
    if encoding.codec in ("libx264", "libx264rgb") and cv2.checkHardwareSupport(_AVX512):
        options["x264-params"] = f"asm={_WITHOUT_AVX512}"
    if encoding.codec == "libx265":
        # threads change the bits of x265 too, and its log goes straight to stderr
        options["x265-params"] = (
            f"log-level=none:open-gop=0:pools={max(1, encoding.threads)}:"
            f"frame-threads={min(4, max(1, encoding.threads))}{x265_params(encoding.hdr)}"
        )
    elif encoding.codec == "ffv1":
        options |= {"level": "3", "slices": "16", "slicecrc": "1", "g": "1"}
    elif encoding.codec in ("libvpx-vp9", "libaom-av1"):
        options["b"] = "0"
        if encoding.codec == "libvpx-vp9" and encoding.crf == 0:
            options["lossless"] = "1"  # as it is with x264
    elif encoding.codec.endswith("_nvenc"):
        options |= {"rc": "vbr", "b": "0", "forced-idr": "1"}
    return options


def _configure(
    context: VideoCodecContext, encoding: Encoding, width: int, height: int, time_base: Fraction
) -> None:
    context.width, context.height = width, height
    context.pix_fmt = encoding.pix_fmt
    context.time_base = time_base
    context.thread_count = encoding.threads
    context.flags |= Flags.bitexact | Flags.closed_gop


def check_encoder(encoding: Encoding, width: int, height: int) -> None:
    """Open the encoder once; raises InputError where it is unknown or refuses the settings."""
    check_crf(encoding.codec, encoding.crf)
    try:
        context = av.CodecContext.create(encoding.codec, "w")
    except (*MEDIA_ERRORS, LookupError) as error:
        raise InputError(
            f"no encoder is named {encoding.codec!r} here; expected one such as libx264, libx265, "
            "ffv1 or prores_ks; try --codec libx264"
        ) from error
    if not isinstance(context, VideoCodecContext):
        raise InputError(f"{encoding.codec} is not a video encoder; try --codec libx264")
    formats = [f.name for f in context.codec.video_formats or ()]
    if formats and encoding.pix_fmt not in formats:
        raise InputError(
            f"{encoding.codec} cannot take pixel format {encoding.pix_fmt!r}; "
            f"expected one of {', '.join(formats)}; try --pix-fmt {formats[0]}"
        )
    context.options = encoder_options(encoding)
    try:
        _configure(context, encoding, width, height, Fraction(1, 25))
        context.framerate = Fraction(25)
        context.open()
    except MEDIA_ERRORS as error:
        asked = f"crf {encoding.crf}, preset {encoding.preset}, {encoding.pix_fmt}"
        raise InputError(
            f"{encoding.codec} refuses {width}x{height} with {asked} ({first_line(error)}); "
            "expected settings it knows; try without --crf and --preset"
        ) from error
    unused = sorted(set(context.options) & {"crf", "cq", "preset"})
    if unused:
        raise InputError(
            f"{encoding.codec} has no {' and no '.join(unused)}; expected only settings it knows; "
            f"leave out --{' --'.join(unused)}"
        )


class SegmentWriter:
    """Encode uint8 or uint16 H x W x 3 RGB, or x 4 with alpha, frames into one segment file.

    The file is NUT, whose time base may be any: times are exact, shifted by the `first_pts` tag.
    What NUT cannot hold is written otherwise: ProRes and DNxHD as QuickTime, transparency beside
    the packets as Matroska, whose milliseconds stand for ticks there.
    """

    def __init__(
        self, path: str | Path, clip: Clip, plan_encoding: Encoding, width: int, height: int
    ) -> None:
        self._path = Path(path)
        self._clip, self._encoding = clip, plan_encoding
        self._width, self._height = width, height
        self._alpha = keeps(plan_encoding.codec, plan_encoding.pix_fmt)
        made = opaque(plan_encoding.pix_fmt) if self._alpha else plan_encoding.pix_fmt
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
        """Encode one frame at `pts`, ticks of the clip's time base; times must rise."""
        channels = rgb.shape[2] if self._alpha else 3
        if rgb.shape != (self._height, self._width, channels):
            raise StageError(
                f"a frame of {rgb.shape} came, expected {(self._height, self._width, 3)}"
            )
        try:
            if self._stream is None:
                self._open(pts)
            frame = self._picture(rgb)
            frame.pts = pts - self._first + LEAD
            frame.time_base = self._clip.time_base
            # ProRes writes into each frame what the frame says, not what the stream says
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
        frame = self._convert(contiguous(rgb[..., :3]))
        alpha = rgb[..., 3] if rgb.shape[2] == 4 else solid(self._height, self._width, deep=False)
        return with_alpha(frame, alpha, self._encoding.pix_fmt)

    def close(self) -> None:
        """Write what the encoder still holds, and have the file on the disk."""
        container, stream = self._container, self._stream
        self._container = self._stream = None
        if container is None or stream is None:
            return
        try:
            self._mux(stream.encode(None), container)
        except MEDIA_ERRORS as error:
            raise StageError(f"{self._path} cannot be finished: {first_line(error)}") from error
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
        _configure(context, encoding, self._width, self._height, clip.time_base)
        matroska = self._format == "matroska"
        stream.time_base = MATROSKA_TICK if matroska else clip.time_base
        if not is_rgb(encoding.pix_fmt) or clip.sample_aspect_ratio != 1:
            context.sample_aspect_ratio = clip.sample_aspect_ratio
        colour = output_colour(clip.colour, encoding.pix_fmt)
        context.colorspace, context.color_range = colour.matrix, colour.range
        context.color_primaries, context.color_trc = colour.primaries, colour.transfer
        self._stream = stream
        self._first = first_pts

    def _mux(
        self, packets: list[Packet[VideoStream]], container: OutputContainer | None = None
    ) -> None:
        target = container or self._container
        assert target is not None
        for packet in packets:
            # encoders guess the dts from frame distances, which with a variable rate or few frames
            # gives any time, even behind the pts; `remux` computes them anew
            packet.dts = self._count if self._format == "nut" else packet.pts
            if self._format == "matroska":
                packet.time_base = MATROSKA_TICK
            self._count += 1
            target.mux(packet)
