"""Check before a run that the output path is free and writable, and that the disk has room."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterable
from pathlib import Path

from pipeline.errors import InputError, already_there, no_folder
from pipeline.ledger.durable import is_empty_folder
from pipeline.ledger.plan_beside import plan_path
from pipeline.lightfield.targets import check_replaceable, name_target
from pipeline.media.pictures.numbered import picture_name
from pipeline.media.pictures.stills import DEVELOPED_SUFFIXES
from pipeline.paths import check_not_read
from pipeline.planning.pictures import check_folder
from pipeline.progress import format_bytes
from pipeline.recording import open_recording
from pipeline.schema.clip import LightField, Recording, Stills, VideoClip
from pipeline.schema.plan_file import check_is_plan
from pipeline.schema.settings import InputSettings, OutputSettings

# Minimum bits per pixel of an output; high enough to notice a full disk. A video needs space for
# both its segments and the joined file.
LEAST_BITS_PER_PIXEL = {"video": 0.04, "stills": 1.0, "views": 1.0}

_MOST_PICTURES = 10**9
_USUAL_NAME_BYTES = 255  # longest name if the file system does not report a limit


def check_output(
    output: Path,
    settings: OutputSettings,
    lr: Recording,
    ref: Recording,
    pictures: str = "",
    read: Iterable[str | None] = (),
) -> None:
    """Raise InputError if the output exists, would replace a recording, or cannot be written.

    With --force, the output may exist. `pictures` is the name pattern if `output` is a folder of
    numbered pictures, else "". `read` lists other files that the run reads.
    """
    _check_name_length(output, pictures)

    # the output must not replace a recording, even by another path such as "sub/../clip.mkv"
    taken = [("input", lr.path), ("reference", ref.path), ("ground truth", settings.ground_truth)]
    taken += [("input's file", file) for file in lr.files]
    taken += [("reference's file", file) for file in ref.files]
    place = _resolve(output)
    beside = _resolve(plan_path(output))
    for name, path in taken:
        if path and place == _resolve(path):
            raise InputError(
                f"the output is also the {name} {path}, which must not be replaced; try another -o"
            )
        if path and output.is_dir() and _resolve(path).is_relative_to(place):
            raise InputError(
                f"the output would replace the folder {output}, which contains the {name} {path}; "
                "try another -o"
            )
        if path and beside == _resolve(path):
            raise InputError(
                f"the plan beside the output {output} would replace the {name} {path}; try another "
                "-o"
            )

    # these files must not even be replaced through a hard link, as a recording may be
    check_not_read(output, read)
    if not settings.force:
        check_is_plan(plan_path(output), "-o")

    # nothing else may be replaced without --force
    if output.is_dir() and isinstance(lr, VideoClip) and not pictures:
        raise InputError(
            f"the output {output} is a folder, but must be a file; try -o {output / 'out.mkv'}, or "
            "-o frames/%06d.png for pictures"
        )
    is_free = not os.path.lexists(output) or bool(pictures and is_empty_folder(output))
    if not is_free and not settings.force:
        raise already_there(output)
    if pictures:
        check_folder(output, pictures)
    elif output.is_dir() and isinstance(lr, Stills):
        check_pictures_only(output)
    elif output.is_dir():
        check_replaceable(output)

    # the folder must exist and be writable
    folder = output.parent
    if not folder.is_dir():
        raise no_folder(folder)
    _check_writable(folder)


def name_unwritten_output(settings: InputSettings) -> str:
    """Return a name that suits the input for an output that is only planned, not written."""
    lr = open_recording(settings.input, settings, sandbox=settings.sandbox == "on")
    if isinstance(lr, LightField):
        return name_target(lr, None, "_x").name
    if not isinstance(lr, Stills):
        return "frames.mkv"
    return "frames" if Path(lr.path).is_dir() or len(lr.files) > 1 else "frames.png"


def _resolve(path: str | Path) -> Path:
    """Return the path with all symbolic links followed, except a link that points to itself."""
    return Path(os.path.realpath(path))


def _check_name_length(output: Path, pictures: str = "") -> None:
    """Raise InputError if the name of the output, its run folder or its plan is too long."""
    beside = [output.name, f".{output.name}.run", plan_path(output).name]
    if pictures:
        beside.append(picture_name(pictures, _MOST_PICTURES))

    try:
        most = os.pathconf(output.parent, "PC_NAME_MAX")
    except (OSError, ValueError):
        most = _USUAL_NAME_BYTES

    longest = max(len(os.fsencode(name)) for name in beside)
    if longest > most:
        raise InputError(
            f"the output, its run folder or its plan would have a name of {longest} bytes, but "
            f"{output.parent} allows at most {most}; use a shorter -o"
        )


def check_room(output: Path, lr: Recording, pixels: int) -> None:
    """Raise InputError if the disk cannot hold even the smallest possible output.

    `pixels` is the number of pixels of all output frames together.
    """
    bits = LEAST_BITS_PER_PIXEL[lr.kind]
    needed = max(1 << 20, int(pixels * bits / 8))
    free = shutil.disk_usage(output.parent).free
    if free < needed:
        raise InputError(
            f"the output needs at least {format_bytes(needed)}, but {output.parent} has only "
            f"{format_bytes(free)} free; free some space, or try another -o"
        )


def check_pictures_only(folder: Path, also: frozenset[str] = frozenset()) -> None:
    """Raise InputError if a folder that would be replaced contains anything but pictures.

    `also` lists the names of other files that it may contain.
    """
    for entry in sorted(folder.iterdir()):
        if entry.name in also:
            continue
        if not entry.is_file() or entry.suffix.lower() not in DEVELOPED_SUFFIXES:
            raise InputError(
                f"the output would replace the folder {folder}, which contains {entry.name} "
                "besides pictures; try another -o"
            )


def _check_writable(folder: Path) -> None:
    """Raise InputError if a trial folder cannot be created in `folder`.

    File modes are not checked, because they mean little for root and on network drives.
    """
    try:
        made = tempfile.mkdtemp(prefix=".pipeline-write-test-", dir=folder)
    except OSError as error:
        raise InputError(
            f"cannot write to {folder} ({error.strerror}); make it writable, or try another -o"
        ) from error
    Path(made).rmdir()
