"""Identify recordings by their content, and detect changes to a recording after it was planned.

The fingerprint in a plan depends on content alone, so a recording keeps it when it is copied or
moved. During a run, a file is not read again while its inode, size and times stay the same.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from pathlib import Path

from pipeline.errors import ChangedInputError
from pipeline.paths import redact_url
from pipeline.schema.clip import RecordingBase
from pipeline.schema.plan import Plan

_MEBIBYTE = 1 << 20
_BLOCK = 1 << 18  # bytes
_MOST_WHOLE = 64 * _MEBIBYTE  # bytes; a single file of up to this size is read completely
_LEAST_WHOLE = 2 * _MEBIBYTE  # bytes; files of up to this size are always read completely
_MOST_BLOCKS = 64  # number of blocks that are read from a larger single file
_FEWEST_BLOCKS = 8  # least number of blocks that are read from a larger file

# Device, inode, size, and the times (ns) of the last change to the content and to the inode.
Status = tuple[int, int, int, int, int]


def fingerprint(files: Sequence[Path]) -> str:
    """Return a SHA-256 digest of the size and content of each file, to detect changes.

    A file of up to 64 MiB is read completely. From a larger file, 64 evenly spread blocks of
    256 KiB are read. With several files, these limits are divided by the number of files, but files
    of up to 2 MiB are always read completely, and at least 8 blocks are read from larger ones.
    """
    count = max(1, len(files))
    whole = max(_LEAST_WHOLE, _MOST_WHOLE // count)
    blocks = max(_FEWEST_BLOCKS, _MOST_BLOCKS // count)

    digest = hashlib.sha256()
    for file in files:
        size = file.stat().st_size
        digest.update(f"{size}\n".encode())
        with file.open("rb") as stream:
            for start in _block_starts(size, whole, blocks):
                stream.seek(start)
                digest.update(stream.read(_BLOCK))
    return digest.hexdigest()


def _block_starts(size: int, whole: int, blocks: int) -> Iterator[int]:
    """Yield the byte positions of the blocks to read.

    These are all blocks or, if `size` exceeds `whole`, `blocks` evenly spread ones.
    """
    if size <= whole:
        yield from range(0, size, _BLOCK)
    else:
        yield from (number * (size - _BLOCK) // (blocks - 1) for number in range(blocks))


def list_files(recording: RecordingBase) -> list[Path]:
    """Return the files that a recording's fingerprint covers, in the order of hashing."""
    return [Path(file) for file in recording.files or (recording.path,)]


class UnchangedSources:
    """Checks that a plan's input and reference have not changed since they were planned."""

    def __init__(self, plan: Plan) -> None:
        self._sources = {"input": plan.input, "reference": plan.reference.clip}
        self._known: dict[str, list[Status]] = {}
        """Role -> the status of the recording's files when its fingerprint was last compared."""

    def check(self) -> None:
        """Raise ChangedInputError if a recording has changed, or can no longer be read."""
        for role, recording in self._sources.items():
            try:
                self._check(role, recording)
            except OSError as error:
                raise ChangedInputError(
                    f"the {role} {error.filename} can no longer be read ({error.strerror}); "
                    "restore it, and run the same command again"
                ) from error

    def _check(self, role: str, recording: RecordingBase) -> None:
        files = list_files(recording)
        status = [_read_status(file) for file in files]
        if status == self._known.get(role):
            return

        # the status was read before the content, so that a change in between is noticed next time
        if fingerprint(files) != recording.fingerprint:
            place = redact_url(recording.url) if recording.url else recording.path
            raise ChangedInputError(
                f"the content of the {role} {place} has changed since it was planned; run the same "
                "command again once nothing writes to it"
            )
        self._known[role] = status


def _read_status(file: Path) -> Status:
    status = file.stat()
    return (
        status.st_dev,
        status.st_ino,
        status.st_size,
        status.st_mtime_ns,
        status.st_ctime_ns,
    )
