"""Read MATLAB version 5 files (MATLAB 7.2 and older) with SciPy, through an h5py-like interface."""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path
from typing import Any

from deploy.distribution import describe_install
from pipeline.errors import InputError
from pipeline.media.container import check_size

_SIGNATURE = b"MATLAB 5.0"


def is_mat5(path: Path) -> bool:
    """Return whether a file is a MATLAB file of version 5."""
    with path.open("rb") as file:
        return file.read(len(_SIGNATURE)) == _SIGNATURE


class Mat5:
    """A mapping from names to the arrays in a MATLAB file, with their axes in MATLAB's order.

    Raises InputError if SciPy is missing, the file is damaged or an array is too large.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._shapes = _list_shapes(path)

    def __contains__(self, name: object) -> bool:
        return name in self._shapes

    def __iter__(self) -> Iterator[str]:
        return iter(self._shapes)

    def __getitem__(self, name: str) -> Any:
        size = 1
        for length in self._shapes[name]:
            size *= length

        # an array with three channels has the same limit as a picture with as many pixels
        check_size(size // 3 + 1, 1, str(self._path))
        return _load_array(self._path, self._path.stat().st_mtime_ns, name)

    def __enter__(self) -> Mat5:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Do nothing: the array read last stays in memory for the next reader."""


def _import_scipy_io() -> Any:
    try:
        import scipy.io
    except ImportError as error:
        raise InputError(
            "SciPy is not installed, but reading MATLAB files older than version 7.3 needs it; "
            f"try {describe_install('lightfield')}"
        ) from error
    return scipy.io


def _list_shapes(path: Path) -> dict[str, tuple[int, ...]]:
    """Return the shapes of the arrays in a file, by name."""
    try:
        return {name: tuple(shape) for name, shape, _ in _import_scipy_io().whosmat(str(path))}
    except (ValueError, OSError, TypeError, IndexError, KeyError) as error:
        raise _make_error(path, error) from error


@lru_cache(maxsize=1)
def _load_array(path: Path, _changed: int, name: str) -> Any:
    """Return a whole array, and keep it in memory, because SciPy cannot read an array in parts.

    `_changed` is the time (ns) of the file's last change; it makes sure that a changed file is read
    again.
    """
    try:
        return _import_scipy_io().loadmat(str(path), variable_names=[name])[name]
    except (ValueError, OSError, TypeError, IndexError, KeyError) as error:
        raise _make_error(path, error) from error


def _make_error(path: Path, error: Exception) -> InputError:
    return InputError(
        f"the MATLAB file {path} is damaged ({error}); copy it again, or save it again in MATLAB"
    )
