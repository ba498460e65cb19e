"""Choose and check the encoder, pixel format and options of an output."""

from __future__ import annotations

import math
import os
from fractions import Fraction

import av
import cv2
from av.codec.context import Flags, ThreadType
from av.video.codeccontext import VideoCodecContext

from pipeline.errors import InputError, first_line
from pipeline.media.alpha import alpha_pix_fmt, choose_alpha_encoder
from pipeline.media.container import MEDIA_ERRORS
from pipeline.media.hdr import HDR_ENCODERS, hdr_x265_params
from pipeline.media.write.priority import keep_priority
from pipeline.schema.clip import Clip, Stills, VideoClip
from pipeline.schema.encoders import (
    Quality,
    check_crf,
    choose_crf,
    choose_profile,
    find_quality_option,
)
from pipeline.schema.encoding import Encoding
from pipeline.schema.texts import is_word

DELIVERY = frozenset({".mp4", ".m4v", ".mov"})  # suffixes of videos for browsers and phones

_X264 = ("libx264", "libx264rgb")

_BLOCK = 16  # pixels; a multiple of every chroma subsampling factor
_AVX512 = 256  # OpenCV's ID for the subset of AVX-512 that x264 uses
# x264's AVX-512 code for macroblock trees reads uninitialised memory if a row is not a multiple of
# 8 macroblocks, so its output varies. Without that code, the output is the same on any processor.
_WITHOUT_AVX512 = "MMX2,SSE2Fast,LZCNT,SSSE3,SSE4.2,AVX,FMA3,BMI2,AVX2"


def choose_encoding(
    clip: Clip,
    codec: str | None = None,
    crf: float | None = None,
    preset: str | None = None,
    pix_fmt: str | None = None,
    quality: Quality | None = None,
    suffix: str = "",
) -> Encoding:
    """Return an output's encoder settings: the given ones, and defaults for the others.

    The defaults keep the bit depth, chroma subsampling and transparency as far as the encoder
    allows. Pictures, and RGB with square pixels or 8 bits, are encoded losslessly. If `suffix`
    belongs to MP4 or QuickTime, lossy H.264 and H.265 become 4:2:0, because browsers and phones
    play nothing else. RGB video then becomes 4:2:0, too, unless `codec` is given. Raises InputError
    if `quality` does not apply to the encoder, or if `codec`, `preset` or `pix_fmt` is not a plain
    name.
    """
    if codec is None and clip.alpha:
        if isinstance(clip, Stills):
            codec = "ffv1"
        elif preset is None:
            # a preset implies x264 or x265, which drop the transparency
            codec = choose_alpha_encoder(clip)
    rgb = isinstance(clip, Stills) or clip.colour.used_matrix == "rgb"
    if codec is None and isinstance(clip, VideoClip) and rgb and suffix in DELIVERY:
        codec = "libx264" if clip.bit_depth == 8 else "libx265"
    if codec is None and isinstance(clip, VideoClip) and rgb and clip.sample_aspect_ratio != 1:
        # FFV1 cannot store the aspect ratio; x264 with CRF 0 is lossless, too
        if clip.bit_depth == 8:
            codec = "libx264rgb"
            crf = crf or 0
        else:
            codec = "libx265"
    if codec is None and rgb:
        codec = "ffv1"
    elif codec is None:
        codec = "libx264" if clip.bit_depth == 8 else "libx265"

    if crf is None and quality is not None:
        crf = choose_crf(codec, quality)
    elif crf is None and find_quality_option(codec) is not None:
        crf = 16
    if preset is None and codec in (*_X264, "libx265"):
        preset = "medium"

    if pix_fmt is None:
        pix_fmt = _default_pix_fmt(clip, codec)
        if suffix in DELIVERY and codec in ("libx264", "libx265") and crf != 0:
            pix_fmt = pix_fmt.replace("444", "420").replace("422", "420")
    for name, word in (("codec", codec), ("preset", preset), ("pix-fmt", pix_fmt)):
        if word is not None and not is_word(word):
            raise InputError(
                f"--{name} is {word!r}, expected a name of letters and digits; leave it out, or "
                "see `ffmpeg -encoders` and `ffmpeg -pix_fmts`"
            )
    return Encoding(
        codec=codec,
        crf=crf,
        preset=preset,
        profile=choose_profile(codec, quality, pix_fmt),
        pix_fmt=pix_fmt,
        hdr=clip.hdr if codec in HDR_ENCODERS else None,
        # x264's output depends on its threads, so the plan fixes the number that x264 would choose
        threads=min(16, math.ceil((os.cpu_count() or 1) * 1.5)),
    )


