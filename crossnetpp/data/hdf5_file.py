"""HDF5 files from untrusted sources, whose data sets must be stored in the file itself.

HDF5 can store the numbers of a data set in any other file (external storage), take them from data
sets of other files (virtual data sets), and continue a path in another file (external links).
"""

from __future__ import annotations

from collections.abc import Iterator
from math import prod
from pathlib import Path
from typing import Any

_LARGEST_CHUNK_BYTES = 1 << 30  # a chunk is decompressed as a whole


class ForeignDataError(ValueError):
    """A data set that is a link, is stored elsewhere, or has chunks too large to read."""


class Hdf5File:
    """The data sets of an HDF5 file by name, like h5py.File, but only those inside the file."""

    def __init__(self, path: Path) -> None:
        """Open the file.

        Raises OSError if it is missing or not HDF5, and ImportError if h5py is not installed.
        """
        import h5py

        self._path = path
        self._file = h5py.File(path, "r")

    def __iter__(self) -> Iterator[str]:
        return iter(self._file)

    def __contains__(self, name: object) -> bool:
        return isinstance(name, str) and self._find(name) is not None

    def __getitem__(self, name: str) -> Any:
        """Return the data set `name`.

        Raises KeyError if there is none, and ForeignDataError if it is a link, is stored in other
        files, is made of other data sets, or has chunks that are too large.
        """
        found = self._find(name)
        if found is None:
            raise KeyError(name)
        return found

    def __enter__(self) -> Hdf5File:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def _find(self, name: str) -> Any:
        """Return the data set `name`, such as LF or group/LF, or None if there is none.

        See `__getitem__` for ForeignDataError.
        """
        import h5py

        found: Any = self._file
        for part in filter(None, name.split("/")):
            link = found.get(part, getlink=True) if isinstance(found, h5py.Group) else None
            if link is None:
                return None
            if not isinstance(link, h5py.HardLink):
                raise self._refuse(name, "a link to other data")
            found = found[part]

        if not isinstance(found, h5py.Dataset):
            return None
        if found.shape is None:
            raise self._refuse(name, "a data set without values")
        if found.id.get_create_plist().get_external_count():
            raise self._refuse(name, "a data set that is stored in other files")
        if found.is_virtual:
            raise self._refuse(name, "a data set that is made of other data sets")
        if found.chunks and prod(found.chunks) * found.dtype.itemsize > _LARGEST_CHUNK_BYTES:
            chunk = " x ".join(map(str, found.chunks))
            raise self._refuse(name, f"a data set in chunks of {chunk} numbers")
        return found

    def _refuse(self, name: str, what: str) -> ForeignDataError:
        return ForeignDataError(
            f"found '{name}' in {self._path}, which is {what}, expected a data set stored in the "
            "file itself, in chunks of at most 1 GiB; rewrite it with h5repack or h5py"
        )
