"""Name numbered pictures in a folder, such as `frames/%06d.png`, and read their sidecar."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Literal

from pydantic import ValidationError

from pipeline.errors import InputError, MediaError
from pipeline.media.pictures.stills import SUFFIXES
from pipeline.paths import read_limited
from pipeline.schema.model import Model
from pipeline.schema.texts import PicturePattern, Ratio

LOSSLESS_SUFFIXES = (".png", ".tif", ".tiff", ".exr")
FIRST_NUMBER = 1  # number of the first picture, as in FFmpeg
SIDECAR = "sequence.json"
_MOST_BYTES = 16_000_000

# An escaped percent sign, or the number's placeholder, with or without a width.
_PIECE = re.compile(r"%(?:(%)|(?:0([1-9]))?d)")


class PictureSequence(Model):
    """The sidecar beside numbered pictures, with the times and tags that pictures cannot store."""

    version: Literal[1] = 1
    pattern: PicturePattern
    """Name of a picture, with a placeholder for its number."""
    first: int = FIRST_NUMBER
    time_base: Ratio
    """Seconds per tick."""
    pts: tuple[int, ...]
    """The time of each picture in ticks, in the order of the pictures' numbers."""
    end_pts: int
    """Time in ticks at which the last picture ends."""
    sample_aspect_ratio: Ratio
    """The width of a picture's pixel divided by its height."""
    turned: bool
    """Whether the pictures are upright although the video stores its frames rotated or mirrored."""
    primaries: int
    """The colour primaries, as a code from ITU-T H.273; 2 if the input is untagged."""
    transfer: int
    """The transfer characteristics, as a code from ITU-T H.273; 2 if the input is untagged."""

    @property
    def times(self) -> tuple[float, ...]:
        """The times in seconds at which the pictures are shown."""
        return tuple(float(pts * self.time_base) for pts in self.pts)

    @property
    def names(self) -> list[str]:
        """The file names of the pictures, in the order of their numbers."""
        return [picture_name(self.pattern, number) for number in range(len(self.pts))]


def split_pattern(output: str) -> tuple[Path, str] | None:
    """Return the folder and the pattern of an output such as `frames/%06d.png`.

    The result is None for an output that is not a pattern. Raises InputError if the pattern or its
    suffix is not supported, or if the folder is the working directory or contains it.
    """
    path = Path(output)
    suffix = path.suffix.lower()
    if suffix not in (*SUFFIXES, *LOSSLESS_SUFFIXES) or not any(_numbers(path.name)):
        return None
    if suffix not in LOSSLESS_SUFFIXES:
        raise InputError(
            f"numbered pictures cannot be written as {path.suffix}; expected one of "
            f"{', '.join(LOSSLESS_SUFFIXES)}, which are lossless; try {path.with_suffix('.png')}"
        )
    if len(_numbers(path.name)) > 1 or "%" in _PIECE.sub("", path.name):
        raise InputError(
            f"the output's pattern {path.name} must have exactly one number such as %06d, and %% "
            "for every percent sign; try %06d.png"
        )
    folder = path.absolute().parent
    if Path.cwd().is_relative_to(folder.resolve()):
        raise InputError(
            f"numbered pictures need a folder of their own, but {folder} is or contains the "
            f"current folder; try frames/{path.name}"
        )
    return folder, path.name


def _numbers(name: str) -> list[str]:
    return [match[0] for match in _PIECE.finditer(name) if not match[1]]


def picture_name(pattern: str, position: int) -> str:
    """Return the name of the picture at `position`; positions count from 0, numbers from 1."""

    def put(match: re.Match[str]) -> str:
        return "%" if match[1] else f"{position + FIRST_NUMBER:0{match[2] or 1}d}"

    return _PIECE.sub(put, pattern)


def find_foreign_file(folder: Path, pattern: str) -> str | None:
    """Return the name of the first entry in a folder that does not belong to the sequence.

    Only the sidecar and files whose names match `pattern` belong to it. The result is None if the
    folder contains nothing else.
    """
    pieces, end = [], 0
    for match in _PIECE.finditer(pattern):
        pieces += [re.escape(pattern[end : match.start()]), "%" if match[1] else r"\d+"]
        end = match.end()
    own = re.compile("".join([*pieces, re.escape(pattern[end:])]))
    for entry in sorted(folder.iterdir()):
        picture = own.fullmatch(entry.name) or entry.name == SIDECAR
        if not picture or entry.is_symlink() or not entry.is_file():
            return entry.name
    return None


def read_sequence(folder: Path) -> PictureSequence | None:
    """Return the sidecar of the numbered pictures in a folder; None if there is none.

    Raises MediaError if it cannot be read, or if its pattern is not a file name with one number.
    """
    file = folder / SIDECAR
    if not file.is_file():
        return None
    try:
        found = PictureSequence.model_validate_json(read_limited(file, _MOST_BYTES))
    except (OSError, ValidationError) as error:
        if isinstance(error, ValidationError):
            reason = error.errors()[0]["msg"]
        else:
            reason = error.strerror or "unknown error"
        raise MediaError(
            f"{file} cannot be read ({reason}); expected the sidecar of numbered pictures; "
            "repair it, or move it out of the folder"
        ) from error
    if Path(found.pattern).name != found.pattern or len(_numbers(found.pattern)) != 1:
        raise MediaError(
            f"{file} has the pattern '{found.pattern}'; expected a file name with one "
            "placeholder, such as %06d; repair the file, or move it out of the folder"
        )
    return found


def check_comparable(folder: Path, what: str) -> None:
    """Raise InputError if a run's pictures in `folder` cannot be compared with a video.

    This applies to EXR pictures, and to pictures that were rotated upright. `what` is the
    operation that would compare them, such as "a report".
    """
    found = read_sequence(folder) if folder.is_dir() else None
    if found is None:
        return
    if found.turned:
        raise InputError(
            f"{folder} contains upright pictures of a rotated or mirrored video, but {what} needs "
            "the frames as the video stores them; repeat the run with a video as its output, such "
            "as -o out.mkv, and pass that video"
        )
    if found.pattern.lower().endswith(".exr"):
        raise InputError(
            f"{folder} contains EXR pictures, but {what} needs PNG, TIFF or a video; repeat the "
            "run with a .png pattern or a video as its output, and pass that output"
        )


def sequence_times(files: list[Path]) -> tuple[float, ...]:
    """Return the times of pictures in seconds, from the sidecar in their folder.

    The result is empty if there is only one picture, if there is no readable sidecar, or if the
    sidecar lists other pictures.
    """
    if len(files) < 2:
        return ()
    try:
        found = read_sequence(files[0].parent)
    except MediaError:
        return ()  # the file may be another program's, with the same name
    if found is None or [file.name for file in files] != found.names:
        return ()
    return found.times