def _default_pix_fmt(clip: Clip, codec: str) -> str:
    if clip.alpha and (transparent := alpha_pix_fmt(codec, clip)):
        return transparent
    deep = clip.bit_depth > 8
    if isinstance(clip, Stills) or clip.colour.used_matrix == "rgb":
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
    """Return an encoder's private options, such as its quality, preset and log level.

    SVT-AV1's log level is set in the environment instead.
    """
    options: dict[str, str] = {}
    if encoding.crf is not None:
        options[find_quality_option(encoding.codec) or "crf"] = f"{encoding.crf:g}"
    if encoding.preset is not None:
        options["preset"] = encoding.preset
    if encoding.profile is not None:
        options["profile"] = encoding.profile

    if encoding.codec == "libsvtav1":
        os.environ.setdefault("SVT_LOG", "1")  # by default, it prints its version to stderr
    if encoding.codec in _X264 and cv2.checkHardwareSupport(_AVX512):
        options["x264-params"] = f"asm={_WITHOUT_AVX512}"
    if encoding.codec == "libx265":
        # x265's output depends on its threads, too, and it logs to stderr
        options["x265-params"] = (
            f"log-level=none:open-gop=0:pools={max(1, encoding.threads)}:"
            f"frame-threads={min(4, max(1, encoding.threads))}{hdr_x265_params(encoding.hdr)}"
            + (":lossless=1" if encoding.crf == 0 else "")  # as CRF 0 is for 8-bit x264
        )
    elif encoding.codec == "ffv1":
        options |= {"level": "3", "slices": "16", "slicecrc": "1", "g": "1"}
    elif encoding.codec in ("libvpx-vp9", "libaom-av1"):
        options["b"] = "0"
        if encoding.codec == "libvpx-vp9" and encoding.crf == 0:
            options["lossless"] = "1"  # likewise
    elif encoding.codec.endswith("_nvenc"):
        options |= {"rc": "vbr", "b": "0", "forced-idr": "1"}
    return options


def configure_encoder(
    context: VideoCodecContext, encoding: Encoding, width: int, height: int, time_base: Fraction
) -> None:
    """Set an encoder's frame size, pixel format, time base, threads and flags."""
    context.width = width
    context.height = height
    context.pix_fmt = encoding.pix_fmt
    context.time_base = time_base
    context.thread_count = encoding.threads
    if encoding.codec in _X264:
        # Slices, PyAV's default, make x264 slower and its files larger
        context.thread_type = ThreadType.FRAME
    context.flags |= Flags.bitexact | Flags.closed_gop


def find_chroma_step(pix_fmt: str) -> tuple[int, int]:
    """Return how many columns and rows of pixels share a chroma sample; 1, 1 without chroma.

    The width and height of frames must be multiples of these numbers. They are 1, 1 for an unknown
    pixel format, which `check_encoder` refuses.
    """
    try:
        chroma = av.VideoFormat(pix_fmt, _BLOCK, _BLOCK)
    except ValueError:
        return 1, 1
    return _BLOCK // chroma.chroma_width(_BLOCK), _BLOCK // chroma.chroma_height(_BLOCK)


def check_encoder(encoding: Encoding, width: int, height: int) -> None:
    """Open the encoder once to check its settings.

    Raises InputError if there is no such encoder, or if it rejects a setting or the frame size.
    """
    check_crf(encoding.codec, encoding.crf)

    try:
        context = av.CodecContext.create(encoding.codec, "w")
    except (*MEDIA_ERRORS, LookupError) as error:
        raise InputError(
            f"there is no encoder {encoding.codec!r}; expected one such as libx264, libx265, "
            "ffv1 or prores_ks; try --codec libx264"
        ) from error
    if not isinstance(context, VideoCodecContext):
        raise InputError(f"{encoding.codec} is not a video encoder; try --codec libx264")
    formats = [f.name for f in context.codec.video_formats or ()]
    if formats and encoding.pix_fmt not in formats:
        raise InputError(
            f"{encoding.codec} does not support the pixel format {encoding.pix_fmt!r}; "
            f"expected one of {', '.join(formats)}; try --pix-fmt {formats[0]}"
        )

    context.options = encoder_options(encoding)
    try:
        configure_encoder(context, encoding, width, height, Fraction(1, 25))
        context.framerate = Fraction(25)
        with keep_priority():
            context.open()
    except MEDIA_ERRORS as error:
        columns, rows = find_chroma_step(encoding.pix_fmt)
        if width % columns or height % rows:
            raise InputError(
                f"{encoding.codec} rejects {width}x{height} in {encoding.pix_fmt}; the width "
                f"must be a multiple of {columns} and the height of {rows}; try --pix-fmt yuv444p"
            ) from error
        given = {"--crf": encoding.crf, "--preset": encoding.preset, "--pix-fmt": encoding.pix_fmt}
        settings = ", ".join(
            f"{name} {value}" for name, value in given.items() if value is not None
        )
        raise InputError(
            f"{encoding.codec} rejects {width}x{height} with {settings} ({first_line(error)}); "
            "try other settings, or leave them out"
        ) from error

    unused = sorted(set(context.options) & {"crf", "cq", "preset"})
    if unused:
        raise InputError(
            f"{encoding.codec} has no {' and no '.join(unused)}; "
            f"leave out --{' and --'.join(unused)}"
        )
