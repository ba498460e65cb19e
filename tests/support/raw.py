"""Write raw photographs (DNG), as a camera would store what its sensor saw."""

from __future__ import annotations

import struct
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

BLACK, WHITE = 512, 16383
NEUTRAL = (0.5, 1.0, 0.625)  # what the sensor sees of white: red, green, blue
# XYZ of D65 -> linear sRGB (IEC 61966-2-1); the sensor has these primaries
_TO_SRGB = (3.2406, -1.5372, -0.4986, -0.9689, 1.8758, 0.0415, 0.0557, -0.2040, 1.0570)
# type of a TIFF tag -> its number, and the struct format of a value
_KINDS = {"byte": (1, "B"), "ascii": (2, "B"), "short": (3, "H"), "long": (4, "I"),
          "rational": (5, "II"), "srational": (10, "ii")}  # fmt: skip


def write_dng(
    file: Path, rgb: NDArray[np.uint8], orientation: int = 1, taken: str = "2026:05:06 07:08:09"
) -> Path:
    """Write an sRGB picture, H x W x 3 with even sides, as an uncompressed Bayer mosaic (RGGB).

    `orientation` is the EXIF orientation of the stored picture.
    """
    height, width = rgb.shape[:2]
    values = rgb / 255
    linear = np.where(values <= 0.04045, values / 12.92, ((values + 0.055) / 1.055) ** 2.4)
    seen = linear * NEUTRAL
    mosaic = seen[..., 1].copy()
    mosaic[::2, ::2] = seen[::2, ::2, 0]
    mosaic[1::2, 1::2] = seen[1::2, 1::2, 2]
    pixels = np.rint(BLACK + mosaic * (WHITE - BLACK)).astype("<u2").tobytes()

    camera = np.array(_TO_SRGB).reshape(3, 3) * np.array(NEUTRAL)[:, None]
    tags = [
        (254, "long", [0]),
        (256, "long", [width]),
        (257, "long", [height]),
        (258, "short", [16]),
        (259, "short", [1]),  # not compressed
        (262, "short", [32803]),  # colour filter array
        (271, "ascii", b"Maker\0"),
        (272, "ascii", b"Model\0"),
        (273, "long", [8]),
        (274, "short", [orientation]),
        (277, "short", [1]),
        (278, "long", [height]),
        (279, "long", [len(pixels)]),
        (33421, "short", [2, 2]),
        (33422, "byte", [0, 1, 1, 2]),  # red, green; green, blue
        (34665, "long", [0]),  # where the EXIF begins; set below
        (50706, "byte", [1, 4, 0, 0]),
        (50707, "byte", [1, 1, 0, 0]),
        (50708, "ascii", b"Maker Model\0"),
        (50714, "short", [BLACK]),
        (50717, "long", [WHITE]),
        (50721, "srational", list(camera.ravel())),
        (50728, "rational", list(NEUTRAL)),
        (50778, "short", [21]),  # the matrix is for D65
    ]
    exif = [(36867, "ascii", taken.encode() + b"\0"), (37521, "ascii", b"25\0")]
    start = 8 + len(pixels)
    at_exif = start + len(_make_folder(tags, start))
    tags = [(tag, kind, [at_exif] if tag == 34665 else value) for tag, kind, value in tags]
    head = b"II*\0" + struct.pack("<I", start)
    file.write_bytes(head + pixels + _make_folder(tags, start) + _make_folder(exif, at_exif))
    return file


def _make_folder(tags: list[tuple[int, str, Any]], start: int) -> bytes:
    """Return an image file directory of TIFF that begins at byte `start`, with its values."""
    entries, values = b"", b""
    at = start + 2 + 12 * len(tags) + 4
    for tag, kind, value in tags:
        number, form = _KINDS[kind]
        data = b"".join(_pack(form, each) for each in value)
        if len(data) <= 4:
            place = data.ljust(4, b"\0")
        else:
            place = struct.pack("<I", at + len(values))
            values += data + b"\0" * (len(data) % 2)
        entries += struct.pack("<HHI", tag, number, len(value)) + place
    return struct.pack("<H", len(tags)) + entries + bytes(4) + values


def _pack(form: str, value: float) -> bytes:
    if len(form) == 1:
        return struct.pack(f"<{form}", value)
    fraction = Fraction(value).limit_denominator(10_000)
    return struct.pack(f"<{form}", fraction.numerator, fraction.denominator)
