"""Read and write the straight alpha of frames, and choose encoders that preserve it.

The network does not process alpha. Instead, alpha is upsampled without the reference, and then
combined with the enhanced colours.
"""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import av
import numpy as np
from av.codec.context import ThreadType
from av.video.codeccontext import VideoCodecContext
from av.video.format import VideoFormat
from av.video.frame import VideoFrame
from av.video.stream import VideoStream
from numpy.typing import NDArray

from pipeline.media.colour import make_contiguous
from pipeline.schema.clip import Clip, Stills, VideoClip

Plane = NDArray[np.uint8] | NDArray[np.uint16]  # H x W

ALPHA_ENCODERS = ("prores_ks", "ffv1", "libvpx-vp9")  # encoders that preserve transparency
# Encoders that store transparency beside the packets (WebM's BlockAdditional).
BESIDE_PACKETS = frozenset({"libvpx-vp9"})
# Codec -> the decoder that reads transparency beside the packets; FFmpeg's native decoder does not.
_DECODERS = {"vp8": "libvpx", "vp9": "libvpx-vp9"}
_ENCODER_OF_CODEC = {"vp8": "libvpx-vp9", "vp9": "libvpx-vp9", "prores": "prores_ks"}
ALPHA_MODE = "alpha_mode"  # FFmpeg's name for Matroska's AlphaMode element
MATROSKA_TICK = Fraction(1, 1000)


def has_alpha(pix_fmt: str) -> bool:
    """Return whether a pixel format has an alpha component."""
    return any(component.is_alpha for component in VideoFormat(pix_fmt).components)


def keeps_alpha(codec: str, pix_fmt: str) -> bool:
    """Return whether an encoder writes the transparency of frames in `pix_fmt`."""
    planar = pix_fmt.startswith(("yuva", "gbrap")) and not VideoFormat(pix_fmt).is_big_endian
    return codec in ALPHA_ENCODERS and (planar or pix_fmt == "bgra")


def stored_pix_fmt(stream: VideoStream, pix_fmt: str) -> str:
    """Return the pixel format of a stream's frames, including alpha stored beside the packets."""
    beside = stream.codec_context.codec.canonical_name in _DECODERS
    return "yuva420p" if beside and stream.metadata.get(ALPHA_MODE) == "1" else pix_fmt


def make_alpha_decoder(clip: Clip, threads: int) -> VideoCodecContext | None:
    """Return a decoder for alpha stored beside the packets; None if a clip has no such alpha."""
    if not clip.alpha or clip.codec not in _DECODERS:
        return None
    context = av.CodecContext.create(_DECODERS[clip.codec], "r")
    assert isinstance(context, VideoCodecContext)
    context.thread_type = ThreadType.AUTO
    context.thread_count = threads
    return context


def choose_alpha_encoder(clip: VideoClip) -> str | None:
    """Return the default encoder for a recording with transparency.

    The result is None if the pixels are not square and the input is neither QuickTime nor MP4:
    only ProRes in QuickTime or MP4 preserves both the transparency and the pixel aspect ratio.
    """
    if clip.sample_aspect_ratio != 1:
        return "prores_ks" if clip.container.startswith("mov") else None
    return _ENCODER_OF_CODEC.get(clip.codec, "ffv1")


def alpha_pix_fmt(codec: str, clip: Clip) -> str | None:
    """Return the pixel format in which an encoder preserves a clip's alpha; None if it cannot."""
    deep = clip.bit_depth > 8
    if codec == "prores_ks":
        return "yuva444p10le"
    if codec == "libvpx-vp9":
        return "yuva420p"
    if codec != "ffv1":
        return None
    if isinstance(clip, Stills) or clip.colour.used_matrix == "rgb":
        return "gbrap16le" if deep else "bgra"
    chroma = next((c for c in ("444", "422") if c in clip.pix_fmt), "420")
    if clip.bit_depth > 10:
        return f"yuva{chroma}p16le"
    return f"yuva{chroma}p10le" if deep else f"yuva{chroma}p"


