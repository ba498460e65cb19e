"""MATLAB files of version 5 (up to 7.2), read whole by SciPy, with the interface of h5py."""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path
from typing import Any

from pipeline.errors import InputError
from pipeline.media.container import check_size

_HEAD = b"MATLAB 5.0"


def is_mat5(path: Path) -> bool:
    """Return whether a file is a MATLAB file older than 7.3."""
    with path.open("rb") as file:
        return file.read(len(_HEAD)) == _HEAD


class Mat5:
    """The arrays of a file by name, in the order of axes that MATLAB shows."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._shapes = _listed(path)

    def __contains__(self, name: object) -> bool:
        return name in self._shapes

    def __iter__(self) -> Iterator[str]:
        return iter(self._shapes)

    def __getitem__(self, name: str) -> Any:
        size = 1
        for length in self._shapes[name]:
            size *= length
        # three channels make a pixel: an array is refused where a picture of its size is
        check_size(size // 3 + 1, 1, str(self._path))
        return _loaded(self._path, self._path.stat().st_mtime_ns, name)

    def __enter__(self) -> Mat5:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Do nothing: the array is kept for the next reader."""


def _scipy_io() -> Any:
    try:
        import scipy.io
    except ImportError as error:
        raise InputError(
            "found no scipy, which MATLAB files older than 7.3 need; install the extra: "
            "pip install 'crossnetpp-pipeline[lightfield]'"
        ) from error
    return scipy.io


def _listed(path: Path) -> dict[str, tuple[int, ...]]:
    try:
        return {name: tuple(shape) for name, shape, _ in _scipy_io().whosmat(str(path))}
    except (ValueError, OSError, TypeError, IndexError, KeyError) as error:
        raise _broken(path, error) from error


@lru_cache(maxsize=1)
def _loaded(path: Path, _changed: int, name: str) -> Any:
    """Return an array; the last one is kept, because it cannot be read in parts."""
    try:
        return _scipy_io().loadmat(str(path), variable_names=[name])[name]
    except (ValueError, OSError, TypeError, IndexError, KeyError) as error:
        raise _broken(path, error) from error


def _broken(path: Path, error: Exception) -> InputError:
    return InputError(
        f"found a damaged MATLAB file {path} ({error}), expected one that MATLAB saved; "
        "copy it again"
    )
