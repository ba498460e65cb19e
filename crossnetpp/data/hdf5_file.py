"""HDF5 files from untrusted sources, whose datasets must be stored in the file itself.

An HDF5 file could otherwise make the reader open any other file: a dataset's values can be stored
there (external storage) or come from datasets there (virtual datasets), and a path can continue
there (external links).
"""

from __future__ import annotations

from collections.abc import Iterator
from math import prod
from pathlib import Path
from typing import Any

_LARGEST_CHUNK_BYTES = 1 << 30  # chunks are decompressed whole


class ForeignDataError(ValueError):
    """Raised for a dataset that cannot be read safely.

    Such a dataset is a link, has no values, is stored elsewhere, or has chunks that are too large.
    """


class Hdf5File:
    """Read-only mapping of names to the datasets of an HDF5 file, like h5py.File.

    Datasets whose values are not in the file itself are refused.
    """

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
        """Return the dataset `name`.

        Raises KeyError if there is none, and ForeignDataError if it is a link, has no values, is
        stored in other files, is made of other datasets, or has chunks that are too large.
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
        """Return the dataset `name`, such as LF or group/LF, or None if there is none.

        Raises ForeignDataError as `__getitem__` does.
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
            raise self._refuse(name, "a dataset without values")
        if found.id.get_create_plist().get_external_count():
            raise self._refuse(name, "a dataset that is stored in other files")
        if found.is_virtual:
            raise self._refuse(name, "a dataset that is made of other datasets")
        if found.chunks and prod(found.chunks) * found.dtype.itemsize > _LARGEST_CHUNK_BYTES:
            chunk = " x ".join(map(str, found.chunks))
            raise self._refuse(name, f"a dataset in chunks of {chunk} values")
        return found

    def _refuse(self, name: str, what: str) -> ForeignDataError:
        return ForeignDataError(
            f"'{name}' in {self._path} is {what}, but only datasets that are stored in the file "
            "itself, in chunks of at most 1 GiB, can be read; rewrite it with h5repack or h5py"
        )
