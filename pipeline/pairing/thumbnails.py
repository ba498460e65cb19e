"""Thumbnails of all frames of a recording, stored on disk because a recording may last hours."""

from __future__ import annotations

import tempfile
import weakref
from collections.abc import Iterator, Sequence
from typing import IO

import cv2
import numpy as np
from numpy.typing import NDArray

from pipeline.errors import StageError
from pipeline.pixels import Pixels, high_byte

# Width and height. A float16 thumbnail takes 1.2 kB; an hour of thumbnails at 25 fps takes 104 MB.
THUMBNAIL = (32, 18)
_LENGTH = THUMBNAIL[0] * THUMBNAIL[1]
_ROW = _LENGTH * np.dtype(np.float16).itemsize
_BLOCK = 512  # pictures per read when iterating over all of them


def make_thumbnail(rgb: Pixels) -> NDArray[np.float16]:
    """Return the thumbnail of an H x W x 3 RGB picture.

    It consists of 576 float16 values (18 rows of 32) with zero mean and unit norm.
    """
    small = cv2.resize(high_byte(rgb), THUMBNAIL, interpolation=cv2.INTER_AREA)
    gray = cv2.cvtColor(small, cv2.COLOR_RGB2GRAY).astype(np.float32).ravel()
    gray -= gray.mean()
    return (gray / max(float(np.linalg.norm(gray)), 1e-6)).astype(np.float16)


def correlate_thumbnails(
    left: NDArray[np.float16], right: NDArray[np.float16]
) -> NDArray[np.float32]:
    """Return the normalised correlations (N x M) of two sets of thumbnails (N x 576, M x 576)."""
    return np.asarray(left.astype(np.float32) @ right.astype(np.float32).T)


class Thumbnails:
    """Thumbnails in an unnamed file, indexed like an N x 576 float16 array.

    Adding one raises StageError if there is no folder for temporary files, or no space in it.
    """

    def __init__(self) -> None:
        self._file: IO[bytes] | None = None
        self._count = 0

    def add(self, picture: NDArray[np.float16]) -> None:
        """Append a thumbnail (576 float16 values)."""
        try:
            if self._file is None:
                self._file = self._open_file()
            self._file.seek(self._count * _ROW)
            written = self._file.write(picture.tobytes())
        except OSError as error:
            raise self._make_error(error.strerror or str(error)) from None
        if written != _ROW:
            raise self._make_error("no space left")
        self._count += 1

    def _open_file(self) -> IO[bytes]:
        # unbuffered, so that a full disk fails here and not on close
        file = tempfile.TemporaryFile(buffering=0)  # noqa: SIM115 - this object owns it
        weakref.finalize(self, file.close)
        return file

    def __len__(self) -> int:
        return self._count

    def __getitem__(self, numbers: slice | NDArray[np.int64]) -> NDArray[np.float16]:
        wanted = np.arange(len(self))[numbers]
        found = np.empty((len(wanted), _LENGTH), np.float16)
        breaks = np.flatnonzero(np.diff(wanted) != 1) + 1
        for run, place in zip(
            np.split(wanted, breaks), np.split(found, breaks), strict=True
        ):  # read consecutive thumbnails together
            if len(run) and self._file is not None:
                self._file.seek(int(run[0]) * _ROW)
                data = self._file.read(len(run) * _ROW)
                place[:] = np.frombuffer(data, np.float16).reshape(-1, _LENGTH)
        return found

    def __iter__(self) -> Iterator[NDArray[np.float16]]:
        return iter(self.picked(range(len(self))))

    def picked(self, numbers: Sequence[int] | NDArray[np.int64]) -> Picked:
        """Return a lazy view of the thumbnails with these numbers, in this order."""
        return Picked(self, np.asarray(numbers, np.int64))

    def _make_error(self, why: str) -> StageError:
        return StageError(
            f"cannot write thumbnails to the folder for temporary files ({why}); they need 0.1 GB "
            "per hour of the recording; free some space, or set TMPDIR to another folder"
        )


class Picked:
    """A selection of thumbnails in any order, indexed like an N x 576 float16 array."""

    def __init__(self, thumbnails: Thumbnails, numbers: NDArray[np.int64]) -> None:
        self._thumbnails = thumbnails
        self._numbers = numbers

    def __len__(self) -> int:
        return len(self._numbers)

    def __getitem__(self, numbers: slice | NDArray[np.int64]) -> NDArray[np.float16]:
        return self._thumbnails[self._numbers[numbers]]

    def __iter__(self) -> Iterator[NDArray[np.float16]]:
        for first in range(0, len(self), _BLOCK):
            yield from self[first : first + _BLOCK]


# N x 576 thumbnails, on disk or in memory.
AnyThumbnails = Thumbnails | Picked | NDArray[np.float16]
