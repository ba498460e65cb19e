"""Renaming what is finished to its place, so that nothing half-done is ever seen there."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from pipeline.errors import InputError
from pipeline.ledger.ledger import fsync


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
