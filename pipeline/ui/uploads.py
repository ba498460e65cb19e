"""Check the names of uploaded files, and find the recording that they make."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from pipeline.errors import InputError, MediaError
from pipeline.media.pictures.key_frames import SIDECAR, read_key_frames
from pipeline.paths import is_url

MOST_PARTS = 16  # folders in a path
# What the operating system raises if a file is in the place of a folder, or the other way round.
NAME_CONFLICTS = (FileExistsError, NotADirectoryError, IsADirectoryError)
_LONGEST_PART = 200  # bytes, so that names for outputs can be longer
_FORBIDDEN = frozenset('<>:"|?*\\')  # characters that some systems do not allow in names


def split_name(name: str) -> tuple[str, ...]:
    """Return the parts of an uploaded file's relative path; raises InputError if it is not safe."""
    parts = tuple(name.split("/"))
    for part in parts:
        if part in ("", ".", "..") or len(os.fsencode(part)) > _LONGEST_PART:
            raise _make_error(name)
        if any(ord(char) < 32 or char in _FORBIDDEN or ord(char) == 127 for char in part):
            raise _make_error(name)
        if part != part.rstrip(" .") or part.startswith("-"):
            raise _make_error(name)
    if len(parts) > MOST_PARTS:
        raise _make_error(name)
    return parts


def name_unpacked(archive: Path) -> Path:
    """Return a free path beside an uploaded zip file for its files, named after it."""
    stem = archive.stem.strip(". ") or "files"
    target = archive.with_name(stem)
    while os.path.lexists(target):
        target = target.with_name(f"{target.name}_")
    return target


def _make_error(name: str) -> InputError:
    shown = name[:80].encode(errors="replace").decode().replace("\0", "\\0")
    return InputError(
        f"found the file name {shown!r}, expected a plain relative name; rename the file"
    )


def name_conflict(name: str) -> InputError:
    """Return the error for a file whose name is taken by another file or folder."""
    return InputError(f"found {name} twice, expected names that differ; rename the file")


def find_recording(folder: Path) -> Path:
    """Return the one file or folder that was uploaded into `folder`, or `folder` if it is several.

    Raises InputError if nothing was uploaded.
    """
    while True:
        entries = sorted(path for path in folder.iterdir() if not path.name.startswith("."))
        if not entries:
            raise InputError("found no file, expected a recording or pictures; choose files again")
        if len(entries) > 1:
            return folder
        if entries[0].is_file():
            return entries[0]
        folder = entries[0]


def add_sidecar(references: Path, key_frames: Path) -> None:
    """Copy the sidecar of proposed key frames to the uploaded pictures, if they are these frames.

    It states which frames the pictures show. Pictures that have a sidecar of their own keep it.
    """
    place = references
    entries = [path for path in place.iterdir() if not path.name.startswith(".")]
    if len(entries) == 1 and entries[0].is_dir():
        place = entries[0]
    if (place / SIDECAR).exists():
        return
    try:
        known = read_key_frames(key_frames)
    except MediaError:
        return
    if known is None:
        return
    if any(known.find_key(path.stem) for path in place.iterdir() if path.is_file()):
        shutil.copy(key_frames / SIDECAR, place / SIDECAR)


def check_named_path(text: str) -> str:
    """Return the path or URL that a user named; raises InputError if there is nothing."""
    text = text.strip()
    if is_url(text):
        return text
    if not text or "\0" in text:
        raise InputError("found no path, expected one such as /home/me/clip.mp4")
    path = Path(text).expanduser()
    if not path.is_absolute():
        raise InputError(
            f"found the path {text}, expected one from the root, such as /home/me/clip.mp4"
        )
    if not path.exists():
        raise InputError(f"found nothing at {path}; check the path on the computer of this page")
    return str(path)
