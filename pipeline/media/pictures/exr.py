"""Read and write OpenEXR with FFmpeg, as OpenCV lacks it and imageio would download a library.

Files contain a recording's own, display-referred values as fractions of the largest value: 8-bit
values are stored as half, 16-bit values as float. Neither conversion loses anything. Pictures from
other programs are read in the same way. Scene-linear light is recognised by values above 1. It is
refused, because only the user knows which transform it needs.
"""

from __future__ import annotations

import struct
from fractions import Fraction
from pathlib import Path
from typing import Any, NamedTuple

import av
import numpy as np
from av.packet import Packet
from av.video.codeccontext import VideoCodecContext
from av.video.frame import VideoFrame
from numpy.typing import NDArray

from pipeline.errors import MediaError, StageError, first_line
from pipeline.media.colour import make_contiguous
from pipeline.media.container import MEDIA_ERRORS
from pipeline.pixels import Pixels

SUFFIX = ".exr"
_CHANNELS = (1, 2, 0)  # RGB channel of each plane: the planes are green, blue, red
_MAGIC = b"\x76\x2f\x31\x01"
_TILES, _DEEP, _PARTS = 0x200, 0x800, 0x1000  # flags in the version field
_MOST_HEADER = 1 << 20  # bytes
_WHITE = 1.05  # values up to this are accepted as white, because filters overshoot at edges
_MOST_ABOVE = 0.01  # greatest share of a picture's pixels that may be brighter than that
_HALF, _FLOAT = np.dtype(np.float16), np.dtype(np.float32)
# FFmpeg's pixel format -> the type of its values, and the indices of its red, green and blue planes
# or of its grey plane.
_FORMATS: dict[str, tuple[np.dtype[Any], tuple[int, ...]]] = {
    "gbrpf16le": (_HALF, (2, 0, 1)),
    "gbrapf16le": (_HALF, (2, 0, 1)),
    "grayf16le": (_HALF, (0,)),
    "gbrpf32le": (_FLOAT, (2, 0, 1)),
    "gbrapf32le": (_FLOAT, (2, 0, 1)),
    "grayf32le": (_FLOAT, (0,)),
}


def save_exr(file: Path, rgb: Pixels) -> None:
    """Write uint8 or uint16 H x W x 3 RGB as OpenEXR values from 0 to 1.

    Raises StageError if FFmpeg fails.
    """
    height, width = rgb.shape[:2]
    frame = VideoFrame(width, height, "gbrpf32le")
    largest = np.float32(np.iinfo(rgb.dtype).max)
    for plane, channel in zip(frame.planes, _CHANNELS, strict=True):
        _rows(plane, np.dtype(np.float32))[:, :width] = rgb[..., channel] / largest
    context = av.CodecContext.create("exr", "w")
    assert isinstance(context, VideoCodecContext)
    context.width, context.height, context.pix_fmt = width, height, "gbrpf32le"
    context.time_base = Fraction(1, 25)
    kind = "half" if rgb.dtype == np.uint8 else "float"
    context.options = {"compression": "zip16", "format": kind}
    try:
        packets = [*context.encode(frame), *context.encode(None)]
    except MEDIA_ERRORS as error:
        raise StageError(f"{file} cannot be encoded ({first_line(error)}); try .tif") from error
    file.write_bytes(b"".join(bytes(packet) for packet in packets))


def load_exr(file: Path) -> Pixels:
    """Return a picture from `save_exr` as H x W x 3 RGB: uint8 for half values, uint16 for float.

    Raises MediaError if the file is not such a picture.
    """
    values = _decode(file)
    if values.shape[2] != 3:
        raise MediaError(f"{file} is not an OpenEXR picture with three half or float channels")
    deep = values.itemsize == 4
    levels = np.rint(values.astype(np.float32) * (65535 if deep else 255))
    return make_contiguous(levels.astype(np.uint16 if deep else np.uint8))


def read_exr(file: Path) -> Pixels:
    """Return an EXR picture from any program as uint16 H x W x 3 RGB, without its alpha.

    Raises MediaError if the picture is damaged, or if it contains scene-linear light.
    """
    values = np.nan_to_num(_decode(file).astype(np.float32), nan=0.0, posinf=2.0, neginf=0.0)
    above = float((values.max(axis=2) > _WHITE).mean())
    if above > _MOST_ABOVE:
        raise MediaError(
            f"{file} has values up to {values.max():.3g}, and {100 * above:.0f} % of its pixels "
            "are brighter than white; expected display values from 0 to 1, as `pipeline keyframes` "
            "writes them, not scene-linear light; save it with the view transform of the recording "
            "(Rec.709 or sRGB)"
        )
    rgb = values if values.shape[2] == 3 else np.repeat(values, 3, axis=2)
    return make_contiguous(np.rint(rgb.clip(0, 1) * 65535).astype(np.uint16))


