"""Light fields in CrossNet's HDF5 files, the only training data that needs h5py."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from crossnetpp.data.hdf5_file import ForeignDataError, Hdf5File
from crossnetpp.data.sample import DataError


class Hdf5Array:
    """A dataset in an HDF5 file, opened separately in every process that reads it.

    HDF5 does not allow a forked worker to share a handle with its parent.
    """

    def __init__(self, path: Path, key: str) -> None:
        self.path = path
        self.key = key
        self._opened: tuple[int, Any] | None = None

    def dataset(self) -> Any:
        """Return the h5py dataset, which is opened on first use in each process.

        Raises DataError if h5py, the file or the key is missing, or if `Hdf5File` refuses the
        dataset.
        """
        if self._opened is None or self._opened[0] != os.getpid():
            self._opened = (os.getpid(), self._open())
        return self._opened[1]

    def _open(self) -> Any:
        try:
            file = Hdf5File(self.path)
        except ImportError as error:
            raise DataError(
                f"h5py is not installed, but reading {self.path} needs it; try pip install h5py"
            ) from error
        except OSError as error:
            raise DataError(
                f"found no HDF5 file at {self.path}, expected one in CrossNet's layout"
            ) from error

        try:
            return file[self.key]
        except KeyError:
            raise DataError(
                f"found no '{self.key}' in {self.path}, expected one of {', '.join(file)}"
            ) from None
        except ForeignDataError as error:
            raise DataError(str(error)) from error

    def __getstate__(self) -> dict[str, Any]:
        """Return the state to pickle, without the handle, which is valid only in this process."""
        return {"path": self.path, "key": self.key, "_opened": None}


class Hdf5Scene:
    """One light field in an HDF5 file."""

    def __init__(self, file: Hdf5Array, number: int, positions: Sequence[tuple[int, int]]) -> None:
        self.name = f"{file.path}/{file.key}[{number}]"
        self.positions = positions
        self._file = file
        self._number = number

    def read(self, row: int, col: int, cache: object) -> NDArray[np.uint8]:
        """Return the view at (row, col), uint8 H x W x 3 RGB; the cache is not used."""
        planes: NDArray[np.uint8] = self._file.dataset()[self._number, row, col]
        return np.ascontiguousarray(planes.transpose(1, 2, 0))


def open_hdf5(path: Path, key: str) -> tuple[Hdf5Array, tuple[int, int, int]]:
    """Return an opened dataset, and how many scenes, rows and columns of views it has.

    Raises DataError if the dataset cannot be opened, or is not uint8 N x R x C x 3 x H x W.
    """
    file = Hdf5Array(path, key)
    array = file.dataset()
    if array.ndim != 6 or array.shape[3] != 3 or array.dtype != np.uint8:
        raise DataError(
            f"found '{key}' of shape {array.shape} and type {array.dtype} in {path}, "
            "expected scenes x rows x columns x 3 x height x width of type uint8"
        )
    count, rows, cols = array.shape[:3]
    return file, (count, rows, cols)
