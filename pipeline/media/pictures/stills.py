"""List still pictures in natural order, read their times and pixels, and save pictures."""

from __future__ import annotations

import glob
import logging
import re
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from PIL import Image, UnidentifiedImageError

from pipeline.errors import MediaError, StageError
from pipeline.media.alpha import Plane
from pipeline.media.colour import make_contiguous
from pipeline.media.container import check_size
from pipeline.media.pictures.exr import SUFFIX as EXR
from pipeline.media.pictures.exr import read_exr, read_exr_size, save_exr
from pipeline.media.pictures.names import read_times
from pipeline.media.pictures.number_pattern import (
    compile_number_pattern,
    has_number,
    has_percent_number,
)
from pipeline.media.pictures.open_picture import (
    PILLOW_SUFFIXES,
    is_picture_container,
    load_with_pillow,
    open_picture,
    read_upright_size,
)
from pipeline.media.pictures.raw import SUFFIX as DNG
from pipeline.media.pictures.raw import read_raw, read_raw_header
from pipeline.media.pictures.transparent import TIFF, save_tiff
from pipeline.paths import check_encodable
from pipeline.pixels import Pixels, as_pixels

logger = logging.getLogger(__name__)

# Suffixes of pictures except raw photographs, which cannot be outputs or views of light fields.
DEVELOPED_SUFFIXES = PILLOW_SUFFIXES | {
    ".png", ".jpg", ".jpeg", ".tif", ".tiff", ".bmp", ".webp", ".ppm", ".pgm", EXR,
}  # fmt: skip
SUFFIXES = DEVELOPED_SUFFIXES | {DNG}

_EXIF_IFD, _TAKEN, _TAKEN_SUBSEC = 0x8769, 0x9003, 0x9291


def natural_key(name: str) -> list[tuple[int, int, str]]:
    """Return a key that sorts `frame_2` before `frame_10`."""
    parts = re.split(r"(\d+)", name)
    return [(1, int(p), p) if p.isdecimal() else (0, 0, p) for p in parts if p]


def is_pattern(path: str) -> bool:
    """Return whether a path that does not exist is a glob or a pattern like `frames/%04d.png`.

    For pictures, the other notations of `number_pattern.py` count as patterns, too.
    """
    if Path(path).exists():
        return False
    wild = any(character in path for character in "*?[")
    return wild or _is_numbered(Path(path))


def _is_numbered(path: Path) -> bool:
    is_picture = path.suffix.lower() in SUFFIXES
    return has_number(path.name) if is_picture else has_percent_number(path.name)


def list_pictures(path: str) -> list[Path]:
    """Return the pictures at a path, in a folder or matching a pattern, in natural order.

    Raw photographs are left out if there are other pictures, because cameras write JPEGs beside
    them. Raises MediaError if there are no pictures, and InputError if a name is not UTF-8.
    """
    given = Path(path)
    if given.is_file():
        return [given]
    if given.is_dir():
        found = [p for p in given.iterdir() if p.is_file()]
    elif _is_numbered(given):
        found = _list_numbered(given)
    else:
        found = [Path(p) for p in glob.glob(path) if Path(p).is_file()]  # noqa: PTH207 - absolute
    pictures = [p for p in found if p.suffix.lower() in SUFFIXES and not p.name.startswith(".")]
    developed = [p for p in pictures if p.suffix.lower() in DEVELOPED_SUFFIXES]
    pictures = developed or pictures
    if not pictures:
        where = "in the folder" if given.is_dir() else "that match"
        count = f"{len(found)} file{'' if len(found) == 1 else 's'}"
        raise MediaError(
            f"found no pictures {where} {path} ({count}), expected names that end in "
            f"{', '.join(sorted(SUFFIXES))}; check the path"
        )
    check_encodable(str(picture) for picture in pictures)
    return sorted(pictures, key=lambda p: natural_key(str(p)))


def _list_numbered(pattern: Path) -> list[Path]:
    """Return the files whose names match a pattern with a number, such as `frames/%04d.png`."""
    if not pattern.parent.is_dir():
        return []
    matches = compile_number_pattern(pattern.name)
    return [p for p in pattern.parent.iterdir() if matches(p.name) and p.is_file()]


def read_header(file: Path) -> tuple[int, int, int, float | None]:
    """Return a picture's width, height, bits per channel and EXIF time (s or None) from its header.

    The width and height refer to the upright picture. Raises MediaError if the file is not a
    picture, or if it has too many pixels.
    """
    if file.stat().st_size == 0:
        raise MediaError(f"{file} is empty; expected a picture; copy it again")
    if file.suffix.lower() == EXR:
        width, height = read_exr_size(file)
        check_size(width, height, str(file))
        return width, height, 16, None
    if file.suffix.lower() == DNG:
        width, height, exif = read_raw_header(file)
        check_size(width, height, str(file))
        return width, height, 16, _read_taken(exif)
    try:
        with open_picture(file) as image:
            check_size(*image.size, str(file))  # before Pillow decodes a whole PNG for its EXIF
            width, height = read_upright_size(image)
            bits = _bits(file, image)
            taken = _read_taken(image.getexif().get_ifd(_EXIF_IFD))
    except (UnidentifiedImageError, OSError, SyntaxError) as error:
        raise MediaError(
            f"{file} cannot be read as a picture; expected an intact PNG, TIFF, JPEG or HEIC; "
            "check that it opens in a viewer"
        ) from error
    return width, height, bits, taken


