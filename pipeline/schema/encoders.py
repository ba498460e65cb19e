"""Common names of encoders, and the constant-quality value for each word of --quality."""

from __future__ import annotations

from typing import Literal, NamedTuple

from pipeline.errors import InputError

Quality = Literal["visually-lossless", "high", "small"]
QUALITIES: tuple[Quality, ...] = ("visually-lossless", "high", "small")

_NAMES = {
    "h264": "libx264",
    "x264": "libx264",
    "avc": "libx264",
    "h265": "libx265",
    "x265": "libx265",
    "hevc": "libx265",
    "av1": "libsvtav1",
    "svt-av1": "libsvtav1",
    "svtav1": "libsvtav1",
    "vp9": "libvpx-vp9",
    "prores": "prores_ks",
    "nvenc": "hevc_nvenc",
}

_LOSSLESS = frozenset({"ffv1", "huffyuv", "ffvhuff", "utvideo", "png", "rawvideo", "magicyuv"})

# Profiles of ProRes 4:2:2: about 7.3, 4.9 and 3.4 bits per pixel (Apple ProRes white paper).
_PROFILES = dict(zip(QUALITIES, ("hq", "standard", "lt"), strict=True))


class _Scale(NamedTuple):
    """An encoder's constant-quality option, its maximum, and the value for each of QUALITIES."""

    option: str
    largest: int
    words: tuple[float, float, float]


_SCALES = {
    "libx264": _Scale("crf", 51, (16, 20, 26)),
    "libx264rgb": _Scale("crf", 51, (16, 20, 26)),
    "libx265": _Scale("crf", 51, (16, 21, 27)),
    "libsvtav1": _Scale("crf", 63, (18, 27, 38)),
    "libaom-av1": _Scale("crf", 63, (16, 25, 36)),
    "libvpx-vp9": _Scale("crf", 63, (16, 25, 36)),
    "h264_nvenc": _Scale("cq", 51, (19, 24, 30)),
    "hevc_nvenc": _Scale("cq", 51, (19, 25, 31)),
    "av1_nvenc": _Scale("cq", 63, (22, 30, 40)),
}


def find_encoder(name: str) -> str:
    """Return FFmpeg's name for an encoder, such as libx265 for `x265`, or else `name` itself."""
    return _NAMES.get(name.lower(), name)


def find_quality_option(codec: str) -> str | None:
    """Return the name of an encoder's constant-quality option, or None if none is known."""
    return _SCALES[codec].option if codec in _SCALES else None


def choose_crf(codec: str, quality: Quality) -> float | None:
    """Return an encoder's constant-quality value for a quality word; None for ProRes.

    ProRes uses profiles instead. Raises InputError if quality words do not apply to the encoder.
    """
    if codec in _SCALES:
        return _SCALES[codec].words[QUALITIES.index(quality)]
    if codec.startswith("prores"):
        return None

    why = "is lossless" if codec in _LOSSLESS else "has an unknown quality scale"
    known = ", ".join(sorted(_SCALES))
    raise InputError(
        f"--quality {quality} does not apply to {codec}, which {why}; leave it out, or choose "
        f"another --codec: {known} or prores_ks"
    )


def choose_profile(codec: str, quality: Quality | None, pix_fmt: str) -> str | None:
    """Return the ProRes profile for a quality word; None for other encoders or without a word."""
    if quality is None or codec != "prores_ks":
        return None
    return "4444" if "444" in pix_fmt else _PROFILES[quality]


def check_crf(codec: str, crf: float | None) -> None:
    """Raise InputError if the constant-quality value is outside the encoder's scale.

    The encoder itself would silently clamp it.
    """
    scale = _SCALES.get(codec)
    if crf is None or scale is None or 0 <= crf <= scale.largest:
        return
    raise InputError(
        f"--crf {crf:g} is out of range for {codec}, from 0 (best) to {scale.largest}; try "
        f"{scale.words[0]:g}, or --quality {QUALITIES[0]}"
    )
