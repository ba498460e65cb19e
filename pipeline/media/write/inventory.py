"""Inspect the FFmpeg libraries behind PyAV: versions, decoders and working encoders."""

from __future__ import annotations

import av
from av.codec import codecs_available

from pipeline.errors import InputError
from pipeline.media.write.encoder import check_encoder
from pipeline.schema.encoding import Encoding

DECODERS = ("h264", "hevc", "vp9", "av1", "prores", "mpeg4", "ffv1")
# Encoders that `pipeline doctor` tests, each with settings that should work.
ENCODERS = {
    "libx264": Encoding(codec="libx264", crf=16, preset="medium", pix_fmt="yuv420p"),
    "libx265": Encoding(codec="libx265", crf=16, preset="medium", pix_fmt="yuv420p10le"),
    "ffv1": Encoding(codec="ffv1", crf=None, preset=None, pix_fmt="bgr0"),
    "libsvtav1": Encoding(codec="libsvtav1", crf=30, preset=None, pix_fmt="yuv420p10le"),
    "prores_ks": Encoding(codec="prores_ks", crf=None, preset=None, pix_fmt="yuv422p10le"),
    "h264_nvenc": Encoding(codec="h264_nvenc", crf=19, preset=None, pix_fmt="yuv420p"),
    "hevc_nvenc": Encoding(codec="hevc_nvenc", crf=19, preset=None, pix_fmt="p010le"),
}


def library_versions() -> str:
    """Return the versions of PyAV and of FFmpeg's libavcodec."""
    codec = ".".join(map(str, av.library_versions["libavcodec"]))
    return f"PyAV {av.__version__}, libavcodec {codec}"


def find_missing_decoders() -> list[str]:
    """Return the codecs in DECODERS for which FFmpeg has no decoder here."""
    aliases = {"av1": ("av1", "libdav1d", "libaom-av1")}
    return [
        name
        for name in DECODERS
        if not any(alias in codecs_available for alias in aliases.get(name, (name,)))
    ]


def find_refusal(encoder: str) -> str | None:
    """Open one of ENCODERS for 256 x 256 pixels; return why that fails, or None if it works."""
    try:
        check_encoder(ENCODERS[encoder], 256, 256)
    except InputError as error:
        return str(error).partition(";")[0]
    return None