def count_pictures(file: str) -> int:
    """Return the number of pictures in a file, or 0 if there is only one."""
    if Path(file).suffix.lower() in (EXR, DNG):
        return 0
    with open_picture(file) as image:
        count = getattr(image, "n_frames", 1)
    return int(count) if count > 1 else 0


def _bits(file: Path, image: Image.Image) -> int:
    # Pillow reports 16-bit RGB PNG and TIFF as 8-bit RGB
    if image.format == "PNG":
        with file.open("rb") as stream:
            return 16 if stream.read(25)[24] == 16 else 8
    if image.format == "TIFF":
        depths = image.tag_v2.get(258, (8,))  # type: ignore[attr-defined]
        return 16 if max(depths) == 16 else 8
    if image.format == "PPM":
        return 16 if (_largest(file) or 255) > 255 else 8
    return 16 if image.mode.startswith("I;16") or image.mode == "I" else 8


def _largest(file: Path) -> int | None:
    """Return the value of white in a binary PPM or PGM file; None for other files."""
    with file.open("rb") as stream:
        head = stream.read(512)
    words = re.sub(rb"#[^\n]*\n", b"", head).split(maxsplit=4)
    if len(words) < 4 or words[0] not in (b"P5", b"P6") or not words[3].isdigit():
        return None
    return int(words[3])


def _read_taken(exif: dict[int, Any]) -> float | None:
    """Return when a picture was taken, in seconds since 1970, or None if EXIF has no valid time."""
    taken, fraction = exif.get(_TAKEN), exif.get(_TAKEN_SUBSEC)
    if not isinstance(taken, str):
        return None
    try:
        moment = datetime.strptime(taken.strip("\0 "), "%Y:%m:%d %H:%M:%S").replace(tzinfo=UTC)
    except ValueError:
        return None
    digits = fraction.strip("\0 ") if isinstance(fraction, str) else ""
    return moment.timestamp() + (float(f"0.{digits}") if digits.isdecimal() else 0.0)


def picture_times(files: list[Path], exif: list[float | None]) -> tuple[float, ...]:
    """Return the time of each file in seconds, from EXIF or the names.

    The result is empty unless all files have a time. EXIF times are ignored if they are the same in
    all of several files. Times in the names are ignored if any two are the same.
    """
    dates = tuple(seconds for seconds in exif if seconds is not None)
    if len(dates) == len(files) and (len(files) == 1 or len(set(dates)) > 1):
        return dates
    named = read_times([file.stem for file in files])
    return named.values if named else ()


def load_picture(file: str) -> Pixels:
    """Return an upright picture as uint8 or uint16 H x W x 3 RGB, without alpha.

    Raises StageError if the picture cannot be read, but MediaError if it is EXR or DNG.
    """
    if Path(file).suffix.lower() == EXR:
        return read_exr(Path(file))
    if Path(file).suffix.lower() == DNG:
        return read_raw(Path(file))
    try:
        if _multiplied(file):
            return make_contiguous(load_with_pillow(file, "RGBA")[..., :3])
        if is_picture_container(Path(file)):
            return load_with_pillow(file, "RGB")
        data = np.fromfile(file, dtype=np.uint8)
        # COLOR | ANYDEPTH keeps 16 bits, turns grey into RGB, drops alpha, applies the orientation
        bgr = cv2.imdecode(data, cv2.IMREAD_COLOR | cv2.IMREAD_ANYDEPTH) if data.size else None
    except (OSError, cv2.error, MediaError) as error:
        raise StageError(f"{file} cannot be read: {error}") from error
    if bgr is None or bgr.dtype not in (np.uint8, np.uint16):
        raise StageError(
            f"{file} cannot be decoded; expected an intact 8-bit or 16-bit picture; replace it"
        )
    if data[:1].tobytes() == b"P":
        bgr = _stretched(as_pixels(bgr), _largest(Path(file)))
    return make_contiguous(cv2.cvtColor(bgr, cv2.COLOR_BGR2RGB))


def _multiplied(file: str) -> bool:
    """Return whether OpenCV would multiply the colours by alpha, which it does for 8-bit TIFF."""
    if Path(file).suffix.lower() not in TIFF:
        return False
    with open_picture(file) as image:
        return image.has_transparency_data and _bits(Path(file), image) == 8


def _stretched(pixels: Pixels, white: int | None) -> Pixels:
    """Return pixels scaled so that `white` (1023 in JPEG Pleno's PPM files) becomes full scale."""
    limit = np.iinfo(pixels.dtype).max
    if white is None or white in (0, limit):
        return pixels
    stretched = (pixels.astype(np.uint32) * limit + white // 2) // white
    return as_pixels(np.minimum(stretched, limit).astype(pixels.dtype))


def save_picture(file: Path, rgb: Pixels, alpha: Plane | None = None) -> None:
    """Write uint8 or uint16 H x W x 3 RGB as a picture in the format of the file's suffix.

    `alpha` (H x W, with the same dtype) is the picture's transparency, which is not written to EXR.
    Raises StageError if encoding fails.
    """
    if file.suffix.lower() == EXR:
        save_exr(file, rgb)
        return
    if alpha is not None and file.suffix.lower() in TIFF:
        save_tiff(file, make_contiguous(np.dstack([rgb, alpha])))
        return
    bgr = cv2.cvtColor(rgb, cv2.COLOR_RGB2BGR)
    done, data = cv2.imencode(file.suffix, bgr if alpha is None else np.dstack([bgr, alpha]))
    if not done:
        raise StageError(f"{file} cannot be encoded as {file.suffix}; try .png")
    file.write_bytes(data.tobytes())
