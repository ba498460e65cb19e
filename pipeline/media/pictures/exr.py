"""Read and write OpenEXR with FFmpeg: OpenCV is built without it, and imageio downloads a library.

Pixels are stored as fractions of the largest value of their type: 8 bits as half, 16 bits as float.
Neither conversion loses anything.
"""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path
from typing import Any

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
_CHANNELS = (1, 2, 0)  # the planes are green, blue, red
_KINDS: dict[str, np.dtype[Any]] = {
    "gbrpf16le": np.dtype(np.float16),
    "gbrpf32le": np.dtype(np.float32),
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
    """Read what `save_exr` writes: uint8 from half, uint16 from float, H x W x 3 RGB.

    Raises MediaError if the file is not such a picture.
    """
    context = av.CodecContext.create("exr", "r")
    assert isinstance(context, VideoCodecContext)
    try:
        frames = [*context.decode(Packet(file.read_bytes())), *context.decode(None)]
    except MEDIA_ERRORS as error:
        raise MediaError(
            f"{file} cannot be read as OpenEXR ({first_line(error)}); expected a picture that a "
            "run wrote; copy it again"
        ) from error
    kind = _KINDS.get(frames[0].format.name) if frames else None
    if kind is None:
        raise MediaError(
            f"{file} is not an OpenEXR picture of three half or float channels; expected a picture "
            "that a run wrote; copy it again"
        )
    frame = frames[0]
    deep = kind.itemsize == 4
    pixels = np.empty((frame.height, frame.width, 3), np.uint16 if deep else np.uint8)
    for plane, channel in zip(frame.planes, _CHANNELS, strict=True):
        values = _rows(plane, kind)[:, : frame.width].astype(np.float32)
        pixels[..., channel] = np.rint(values * (65535 if deep else 255))
    return make_contiguous(pixels)


def _rows(plane: Any, kind: np.dtype[Any]) -> NDArray[Any]:
    return np.frombuffer(plane, kind).reshape(plane.height, -1)