def read_exr_size(file: Path) -> tuple[int, int]:
    """Return the width and height of an EXR picture as it is displayed, without decoding it.

    Raises MediaError if the file has no valid header, several parts or deep samples.
    """
    with file.open("rb") as stream:
        return _read_header(file, stream.read(_MOST_HEADER)).size


class _Header(NamedTuple):
    """What is read from an OpenEXR header without FFmpeg."""

    size: tuple[int, int]
    """Width and height."""
    end: int
    """Position of the first byte after the header."""
    is_tiled: bool


def _read_header(file: Path, head: bytes) -> _Header:
    if head[:4] != _MAGIC:
        raise MediaError(f"{file} is not an OpenEXR picture; save it again as OpenEXR")
    size = None
    try:
        (flags,) = struct.unpack_from("<I", head, 4)
        if flags & (_DEEP | _PARTS):
            raise MediaError(
                f"{file} has several parts or deep samples; save it as a flat OpenEXR "
                "picture with one part"
            )
        at = 8
        while head[at] != 0:
            name, at = _read_text(head, at)
            _, at = _read_text(head, at)
            (length,) = struct.unpack_from("<I", head, at)
            at += 4
            if name == b"displayWindow":
                left, top, right, bottom = struct.unpack_from("<4i", head, at)
                size = right - left + 1, bottom - top + 1
            at += length
    except (ValueError, IndexError, struct.error):
        size = None
    if size is None:
        raise MediaError(f"{file} has a damaged OpenEXR header; save it again")
    return _Header(size, at + 1, is_tiled=bool(flags & _TILES))


def _read_text(head: bytes, at: int) -> tuple[bytes, int]:
    end = head.index(0, at)
    return head[at:end], end + 1


def _is_complete(data: bytes, header: _Header) -> bool:
    """Return whether a file contains all blocks in its offset table; FFmpeg skips missing ones.

    A program that stops while writing leaves zeros in the table.
    """
    lead = 20 if header.is_tiled else 8  # bytes before a block's pixels; the last 4 are their size
    try:
        (first,) = struct.unpack_from("<Q", data, header.end)
        count = max((first - header.end) // 8, 1)
        for offset in struct.unpack_from(f"<{count}Q", data, header.end):
            (size,) = struct.unpack_from("<I", data, offset + lead - 4)
            if offset <= header.end or offset + lead + size > len(data):
                return False
    except (struct.error, OverflowError):
        return False
    return True


def _decode(file: Path) -> NDArray[Any]:
    """Return the values of a picture, H x W x 3 or, for grey, H x W x 1; alpha is left out.

    Raises MediaError if the file is incomplete or cannot be decoded, or if it has other channels.
    """
    data = file.read_bytes()
    if not _is_complete(data, _read_header(file, data[:_MOST_HEADER])):
        raise MediaError(f"the OpenEXR picture {file} is incomplete; copy it again")

    context = av.CodecContext.create("exr", "r")
    assert isinstance(context, VideoCodecContext)
    try:
        frames = [*context.decode(Packet(data)), *context.decode(None)]
    except MEDIA_ERRORS as error:
        raise MediaError(
            f"{file} cannot be read as OpenEXR ({first_line(error)}); expected an intact picture; "
            "copy it again"
        ) from error
    form = _FORMATS.get(frames[0].format.name) if frames else None
    if form is None:
        raise MediaError(
            f"{file} does not contain RGB or grey as half or float values; save it as OpenEXR with "
            "such values, or as TIFF"
        )

    kind, planes = form
    frame = frames[0]
    values = np.empty((frame.height, frame.width, len(planes)), kind)
    for channel, number in enumerate(planes):
        values[..., channel] = _rows(frame.planes[number], kind)[:, : frame.width]
    return values


def _rows(plane: Any, kind: np.dtype[Any]) -> NDArray[Any]:
    return np.frombuffer(plane, kind).reshape(plane.height, -1)
