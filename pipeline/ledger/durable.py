"""Durable writes: files and folders that appear whole or not at all."""

from __future__ import annotations

import errno
import hashlib
import os
import shutil
import uuid
from collections.abc import Iterable
from pathlib import Path

from pipeline.errors import InputError

ATTEMPT_PREFIX = "attempt-"


def fsync(path: Path) -> None:
    """Force a file or a folder's entries onto the disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def write_atomically(path: Path, text: str | Iterable[str]) -> None:
    """Write `text`, or its pieces, to `path`: a reader sees the old file or the whole new one."""
    # not longer than the name beside it may be
    temporary = path.with_name(f"{ATTEMPT_PREFIX}{uuid.uuid4().hex}")
    try:
        with temporary.open("w", encoding="utf-8") as file:
            file.writelines([text] if isinstance(text, str) else text)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
    fsync(path.parent)


def remove_folder(path: Path) -> None:
    """Delete a folder into which a late copy of a segment may still be writing."""
    for _ in range(5):
        try:
            return shutil.rmtree(path)
        except OSError as error:
            if error.errno != errno.ENOTEMPTY:
                raise
    shutil.rmtree(path)


def sha256(path: Path) -> str:
    """Return the sha256 of a file in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def content_digest(path: Path) -> str:
    """Return a digest of a file, or of the names and content of all files in a folder."""
    if path.is_file():
        return sha256(path)
    files = [file for file in sorted(path.rglob("*")) if file.is_file()]
    listed = [f"{file.relative_to(path).as_posix()} {sha256(file)}\n" for file in files]
    return hashlib.sha256("".join(listed).encode()).hexdigest()


def sync(path: Path) -> None:
    """Force a file, or a folder with all it holds, onto the disk."""
    for file in sorted(path.rglob("*")) if path.is_dir() else ():
        fsync(file)
    fsync(path)


def is_empty(folder: Path) -> bool:
    """Tell whether this is an empty folder: another is renamed over it in one step."""
    return folder.is_dir() and not folder.is_symlink() and not any(folder.iterdir())


def publish(finished: Path, output: Path, spare: Path, *, force: bool) -> None:
    """Rename the finished file or folder to its place; `spare` takes what it replaces.

    Raises InputError where something is there and `force` is not given.
    """
    if os.path.lexists(output) and not (finished.is_dir() and is_empty(output)):
        if not force:
            raise InputError(f"{output} appeared during the run; move it away, or use --force")
        if output.is_dir() or finished.is_dir():
            # a folder cannot be replaced in one step: the old one waits in the run folder
            replaced = spare / "replaced"
            output.rename(replaced)
            finished.rename(output)
            link = replaced.is_symlink()
            shutil.rmtree(replaced) if replaced.is_dir() and not link else replaced.unlink()
            fsync(output.parent)
            return
    finished.replace(output)
    fsync(output.parent)
