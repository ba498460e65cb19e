"""Where the output goes: free, writable and large enough, found out before hours of work."""

from __future__ import annotations

import os
import shutil
import tempfile
from pathlib import Path

from pipeline.errors import InputError, already_there, no_folder
from pipeline.ledger.durable import is_empty_folder
from pipeline.media.pictures.numbered import name_of
from pipeline.media.pictures.stills import SUFFIXES
from pipeline.planning.pictures import check_folder
from pipeline.schema.clip import Recording, Stills, VideoClip
from pipeline.schema.settings import OutputSettings

LEAST_BITS_PER_PIXEL = {"video": 0.04, "stills": 1.0, "views": 1.0}
"""What even the most easily compressed output needs, a video twice: as segments and joined.
Enough to notice a full disk beforehand."""
_MOST_PICTURES = 10**9
_USUAL_LENGTH = 255
"""Bytes of a name, where the file system does not say."""


def check_output(
    output: Path, settings: OutputSettings, lr: Recording, ref: Recording, pictures: str = ""
) -> None:
    """Refuse an output that is an input, is there already, or cannot be written.

    `pictures` is the pattern of numbered pictures for which `output` is the folder.
    """
    _check_length(output, pictures)
    taken = [("input", lr.path), ("reference", ref.path), ("ground truth", settings.ground_truth)]
    taken += [("input's", file) for file in lr.files]
    taken += [("reference's", file) for file in ref.files]
    place = _real(output)
    for name, path in taken:
        # "sub/../clip.mkv" and links name the same file
        if path and place == _real(path):
            raise InputError(
                f"found the {name} {path} as output, expected another path; try another -o"
            )
        if path and output.is_dir() and _real(path).is_relative_to(place):
            raise InputError(
                f"found the {name} {path} in the folder {output}, which would be replaced, "
                "expected it elsewhere; try another -o"
            )
    if (
        os.path.lexists(output)
        and not settings.force
        and not (pictures and is_empty_folder(output))
    ):
        raise already_there(output)
    if pictures:
        check_folder(output, pictures)
    elif output.is_dir() and isinstance(lr, VideoClip):
        raise InputError(
            f"found the folder {output} as output, expected a file; try {output / 'out.mkv'}, or "
            "for pictures frames/%06d.png"
        )
    elif output.is_dir() and isinstance(lr, Stills):
        _check_pictures_only(output)
    folder = output.parent
    if not folder.is_dir():
        raise no_folder(folder)
    _check_writable(folder)


def _real(path: str | Path) -> Path:
    """Return where links lead to; a link that leads to itself stays as it is."""
    return Path(os.path.realpath(path))


def _check_length(output: Path, pictures: str = "") -> None:
    """Raise InputError for an output beside which run folder and plan would have no name."""
    beside = [output.name, f".{output.name}.run", f"{output.stem}.plan.json"]
    if pictures:
        beside.append(name_of(pictures, _MOST_PICTURES))
    try:
        most = os.pathconf(output.parent, "PC_NAME_MAX")
    except (OSError, ValueError):
        most = _USUAL_LENGTH
    over = max(len(os.fsencode(name)) for name in beside) - most
    if over > 0:
        raise InputError(
            f"found an output whose name, or that of its run folder or plan, is {over} bytes too "
            f"long for {output.parent}, expected at most {most}; give a shorter -o"
        )


def check_room(output: Path, lr: Recording, pixels: int) -> None:
    """Refuse a disk that cannot hold even the smallest result; `pixels` of all output frames."""
    bits = LEAST_BITS_PER_PIXEL[lr.kind]
    needed = max(1 << 20, int(pixels * bits / 8))
    free = shutil.disk_usage(output.parent).free
    if free < needed:
        raise InputError(
            f"found {free / 1e6:.1f} MB free in {output.parent}, expected at least "
            f"{needed / 1e6:.1f} MB; make room, or try another -o"
        )


def _check_pictures_only(folder: Path) -> None:
    """Refuse to replace a folder of stills that holds more than pictures."""
    for entry in sorted(folder.iterdir()):
        if not entry.is_file() or entry.suffix.lower() not in SUFFIXES:
            raise InputError(
                f"found {entry.name} in {folder}, which would be replaced, expected pictures "
                "alone; try another -o"
            )


def _check_writable(folder: Path) -> None:
    """Try to make a folder, as a run does: modes say little to root and on network drives."""
    try:
        made = tempfile.mkdtemp(prefix=".pipeline-write-test-", dir=folder)
    except OSError as error:
        raise InputError(
            f"found no way to write in {folder} ({error.strerror}), expected a writable folder; "
            "try another -o"
        ) from error
    Path(made).rmdir()
