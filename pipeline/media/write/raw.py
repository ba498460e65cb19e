"""Write uncompressed frames for a program that reads them from a pipe: YUV4MPEG2 or bare pixels.

YUV4MPEG2 is described in yuv4mpeg(5) of mjpegtools; its formats with more than 8 bits and its range
parameter are FFmpeg's extensions.
"""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction
from typing import Literal

import av
import numpy as np
from av.video.codeccontext import VideoCodecContext
from av.video.format import VideoFormat

from pipeline.errors import InputError, StageError
from pipeline.media.alpha import has_alpha, opaque_pix_fmt
from pipeline.media.colour import FromRgb, output_colour
from pipeline.media.container import MEDIA_ERRORS
from pipeline.media.planes import PlaneFormat
from pipeline.pixels import Pixels
from pipeline.schema.clip import RecordingBase, VideoClip
from pipeline.schema.colour import Colour

StreamForm = Literal["y4m", "rawvideo"]

# Pixel format -> parameter C of the header. 4:2:0 chroma is written on the left, as in MPEG-2.
_COLOUR_SPACES = {
    "gray": "mono",
    "yuv420p": "420mpeg2",
    "yuv422p": "422",
    "yuv444p": "444",
    "yuv420p10le": "420p10 XYSCSS=420P10",
    "yuv422p10le": "422p10 XYSCSS=422P10",
    "yuv444p10le": "444p10 XYSCSS=444P10",
    "yuv420p12le": "420p12 XYSCSS=420P12",
    "yuv422p12le": "422p12 XYSCSS=422P12",
    "yuv444p12le": "444p12 XYSCSS=444P12",
}
# FFmpeg's number for a range -> the parameter that states it; empty if the range is unknown.
_RANGES = {0: "", 1: " XCOLORRANGE=LIMITED", 2: " XCOLORRANGE=FULL"}
_LARGEST = 2**31 - 1  # largest number in a header
_RGB = ("bgr0", "gbrp")  # prefixes of the pixel formats in which plans store RGB


def choose_stream_pix_fmt(pix_fmt: str, form: StreamForm) -> str:
    """Return the pixel format in which to stream frames that a plan would encode in `pix_fmt`.

    Transparency is dropped. RGB becomes packed RGB in "rawvideo", and 4:4:4 in "y4m". Raises
    InputError if `form` is "y4m" and cannot express the format.
    """
    opaque = opaque_pix_fmt(pix_fmt) if has_alpha(pix_fmt) else pix_fmt
    deep = max(component.bits for component in VideoFormat(opaque).components) > 8
    if opaque.startswith(_RGB) and form == "rawvideo":
        return "rgb48le" if deep else "rgb24"
    if opaque.startswith((*_RGB, "bgra")) and form == "y4m":
        return "yuv444p12le" if deep else "yuv444p"
    if form == "y4m" and opaque not in _COLOUR_SPACES:
        raise InputError(
            f"--stream y4m cannot express the pixel format {opaque}; expected one of "
            f"{', '.join(_COLOUR_SPACES)}; choose one with --pix-fmt, or try --stream rawvideo"
        )
    return opaque


def check_stream_pix_fmt(pix_fmt: str, form: StreamForm) -> None:
    """Raise InputError if frames cannot be converted to a pixel format, or streamed in it."""
    black = np.zeros((16, 16, 3), np.uint8)
    try:
        FromRgb(Colour(), pix_fmt)(black)
    except (*MEDIA_ERRORS, ValueError) as error:
        raise InputError(
            f"--stream {form} cannot convert frames to the pixel format {pix_fmt!r}; try one such "
            "as yuv420p (see `ffmpeg -pix_fmts`)"
        ) from error
    choose_stream_pix_fmt(pix_fmt, form)


def find_rate(clip: RecordingBase, first: int, last: int, frames: int) -> Fraction:
    """Return the frame rate (fps) to declare for `frames` frames from pts `first` to `last`.

    It is the clip's own rate or, without one, the mean rate of the frames (25 for a single frame).
    """
    if clip.frame_rate:
        return clip.frame_rate
    seconds = (last - first) * clip.time_base
    return (frames - 1) / Fraction(seconds) if seconds else Fraction(25)


class RawStreamWriter:
    """Writes frames (uint8 or uint16 H x W x 3 RGB) one after another, without buffering any.

    Instead of RGB, frames may be planes in the stream's format, with the shape `PlaneFormat.shape`.
    """

    def __init__(
        self,
        write: Callable[[bytes], object],
        form: StreamForm,
        clip: RecordingBase,
        pix_fmt: str,
        size: tuple[int, int],
        rate: Fraction,
    ) -> None:
        """Prepare a stream of frames with the given `size` (height, width).

        `write` is called with the bytes of the stream, and `rate` is in frames per second.
        """
        self._write = write
        self._form = form
        self._size = size
        self._count = 0
        self._planes = PlaneFormat(size[1], size[0], pix_fmt)
        self._convert = FromRgb(clip.colour, pix_fmt)
        # this encoder does not compress: it only joins the rows of all planes
        context = av.CodecContext.create("rawvideo", "w")
        assert isinstance(context, VideoCodecContext)
        context.height, context.width = size
        context.pix_fmt = pix_fmt
        context.time_base = 1 / rate
        self._encoder = context
        self._header = b""
        if form == "y4m":
            self._header = _make_header(clip, pix_fmt, size, rate).encode("ascii")

    def write(self, rgb: Pixels) -> None:
        """Write a frame, after the header if it is the first.

        Raises StageError if the frame has the wrong shape.
        """
        expected = self._planes.shape if rgb.ndim == 2 else (*self._size, 3)
        if rgb.shape != expected:
            raise StageError(f"a frame has the shape {rgb.shape}, expected {expected}")
        frame = self._convert(rgb)
        frame.pts = self._count
        packets = self._encoder.encode(frame)
        if self._form == "y4m":
            self._write(b"FRAME\n" if self._count else self._header + b"FRAME\n")
        for packet in packets:
            self._write(bytes(packet))
        self._count += 1


def _make_header(clip: RecordingBase, pix_fmt: str, size: tuple[int, int], rate: Fraction) -> str:
    exact = rate.limit_denominator(_LARGEST // max(1, int(rate) + 1))
    aspect = clip.sample_aspect_ratio.limit_denominator(_LARGEST)
    tags = output_colour(clip.colour, pix_fmt)
    has_fields = isinstance(clip, VideoClip) and clip.interlaced and clip.deinterlace == "off"
    words = (
        "YUV4MPEG2",
        f"W{size[1]}",
        f"H{size[0]}",
        f"F{exact.numerator}:{exact.denominator}",
        "I?" if has_fields else "Ip",
        f"A{aspect.numerator}:{aspect.denominator}",
        f"C{_COLOUR_SPACES[pix_fmt]}{_RANGES[tags.range]}",
    )
    return " ".join(words) + "\n"
