"""Durable writes: a file or folder appears completely or not at all."""

from __future__ import annotations

import errno
import hashlib
import os
import shutil
import sys
import uuid
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from filelock import BaseFileLock, FileLock, Timeout

from pipeline.errors import InputError
from pipeline.paths import own_folder, sha256

ATTEMPT_PREFIX = "attempt-"  # begins the name of every file that is not committed yet
ON_WINDOWS = sys.platform == "win32"
_REMOVAL_ATTEMPTS = 6  # several, because a worker may add a file while the folder is being deleted


def fsync(path: Path) -> None:
    """Flush a file, or a folder's directory entries, to disk.

    Windows flushes directory entries by itself, and can flush only files that are open for writing.
    """
    if ON_WINDOWS and path.is_dir():
        return
    handle = os.open(path, os.O_RDWR if ON_WINDOWS else os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def fsync_tree(path: Path) -> None:
    """Flush a file, or a folder with everything below it, to disk."""
    if path.is_dir():
        for file in sorted(path.rglob("*")):
            fsync(file)
    fsync(path)


def write_atomically(path: Path, text: str | Iterable[str], *, private: bool = False) -> None:
    """Write `text`, or its pieces, to `path`. Readers see the old file or the complete new one.

    Only the owner can read a `private` file. A process that is killed leaves an unfinished file
    beside `path`, so use this only in folders that the next run clears: the run folder, or a
    `staging_folder`.
    """
    # the temporary name does not contain the name of `path`, which may have the maximum length
    temporary = path.with_name(f"{ATTEMPT_PREFIX}{uuid.uuid4().hex}")
    try:
        if private:
            temporary.touch(mode=0o600, exist_ok=False)
        with temporary.open("w", encoding="utf-8", newline="\n") as file:
            file.writelines([text] if isinstance(text, str) else text)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
    fsync(path.parent)


def remove_path(path: Path) -> None:
    """Delete a file, a link, or a folder with everything in it."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink()


def remove_folder(path: Path) -> None:
    """Delete a folder, even while a worker that is no longer needed writes a segment to it."""
    for attempt in range(1, _REMOVAL_ATTEMPTS + 1):
        try:
            shutil.rmtree(path)
            return
        except OSError as error:
            if error.errno != errno.ENOTEMPTY or attempt == _REMOVAL_ATTEMPTS:
                raise


def release_lock(lock: BaseFileLock) -> None:
    """Release a lock. On Windows, also delete the lock file, and its folder if that is then empty.

    Windows cannot delete a locked file, so clearing the folder leaves the lock file behind.
    """
    lock.release()
    if ON_WINDOWS:
        file = Path(lock.lock_file)
        with suppress(OSError):  # another process already holds the lock, or the folder has files
            file.unlink(missing_ok=True)
            file.parent.rmdir()


def content_digest(path: Path) -> str:
    """Return the SHA-256 of a file, or of the relative paths and SHA-256s of a folder's files."""
    if path.is_file():
        return sha256(path)

    files = [file for file in sorted(path.rglob("*")) if file.is_file()]
    lines = [f"{file.relative_to(path).as_posix()} {sha256(file)}\n" for file in files]
    return hashlib.sha256("".join(lines).encode()).hexdigest()


def is_empty_folder(path: Path) -> bool:
    """Return whether `path` is an empty folder, and not a link to one."""
    return path.is_dir() and not path.is_symlink() and not any(path.iterdir())


@contextmanager
def staging_folder(output: Path) -> Iterator[Path]:
    """Yield a folder beside `output` in which to write the output; it contains only a lock file.

    The folder is deleted at the end. If a killed process left one, it is cleared and reused. Raises
    InputError if another process is writing `output`, and OSError if nothing can be written beside
    it.
    """
    folder = output.with_name(f".{output.name}.part")
    own_folder(folder)
    lock = FileLock(folder / "lock")
    try:
        lock.acquire(timeout=0)
    except Timeout:
        raise InputError(
            f"another command is writing {output}; wait for it to end, or choose another path"
        ) from None

    try:
        for stale in folder.iterdir():
            if stale.name != "lock":
                remove_path(stale)
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        release_lock(lock)


def check_free(finished: Path, output: Path, *, force: bool) -> None:
    """Raise InputError if `output` exists and must not be replaced by `finished`."""
    if not force and _exists(finished, output):
        raise InputError(
            f"{output} appeared during the run; move it away, or try --force to replace it"
        )


def publish_output(finished: Path, output: Path, spare: Path, *, force: bool) -> None:
    """Rename the finished file or folder to `output`, and delete any old output.

    If either is a folder, the old output is moved into the folder `spare` before it is deleted.
    Raises InputError if `output` exists and `force` is False.
    """
    check_free(finished, output, force=force)
    if _exists(finished, output) and (output.is_dir() or finished.is_dir()):
        # a folder cannot be replaced in one step
        replaced = spare / "replaced"
        output.rename(replaced)
        finished.rename(output)
        remove_path(replaced)
    else:
        if finished.is_dir() and is_empty_folder(output):
            output.rmdir()  # Windows cannot replace a folder, not even an empty one
        finished.replace(output)
    fsync(output.parent)


def _exists(finished: Path, output: Path) -> bool:
    """Return whether `output` exists; an empty folder does not count if `finished` is a folder."""
    return os.path.lexists(output) and not (finished.is_dir() and is_empty_folder(output))
