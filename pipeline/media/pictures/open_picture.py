"""Open a picture with Pillow, whatever its format, and describe it as it is displayed."""

from __future__ import annotations

import struct
import warnings
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from pipeline.errors import MediaError, first_line
from pipeline.media.colour import make_contiguous
from pipeline.pixels import Pixels

# check_size rejects pictures that are too large; Pillow would first warn, then raise its own error
Image.MAX_IMAGE_PIXELS = None

# Pillow's warnings quote damaged metadata, and do not help users
warnings.filterwarnings("ignore", module="PIL")

# Formats that OpenCV cannot read, or whose orientation it ignores.
PILLOW_SUFFIXES = frozenset({".avif", ".heic", ".heif", ".hif"})

# Pillow's names of the formats to read, whatever the suffix of a file. Pillow has parsers for many
# other formats, one of which starts another program (Ghostscript).
_FORMATS = ("PNG", "JPEG", "BMP", "PPM", "GIF", "TIFF", "WEBP")
_CONTAINER_FORMATS = ("AVIF", "HEIF")

# What Pillow raises, besides its own errors, for damaged or excessively large pictures.
DAMAGES = (ValueError, LookupError, EOFError, OverflowError, MemoryError, struct.error, zlib.error)

_ORIENTATION = 0x0112
_TRANSPOSED = (5, 6, 7, 8)
_TIFF_WIDTH, _TIFF_HEIGHT = 256, 257

# Brands of ISO base media files that contain pictures rather than video.
_BRANDS = frozenset({b"heic", b"heix", b"heim", b"heis", b"mif1", b"mif2", b"avif"})


@contextmanager
def open_picture(file: str | Path) -> Iterator[Image.Image]:
    """Open a picture, and close it at the end of the block.

    Raises what `PIL.Image.open` raises, and MediaError for a picture that is damaged or exceeds one
    of Pillow's limits, for example because it contains many megabytes of text.
    """
    try:
        with _open(file) as image:
            yield image
    except DAMAGES as error:
        raise MediaError(
            f"{file} cannot be read as a picture ({first_line(error)}); expected an intact picture "
            "without large texts in its metadata; save it again"
        ) from error


def _open(file: str | Path) -> Image.Image:
    try:
        return Image.open(file, formats=_FORMATS)
    except UnidentifiedImageError:
        if not is_picture_container(Path(file)):
            raise
        # imported only here, because the import takes 0.2 s
        import pi_heif

        pi_heif.register_heif_opener()
        known = [name for name in _CONTAINER_FORMATS if name in Image.OPEN]
        return Image.open(file, formats=known)


def is_picture_container(file: Path) -> bool:
    """Return whether a file is HEIF or AVIF: one picture, often stored as a grid of tiles.

    FFmpeg would mistake such a file for a video with the size of one tile.
    """
    if not file.is_file():
        return False
    with file.open("rb") as stream:
        head = stream.read(12)
    return head[4:8] == b"ftyp" and head[8:12] in _BRANDS


def read_orientation(image: Image.Image) -> int:
    """Return the EXIF orientation (1 to 8) that must still be applied to pixels read by OpenCV.

    It is 1 (upright) for TIFF pictures, which OpenCV turns upright itself.
    """
    return 1 if image.format == "TIFF" else int(image.getexif().get(_ORIENTATION, 1))


def read_upright_size(image: Image.Image) -> tuple[int, int]:
    """Return the width and height of a picture as it is displayed, without decoding it."""
    if image.format == "TIFF":
        # some versions of Pillow swap the width and height of a rotated TIFF picture on opening it
        width, height = (
            int(image.tag_v2[tag])  # type: ignore[attr-defined]
            for tag in (_TIFF_WIDTH, _TIFF_HEIGHT)
        )
    else:
        width, height = image.size
    transposed = image.getexif().get(_ORIENTATION, 1) in _TRANSPOSED
    return (height, width) if transposed else (width, height)


def load_with_pillow(file: str | Path, mode: str) -> Pixels:
    """Return the picture in `file`, turned upright, in `mode` (RGB or RGBA).

    It is uint8, H x W x 3 or H x W x 4. Colours are not premultiplied by alpha.
    """
    with open_picture(file) as image:
        return make_contiguous(np.asarray(ImageOps.exif_transpose(image).convert(mode)))
