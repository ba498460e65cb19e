"""Light fields in HDF5: CrossNet's and BasicLFSR's .h5, HCI's lf.h5, EPFL's and LFToolbox's .mat.

Letters denote the axes: t moments, r and c rows and columns of views, h and w rows and columns of
pixels, and 3 channels. MATLAB stores the axes of an array in reverse order.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from crossnetpp.data.hdf5_file import ForeignDataError, Hdf5File
from deploy.distribution import describe_install
from pipeline.errors import InputError
from pipeline.lightfield.mat5 import Mat5, is_mat5
from pipeline.lightfield.packing import check_count
from pipeline.media.container import check_size
from pipeline.pixels import Pixels, as_pixels

SUFFIXES = frozenset({".h5", ".hdf5", ".mat"})
# Maps the name of a dataset to its axes: CrossNet's, then HCI's (reversed in MATLAB files).
KEYS = {"img_HR": "trc3hw", "LF": "rchw3"}
# BasicLFSR's datasets: one mosaic of luma from 0 to 1, stored with its width first (axes "WH").
LUMA = ("Hr_SAI_y", "Lr_SAI_y")
LUMA_GRID = (5, 5)  # rows and columns of views in BasicLFSR's mosaics
_ROUNDING = 1e-3  # rounding may put values outside the range from 0 to 1 by this much
# Name and axes of the dataset in new HDF5 files.
WRITTEN = ("img_HR", "trc3hw")
# Name and axes of the dataset in new MATLAB files. MATLAB shows these axes in reverse order. If
# there are several moments, their axis is added at the end.
WRITTEN_MAT = ("LF", "3whcr")
# Prefixes of CrossNet's other datasets: img_LR_4, img_LR_4_upsample, MDSR_4.
_SCALED_PREFIXES = ("img_", "MDSR_")
# The first bytes of the user block, by which MATLAB recognises its own HDF5 files.
_MAT_HEAD = b"MATLAB 7.3 MAT-file, HDF5 schema 1.00 .".ljust(124) + b"\x00\x02IM"
_MAT_BLOCK_BYTES = 512


@dataclass(frozen=True)
class Shape:
    """The name, axes, size and bit depth of a dataset of views."""

    dataset: str
    axes: str
    moments: int
    rows: int
    cols: int
    height: int
    width: int
    bits: int


def import_h5py(path: Path) -> Any:
    """Return the module h5py, which `path` needs; raises InputError if it is not installed."""
    try:
        import h5py
    except ImportError as error:
        raise InputError(
            f"h5py is not installed, but {path} needs it; try {describe_install('lightfield')}"
        ) from error
    return h5py


class _Hdf5(Hdf5File):
    """The datasets in an HDF5 file; raises InputError for a dataset that is unsafe to read."""

    def __contains__(self, name: object) -> bool:
        try:
            return super().__contains__(name)
        except ForeignDataError as error:
            raise InputError(str(error)) from error

    def __getitem__(self, name: str) -> Any:
        try:
            return super().__getitem__(name)
        except ForeignDataError as error:
            raise InputError(str(error)) from error


def open_file(path: Path) -> Any:
    """Open a file as a mapping from names to datasets.

    Raises InputError if the file is neither HDF5 nor MATLAB, or if the package that reads it is
    missing.
    """
    if is_mat5(path):
        return Mat5(path)

    import_h5py(path)
    try:
        return _Hdf5(path)
    except OSError as error:
        raise InputError(
            f"found no HDF5 data in {path}; expected an .h5 or .mat file; copy it again"
        ) from error


def describe_data_set(
    path: Path,
    key: str | None = None,
    axes: str | None = None,
    grid: tuple[int, int] | None = None,
) -> Shape:
    """Describe the dataset `key` of a file or, without a key, the first that has a known name.

    `axes` overrides the dataset's usual axes, and `grid` the number of rows and columns of views in
    a mosaic of luma. Raises InputError if there is no such dataset, or if it contains no views.
    """
    with open_file(path) as file:
        names = [key] if key else [name for name in (*KEYS, *LUMA) if name in file]
        if not names or names[0] not in file:
            raise InputError(
                f"found {', '.join(file) or 'no dataset'} in {path}; expected a dataset of views "
                f"named {' or '.join(KEYS)}; name another with --dataset"
            )

        array = file[names[0]]
        if names[0] in LUMA and array.ndim == 2:
            rows, cols = grid or LUMA_GRID
            width = array.shape[0] // cols
            height = array.shape[1] // rows
            _check_views(path, rows, cols, (height, width))
            if array.shape != (width * cols, height * rows):
                raise InputError(
                    f"'{names[0]}' in {path} has the shape {array.shape}, which does not divide "
                    f"into {rows}x{cols} views of equal size; pass --grid ROWSxCOLS"
                )
            return Shape(names[0], "WH", 1, rows, cols, height, width, bits=16)

        axes = axes or _guess_axes(path, names[0], array.ndim)
        return _make_shape(path, names[0], axes, array)


def _guess_axes(path: Path, name: str, count: int) -> str:
    """Return the usual axes of a dataset with this name and `count` axes."""
    known = KEYS.get(name, KEYS["img_HR"] if name.startswith(_SCALED_PREFIXES) else KEYS["LF"])
    if count == len(known) + 1 and "t" not in known:
        known = "t" + known
    reverse = path.suffix.lower() == ".mat" and not is_mat5(path)
    return known[::-1] if reverse else known


def _make_shape(path: Path, key: str, axes: str, array: Any) -> Shape:
    """Return the shape of an array of views. Raises InputError if the array contains no views."""
    shape = array.shape
    dtype = array.dtype
    lengths = dict(zip(axes, shape, strict=True)) if len(axes) == len(shape) else {}
    if (
        lengths.get("3") not in (3, 4)
        or dtype not in (np.uint8, np.uint16, np.float32, np.float64)
        or not set("rchw") <= {*axes}
    ):
        raise InputError(
            f"'{key}' in {path} is {dtype} of shape {shape}; expected uint8, uint16 or numbers "
            f"from 0 to 1 with the axes {axes} and 3 or 4 channels; state the axes with --axes (t "
            "moments, r rows, c columns, h height, w width, 3 channels)"
        )

    _check_views(path, lengths["r"], lengths["c"], (lengths["h"], lengths["w"]))
    if np.issubdtype(dtype, np.floating):
        middle = {"t": 0, "r": lengths["r"] // 2, "c": lengths["c"] // 2}
        view = np.asarray(array[tuple(middle.get(axis, slice(None)) for axis in axes)])
        if not (view.min() >= -_ROUNDING and view.max() <= 1 + _ROUNDING):
            raise InputError(
                f"'{key}' in {path} has values from {view.min():.4g} to {view.max():.4g}; "
                "expected values from 0 to 1, or uint8 or uint16; scale or convert them"
            )

    bits = 8 if dtype == np.uint8 else 16
    rows, cols, height, width = (lengths[axis] for axis in "rchw")
    return Shape(key, axes, lengths.get("t", 1), rows, cols, height, width, bits)


def _check_views(path: Path, rows: int, cols: int, size: tuple[int, int]) -> None:
    """Raise InputError if there are no or too many views, or if they are empty or too large.

    A crafted header may claim any number and size.
    """
    check_size(size[1], size[0], str(path))
    check_count(rows, cols, path)


def read_view(
    file: Any,
    dataset: str,
    axes: str,
    place: tuple[int, int],
    moment: int,
    size: tuple[int, int],
) -> Pixels:
    """Return the view at `place` (row, col) as uint8 or uint16 H x W x 3 RGB.

    `size` is its height and width. A fourth channel (LFToolbox's weight) is dropped. Values from 0
    to 1 are converted to 16 bits, and luma to grey RGB.
    """
    array = file[dataset]
    if axes == "WH":
        row, col = place
        height, width = size
        tile = array[col * width : (col + 1) * width, row * height : (row + 1) * height]
        grey = _to_sixteen_bits(np.asarray(tile))
        return np.ascontiguousarray(np.repeat(grey.T[..., None], 3, axis=2))

    index = {"t": moment, "r": place[0], "c": place[1], "3": slice(0, 3)}
    planes = np.asarray(array[tuple(index.get(axis, slice(None)) for axis in axes)])
    if np.issubdtype(planes.dtype, np.floating):
        planes = _to_sixteen_bits(planes)

    remaining = [axis for axis in axes if axis in "hw3"]
    view: Any = np.ascontiguousarray(planes.transpose([remaining.index(axis) for axis in "hw3"]))
    return as_pixels(view)


def _to_sixteen_bits(values: NDArray[Any]) -> NDArray[np.uint16]:
    """Return values from 0 to 1 as integers from 0 to 65535; values outside are clipped."""
    return np.round(np.clip(values.astype(np.float64), 0, 1) * 65535).astype(np.uint16)


def read_weight(
    file: Any, dataset: str, axes: str, place: tuple[int, int]
) -> NDArray[np.generic] | None:
    """Return the pixel weights of the view at `place` (row, col), at the first moment.

    LFToolbox stores weights as the fourth channel. The result is H x W or W x H, as ordered in
    `axes`, or None if there is no fourth channel.
    """
    array = file[dataset]
    if "3" not in axes or array.shape[axes.index("3")] != 4:
        return None

    index = {"t": 0, "r": place[0], "c": place[1], "3": 3}
    return np.asarray(array[tuple(index.get(axis, slice(None)) for axis in axes)])


class Hdf5Writer:
    """Writes views into a dataset of known shape; a .mat file gets MATLAB's header."""

    def __init__(self, path: Path, shape: Shape) -> None:
        h5py = import_h5py(path)
        self._matlab = path if path.suffix.lower() == ".mat" else None
        self._file = h5py.File(path, "w", userblock_size=_MAT_BLOCK_BYTES if self._matlab else 0)
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
        if self._matlab:
            self._array.attrs["MATLAB_class"] = np.bytes_(f"uint{shape.bits}")

    def write(self, rgb: Pixels, place: tuple[int, int], moment: int) -> None:
        """Store the view (H x W x 3 RGB) of a moment at `place` (row, col)."""
        index = {"t": moment, "r": place[0], "c": place[1]}
        remaining = [axis for axis in self._axes if axis in "hw3"]
        planes = rgb.transpose(["hw3".index(axis) for axis in remaining])
        self._array[tuple(index.get(axis, slice(None)) for axis in self._axes)] = planes

    def close(self) -> None:
        """Close the file, and add MATLAB's header if it is a .mat file."""
        self._file.close()
        if self._matlab:
            with self._matlab.open("r+b") as file:
                file.write(_MAT_HEAD)
