"""Read and write transparent pictures, working around OpenCV's faults.

OpenCV multiplies the colours of 8-bit TIFF pictures by alpha, does not apply the EXIF orientation
to alpha, ignores the transparent colour of 16-bit grey pictures, and writes TIFF files with an
undeclared fourth channel.
"""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import av
import cv2
import numpy as np
from av.video.codeccontext import VideoCodecContext
from av.video.frame import VideoFrame

from pipeline.errors import StageError, first_line
from pipeline.media.alpha import Plane, opaque_plane
from pipeline.media.colour import make_contiguous
from pipeline.media.container import MEDIA_ERRORS
from pipeline.media.pictures.exr import SUFFIX as EXR
from pipeline.media.pictures.open_picture import (
    load_with_pillow,
    open_picture,
    read_orientation,
)
from pipeline.media.pictures.raw import SUFFIX as DNG
from pipeline.pixels import Pixels

TIFF = frozenset({".tif", ".tiff"})


def has_alpha(file: str) -> bool:
    """Return whether a picture has transparency.

    The result is False for EXR, whose alpha is ignored, and for DNG, which has none.
    """
    if Path(file).suffix.lower() in (EXR, DNG):
        return False
    with open_picture(file) as image:
        return image.has_transparency_data


def load_alpha(file: str, rgb: Pixels) -> Plane:
    """Return the alpha (H x W) of a picture whose colours are `rgb`, with the dtype of `rgb`.

    Raises StageError if the transparency cannot be read.
    """
    deep = rgb.itemsize == 2
    if not has_alpha(file):
        return opaque_plane(*rgb.shape[:2], deep=deep)
    alpha = _deep_alpha(file) if deep else load_with_pillow(file, "RGBA")[..., 3]
    if alpha is None or alpha.shape != rgb.shape[:2] or alpha.dtype != rgb.dtype:
        raise StageError(
            f"{file} has transparency that cannot be read; expected 8 or 16 bits per channel; save "
            "it as PNG"
        )
    return make_contiguous(alpha)


def _deep_alpha(file: str) -> Plane | None:
    """Return the alpha of a 16-bit picture, which Pillow reduces to 8 bits; None if unreadable."""
    stored = cv2.imdecode(np.fromfile(file, dtype=np.uint8), cv2.IMREAD_UNCHANGED)
    with open_picture(file) as image:
        orientation = read_orientation(image)
        colour = image.info.get("transparency")
    if stored is None or stored.dtype != np.uint16:
        return None
    if stored.ndim == 3 and stored.shape[2] in (2, 4):
        return turn_plane(make_contiguous(stored[..., -1]), orientation)
    if stored.ndim == 2 and isinstance(colour, int):
        clear = np.where(stored == colour, 0, 65535).astype(np.uint16)
        return turn_plane(clear, orientation)
    return None


def turn_plane(plane: Plane, orientation: int) -> Plane:
    """Return a plane rotated and mirrored according to its EXIF orientation (Exif 2.3, 4.6.4)."""
    if orientation in (5, 6, 7, 8):
        plane = plane.T
    if orientation in (2, 3, 6, 7):
        plane = plane[:, ::-1]
    if orientation in (3, 4, 7, 8):
        plane = plane[::-1]
    return plane


def save_tiff(file: Path, rgba: Pixels) -> None:
    """Write uint8 or uint16 H x W x 4 RGBA as a TIFF file that declares straight alpha.

    Raises StageError if FFmpeg fails.
    """
    height, width = rgba.shape[:2]
    name = "rgba" if rgba.itemsize == 1 else "rgba64le"
    frame = VideoFrame.from_ndarray(np.ascontiguousarray(rgba), name)  # type: ignore[arg-type]
    context = av.CodecContext.create("tiff", "w")
    assert isinstance(context, VideoCodecContext)
    context.width, context.height, context.pix_fmt = width, height, name
    context.time_base = Fraction(1, 25)
    context.options = {"compression_algo": "deflate"}
    try:
        packets = [*context.encode(frame), *context.encode(None)]
    except MEDIA_ERRORS as error:
        raise StageError(f"{file} cannot be encoded ({first_line(error)}); try .png") from error
    file.write_bytes(b"".join(bytes(packet) for packet in packets))
