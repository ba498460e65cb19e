"""Light fields in HDF5: CrossNet's and BasicLFSR's .h5, HCI's lf.h5, EPFL's and LFToolbox's .mat.

Axes are named by letters: t moments, r and c rows and columns of views, h and w pixels, 3
channels. MATLAB stores the axes of an array in reverse.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from pipeline.errors import InputError

Pixels = NDArray[np.uint8] | NDArray[np.uint16]
SUFFIXES = frozenset({".h5", ".hdf5", ".mat"})
KEYS = {"img_HR": "trc3hw", "LF": "rchw3"}
"""Name of a data set -> its axes: CrossNet's, and that of HCI (and, reversed, of MATLAB files)."""
LUMA = ("Hr_SAI_y", "Lr_SAI_y")
"""BasicLFSR: one mosaic of luma, 0..1, stored with its width first; axes "WH"."""
LUMA_GRID = (5, 5)
WRITTEN = ("img_HR", "trc3hw")
_MATLAB5 = b"MATLAB 5.0"


@dataclass(frozen=True)
class Shape:
    """What a data set of views holds."""

    dataset: str
    axes: str
    moments: int
    rows: int
    cols: int
    height: int
    width: int
    bits: int


def open_file(path: Path) -> Any:
    """Return the h5py file; InputError where there is no h5py, or where it is no HDF5."""
    try:
        import h5py
    except ImportError as error:
        raise InputError(
            f"found no h5py, which {path} needs; install the extra: "
            "pip install 'crossnetpp-pipeline[train]'"
        ) from error
    try:
        return h5py.File(path, "r")
    except OSError as error:
        with path.open("rb") as file:
            old = file.read(10) == _MATLAB5
        if old:
            raise InputError(
                f"found a MATLAB file of version 5 in {path}, expected version 7.3 (HDF5); "
                "save it in MATLAB with save(name, 'LF', '-v7.3')"
            ) from error
        raise InputError(
            f"found no HDF5 file in {path}, expected .h5 or .mat of version 7.3; copy it again"
        ) from error


def describe(
    path: Path,
    key: str | None = None,
    axes: str | None = None,
    grid: tuple[int, int] | None = None,
) -> Shape:
    """Return which data set of a file holds views and how; InputError where none does.

    `grid` is the number of rows and columns of a mosaic of luma.
    """
    with open_file(path) as file:
        names = [key] if key else [name for name in (*KEYS, *LUMA) if name in file]
        if not names or names[0] not in file:
            raise InputError(
                f"found {', '.join(file) or 'nothing'} in {path}, expected a data set "
                f"{' or '.join(KEYS)} of views; name one with --dataset"
            )
        array = file[names[0]]
        if names[0] in LUMA and array.ndim == 2:
            rows, cols = grid or LUMA_GRID
            width, height = array.shape[0] // cols, array.shape[1] // rows
            if array.shape != (width * cols, height * rows):
                raise InputError(
                    f"found '{names[0]}' of {array.shape} in {path}, expected {rows}x{cols} equal "
                    "views; say how many with --grid ROWSxCOLS"
                )
            return Shape(names[0], "WH", 1, rows, cols, height, width, bits=16)
        known = KEYS.get(names[0], "rchw3")
        reverse = path.suffix.lower() == ".mat"
        axes = axes or (known[::-1] if reverse else known)
        return _shape(path, names[0], axes, array.shape, array.dtype)


def _shape(path: Path, key: str, axes: str, shape: tuple[int, ...], dtype: Any) -> Shape:
    long = dict(zip(axes, shape, strict=True)) if len(axes) == len(shape) else {}
    if (
        long.get("3") not in (3, 4)
        or dtype not in (np.uint8, np.uint16)
        or not set("rchw") <= {*axes}
    ):
        raise InputError(
            f"found '{key}' of {shape} {dtype} in {path}, expected uint8 or uint16 with the axes "
            f"{axes}; name its axes with --axes (t moments, r rows, c columns, h, w, 3)"
        )
    bits = 8 if dtype == np.uint8 else 16
    rows, cols, height, width = (long[axis] for axis in "rchw")
    return Shape(key, axes, long.get("t", 1), rows, cols, height, width, bits)


def read_view(
    file: Any,
    dataset: str,
    axes: str,
    place: tuple[int, int],
    moment: int,
    size: tuple[int, int],
) -> Pixels:
    """Return one view, H x W x 3 RGB; `size` is its height and width.

    A fourth channel (LFToolbox's weight) is dropped; luma becomes grey of 16 bits.
    """
    array = file[dataset]
    if axes == "WH":
        (row, col), (height, width) = place, size
        tile = array[col * width : (col + 1) * width, row * height : (row + 1) * height]
        grey = np.round(np.clip(np.asarray(tile, np.float64), 0, 1) * 65535).astype(np.uint16)
        return np.ascontiguousarray(np.repeat(grey.T[..., None], 3, axis=2))
    index = {"t": moment, "r": place[0], "c": place[1], "3": slice(0, 3)}
    taken = np.asarray(array[tuple(index.get(axis, slice(None)) for axis in axes)])
    left = [axis for axis in axes if axis in "hw3"]
    view: Any = np.ascontiguousarray(taken.transpose([left.index(axis) for axis in "hw3"]))
    return cast(Pixels, view)


def read_weight(
    file: Any, dataset: str, axes: str, place: tuple[int, int]
) -> NDArray[np.generic] | None:
    """Return the fourth channel of a view at its first moment (LFToolbox's weight), or None."""
    array = file[dataset]
    if "3" not in axes or array.shape[axes.index("3")] != 4:
        return None
    index = {"t": 0, "r": place[0], "c": place[1], "3": 3}
    return np.asarray(array[tuple(index.get(axis, slice(None)) for axis in axes)])


class Hdf5Writer:
    """Write views into CrossNet's layout: img_HR of moments x rows x columns x 3 x H x W."""

    def __init__(self, path: Path, shape: Shape) -> None:
        import h5py

        self._file = h5py.File(path, "w")
        size = {
            "t": shape.moments,
            "r": shape.rows,
            "c": shape.cols,
            "3": 3,
            "h": shape.height,
            "w": shape.width,
        }
        self._axes = shape.axes
        self._array = self._file.create_dataset(
            shape.dataset,
            tuple(size[axis] for axis in shape.axes),
            np.uint8 if shape.bits == 8 else np.uint16,
        )

    def write(self, rgb: Pixels, place: tuple[int, int], moment: int) -> None:
        """Store one view, H x W x 3 RGB."""
        index = {"t": moment, "r": place[0], "c": place[1]}
        left = [axis for axis in self._axes if axis in "hw3"]
        planes = rgb.transpose(["hw3".index(axis) for axis in left])
        self._array[tuple(index.get(axis, slice(None)) for axis in self._axes)] = planes

    def close(self) -> None:
        """Finish the file."""
        self._file.close()
