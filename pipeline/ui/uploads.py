"""Check the names of uploaded files, and find out which recording they form."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from pipeline.errors import InputError, MediaError
from pipeline.media.pictures.key_frames import SIDECAR, read_key_frames
from pipeline.paths import is_url

MOST_PARTS = 16  # names in a path, including the file's own
# Errors that are raised if a name is taken, or if a file is where a folder should be.
NAME_CONFLICTS = (FileExistsError, NotADirectoryError, IsADirectoryError)
_LONGEST_PART = 200  # bytes, which leaves room for the longer names of outputs
_FORBIDDEN = frozenset('<>:"|?*\\')  # characters that some systems do not allow in file names


def split_name(name: str) -> tuple[str, ...]:
    """Return the parts of an uploaded file's relative path; raises InputError if it is unsafe."""
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
    """Return an unused path for the contents of a zip file, beside it and named after it."""
    stem = archive.stem.strip(". ") or "files"
    target = archive.with_name(stem)
    while os.path.lexists(target):
        target = target.with_name(f"{target.name}_")
    return target


def _make_error(name: str) -> InputError:
    shown = name[:80].encode(errors="replace").decode().replace("\0", "\\0")
    return InputError(f"the file name {shown!r} is not allowed; rename the file")


def name_conflict(name: str) -> InputError:
    """Return the error for a file whose name is taken, or whose folder would replace a file."""
    return InputError(f"another file or folder is already named {name}; rename one of them")


def find_recording(folder: Path) -> Path:
    """Return the only file in `folder`, or else the innermost folder that contains all files.

    Raises InputError if nothing was uploaded.
    """
    while True:
        entries = sorted(path for path in folder.iterdir() if not path.name.startswith("."))
        if not entries:
            raise InputError("no file was uploaded; choose a recording or pictures again")
        if len(entries) > 1:
            return folder
        if entries[0].is_file():
            return entries[0]
        folder = entries[0]


def add_sidecar(references: Path, key_frames: Path) -> None:
    """Copy the key frames' sidecar into a folder of uploads if a picture has a key frame's name.

    The sidecar states which frames the pictures show. An uploaded sidecar is not replaced.
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
    """Return the path or URL that a user entered; raises InputError if the path does not exist."""
    text = text.strip()
    if is_url(text):
        return text
    if not text or "\0" in text:
        raise InputError("the path is empty or invalid; enter one such as /home/me/clip.mp4")
    path = Path(text).expanduser()
    if not path.is_absolute():
        raise InputError(
            f"the path {text} is not absolute; enter a full path such as /home/me/clip.mp4"
        )
    if not path.exists():
        raise InputError(f"{path} does not exist on the computer that serves this page")
    return str(path)
