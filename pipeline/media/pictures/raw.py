"""Develop raw photographs (DNG) with LibRaw, which the extra `raw` installs.

They become sRGB with the camera's white balance, without automatic brightness. Other programs
develop them differently, but a run fits the colours of its references to the recording anyway.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from PIL import ExifTags, Image

from deploy.distribution import describe_install
from pipeline.errors import InputError, MediaError, first_line
from pipeline.media.colour import make_contiguous
from pipeline.media.pictures.open_picture import DAMAGES
from pipeline.pixels import Pixels

SUFFIX = ".dng"
_SRGB_CURVE = (2.4, 12.92)  # its exponent, and its slope near black
_TRANSPOSED = (5, 6)  # LibRaw's codes for pictures that are rotated by a quarter turn


def read_raw_header(file: Path) -> tuple[int, int, dict[int, Any]]:
    """Return the width and height of a photograph as it is displayed, and its EXIF tags.

    Raises InputError if rawpy is not installed, and MediaError if the file is not a DNG.
    """
    with _open_raw(file) as raw:
        sizes = raw.sizes
    exif = _read_exif(file)
    if sizes.flip in _TRANSPOSED:
        return sizes.height, sizes.width, exif
    return sizes.width, sizes.height, exif


def _read_exif(file: Path) -> dict[int, Any]:
    """Return the EXIF tags of a DNG, which is a TIFF file; no tags if they cannot be read."""
    exif = Image.Exif()
    try:
        with file.open("rb") as stream:
            exif.load_from_fp(stream)
            return dict(exif.get_ifd(ExifTags.IFD.Exif))
    except (OSError, SyntaxError, *DAMAGES):
        return {}


def read_raw(file: Path) -> Pixels:
    """Return a developed, upright photograph as uint16 H x W x 3 RGB.

    Raises InputError if rawpy is not installed, and MediaError if the file is damaged.
    """
    with _open_raw(file) as raw:
        return make_contiguous(
            raw.postprocess(
                use_camera_wb=True, no_auto_bright=True, output_bps=16, gamma=_SRGB_CURVE
            )
        )


@contextmanager
def _open_raw(file: Path) -> Iterator[Any]:
    try:
        import rawpy
    except ImportError as error:
        raise InputError(
            f"{file} needs rawpy, which is not installed; try {describe_install('raw')}"
        ) from error
    try:
        with rawpy.imread(str(file)) as raw:
            yield raw
    except (rawpy.LibRawError, rawpy.NotSupportedError, OSError) as error:
        raise MediaError(
            f"{file} cannot be developed ({first_line(error)}); expected an intact DNG; develop it "
            "with another program, and save it as 16-bit TIFF"
        ) from error