def extract_alpha(frame: VideoFrame, *, deep: bool) -> Plane:
    """Return a frame's full-scale alpha, H x W: uint16 if `deep`, else uint8.

    Alpha is full range even if the colours are not (FFmpeg's pixfmt.h). A frame without alpha is
    opaque.
    """
    parts = frame.format.components
    if not any(part.is_alpha for part in parts):
        return opaque_plane(frame.height, frame.width, deep=deep)
    bits = max(part.bits for part in parts)
    planar = frame.format.name.startswith(("yuva", "gbrap")) and not frame.format.is_big_endian
    if not planar:
        # palettes and packed formats have no plane for alpha
        frame = frame.reformat(format="gbrap" if bits == 8 else "gbrap16le")
        bits = 8 if bits == 8 else 16
    plane: Any = frame.planes[3]
    rows: Any = np.frombuffer(plane, np.uint8 if bits == 8 else np.uint16)
    rows = rows.reshape(plane.height, -1)
    return _to_depth(rows[:, : plane.width], bits, 16 if deep else 8)


def opaque_plane(height: int, width: int, *, deep: bool) -> Plane:
    """Return the alpha of an opaque frame, H x W: uint16 if `deep`, else uint8."""
    if deep:
        return np.full((height, width), 65535, np.uint16)
    return np.full((height, width), 255, np.uint8)


def add_alpha(frame: VideoFrame, alpha: Plane, pix_fmt: str) -> VideoFrame:
    """Return `frame` in `pix_fmt` with the alpha plane `alpha` (uint8 or uint16, H x W).

    `frame` must have the format `opaque_pix_fmt(pix_fmt)`; its colours do not change. A
    bgra frame is modified in place.
    """
    made = frame if frame.format.name == pix_fmt else _extended(frame, pix_fmt)
    bits = max(part.bits for part in made.format.components)
    levels = _to_depth(alpha, 8 * alpha.itemsize, bits)
    if made.format.name == "bgra":
        plane: Any = made.planes[0]
        rows: Any = np.frombuffer(plane, np.uint8).reshape(plane.height, plane.line_size)
        rows[:, 3 : 4 * plane.width : 4] = levels
    else:
        plane = made.planes[3]
        rows = np.frombuffer(plane, levels.dtype).reshape(plane.height, -1)
        rows[:, : plane.width] = levels
    return made


def opaque_pix_fmt(pix_fmt: str) -> str:
    """Return the pixel format without its alpha component; bgra stays bgra."""
    return pix_fmt.replace("yuva", "yuv").replace("gbrap", "gbrp")


def _extended(frame: VideoFrame, pix_fmt: str) -> VideoFrame:
    """Return a frame in `pix_fmt` with the planes of `frame` and an uninitialised alpha plane."""
    made = VideoFrame(frame.width, frame.height, pix_fmt)
    for source, target in zip(frame.planes, made.planes, strict=False):
        rows: Any = np.frombuffer(source, np.uint8)  # type: ignore[call-overload]
        out: Any = np.frombuffer(target, np.uint8)  # type: ignore[call-overload]
        used = min(source.line_size, target.line_size)
        out.reshape(target.height, -1)[:, :used] = rows.reshape(source.height, -1)[:, :used]
    made.colorspace = frame.colorspace
    made.color_range = frame.color_range
    return made


def _to_depth(levels: Plane, bits: int, wanted: int) -> Plane:
    """Scale full-scale levels from `bits` bits to `wanted` bits, rounding to the nearest."""
    if bits == wanted:
        return make_contiguous(levels)
    white = (1 << bits) - 1
    wanted_white = (1 << wanted) - 1
    scaled = (levels.astype(np.uint32) * wanted_white + white // 2) // white
    return make_contiguous(scaled.astype(np.uint8 if wanted == 8 else np.uint16))
