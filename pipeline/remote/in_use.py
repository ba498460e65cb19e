"""Mark cache folders as in use, until they are released or this process ends.

A mark is a locked file in the folder, `used-by-<unique>`. The operating system releases the lock
when the process ends, however it ends. A process ID would not be enough: in another container, the
same ID belongs to another process, or to none.
"""

from __future__ import annotations

import shutil
import threading
import uuid
from dataclasses import dataclass
from pathlib import Path

from filelock import FileLock, Timeout

_MARK = "used-by-"


@dataclass
class _Mark:
    """The mark of this process in a folder, and the number of calls that still need it."""

    lock: FileLock
    users: int = 0


_marks: dict[Path, _Mark] = {}
_guard = threading.Lock()


def mark_used(folder: Path) -> None:
    """Mark `folder` as used until `release_mark` is called or this process ends.

    The caller must hold the lock under which `is_used` is called for this folder.
    """
    with _guard:
        mark = _marks.get(folder)
        if mark is None or not Path(mark.lock.lock_file).exists():
            # any thread may release the lock
            lock = FileLock(folder / f"{_MARK}{uuid.uuid4().hex}", thread_local=False)
            lock.acquire(timeout=0)
            mark = _marks[folder] = _Mark(lock)
        mark.users += 1


def release_mark(folder: Path) -> None:
    """Undo one call of `mark_used`, and delete the mark if no other call needs it."""
    with _guard:
        mark = _marks.get(folder)
        if mark is None:
            return
        mark.users -= 1
        if mark.users <= 0:
            del _marks[folder]
            mark.lock.release()
            Path(mark.lock.lock_file).unlink(missing_ok=True)


def is_used(folder: Path) -> bool:
    """Return whether a live process in any container uses `folder`; delete marks of dead ones."""
    used = False
    for file in folder.glob(f"{_MARK}*"):
        lock = FileLock(file)
        try:
            lock.acquire(timeout=0)
        except Timeout:
            used = True
        else:
            lock.release()
            file.unlink(missing_ok=True)
    return used


def remove_unused(folder: Path) -> None:
    """Delete a folder of the cache with everything in it, unless a live process uses it."""
    if not is_used(folder):
        shutil.rmtree(folder, ignore_errors=True)
