"""Write the files of an output layout, one view at a time."""

from __future__ import annotations

import struct
import tempfile
import zlib
from fractions import Fraction
from pathlib import Path
from typing import Any, BinaryIO, Protocol

import numpy as np

from pipeline.lightfield import hdf5
from pipeline.lightfield.packing import find_window
from pipeline.lightfield.reader import find_tile
from pipeline.media.pictures import stills
from pipeline.media.write.video import VideoWriter
from pipeline.pixels import Pixels, as_pixels
from pipeline.schema.clip import Grid, LightField

IN_MEMORY_BYTES = 256 << 20  # larger sheets are assembled in a temporary file, not in memory
# From sections 5, 11 and 9 of the PNG specification.
_PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_COLOUR_TYPE = 2  # RGB
_FILTER_TYPE = 2  # "up": each byte minus the byte above it
_BLOCK_ROWS = 64  # rows that are compressed together


class Sink(Protocol):
    """An output to which views are written."""

    by_view: bool
    """Whether to write view by view, each with all its moments, rather than moment by moment."""

    def write(self, position: int, moment: int, rgb: Pixels) -> None:
        """Write the pixels `rgb` (H x W x 3) of the grid's `views[position]` at `moment`."""
        ...

    def close(self) -> None:
        """Finish the files."""
        ...


def open_sink(clip: LightField, grid: Grid, out: Path, root: Path, size: tuple[int, int]) -> Sink:
    """Return the sink for views of `size` (height, width) with the bit depth of `clip`.

    `grid` contains the final paths of the files, inside `out`, but they are written under the same
    names inside `root`. If the layout has a single file, that file is `root` itself.
    """
    bits = 16 if clip.bit_depth > 8 else 8
    if grid.layout == "folder":
        return FolderSink(grid, out, root)
    if grid.layout == "video":
        return VideoSink(grid, out, root, clip.frame_rate or Fraction(25))
    if grid.layout == "h5":
        return DataSetSink(grid, root, size, bits)
    return SheetSink(grid, root, size, bits)


class FolderSink:
    """Writes one picture per view and moment."""

    by_view = False

    def __init__(self, grid: Grid, out: Path, root: Path) -> None:
        self._grid = grid
        self._out = out
        self._root = root

    def write(self, position: int, moment: int, rgb: Pixels) -> None:
        """Save the view as a picture under the name that the grid states."""
        name = Path(self._grid.views[position].files[moment]).relative_to(self._out)
        (self._root / name).parent.mkdir(parents=True, exist_ok=True)
        stills.save_picture(self._root / name, rgb)

    def close(self) -> None:
        """Do nothing, because every picture is already complete."""


class VideoSink:
    """Writes one lossless video per view."""

    by_view = True

    def __init__(self, grid: Grid, out: Path, root: Path, rate: Fraction) -> None:
        self._grid = grid
        self._out = out
        self._root = root
        self._rate = rate
        self._open: tuple[int, VideoWriter] | None = None

    def write(self, position: int, moment: int, rgb: Pixels) -> None:
        """Append a frame to the view's video."""
        if self._open is None or self._open[0] != position:
            self.close()
            name = Path(self._grid.views[position].files[0]).relative_to(self._out)
            self._root.mkdir(parents=True, exist_ok=True)
            writer = VideoWriter(self._root / name, rate=self._rate, lossless=True)
            self._open = (position, writer)
        self._open[1].write(rgb)

    def close(self) -> None:
        """Finish the open video."""
        if self._open is not None:
            self._open[1].close()
            self._open = None


class DataSetSink:
    """Writes all views to one HDF5 file."""

    by_view = False

    def __init__(self, grid: Grid, root: Path, size: tuple[int, int], bits: int) -> None:
        self._grid = grid
        shape = hdf5.Shape(grid.dataset, grid.axes, grid.moments, *grid.tiling, *size, bits=bits)
        self._writer = hdf5.Hdf5Writer(root, shape)

    def write(self, position: int, moment: int, rgb: Pixels) -> None:
        """Store the view in its place; holes remain zero."""
        place = find_tile(self._grid, self._grid.views[position])
        self._writer.write(rgb, place, moment)

    def close(self) -> None:
        """Finish the file."""
        self._writer.close()


class SheetSink:
    """Writes one sheet of all views per moment (lenslet, mosaic or quilt); holes stay black."""

    by_view = False

    def __init__(self, grid: Grid, root: Path, size: tuple[int, int], bits: int) -> None:
        self._grid = grid
        self._root = root
        self._size = size
        self._dtype = np.uint8 if bits == 8 else np.uint16
        self._sheet: Pixels | None = None
        self._backing: Any = None
        self._moment = 0

    def write(self, position: int, moment: int, rgb: Pixels) -> None:
        """Copy the view into its moment's sheet; at a new moment, first save the last sheet."""
        if self._sheet is not None and moment != self._moment:
            self._finish_sheet()
        if self._sheet is None:
            self._sheet = self._allocate_sheet()
            self._moment = moment

        grid = self._grid
        place = find_tile(grid, grid.views[position])
        rows, cols = find_window(grid.layout, grid.tiling, self._size, place)
        self._sheet[rows, cols] = rgb

    def close(self) -> None:
        """Save the last sheet."""
        if self._sheet is not None:
            self._finish_sheet()

    def _allocate_sheet(self) -> Pixels:
        """Return a black sheet in memory, or mapped from a temporary file if it is large."""
        rows, cols = self._grid.tiling
        height, width = self._size
        shape = (rows * height, cols * width, 3)
        if np.prod(shape) * np.dtype(self._dtype).itemsize <= IN_MEMORY_BYTES:
            return as_pixels(np.zeros(shape, self._dtype))

        self._backing = tempfile.TemporaryFile(dir=self._root.parent)  # noqa: SIM115 - kept open
        return as_pixels(np.memmap(self._backing, self._dtype, "w+", shape=shape))

    def save(self, sheet: Pixels, moment: int) -> None:
        """Write a moment's sheet as the output or, with several moments, into the output folder."""
        file = self._root
        if self._grid.moments > 1:
            file.mkdir(parents=True, exist_ok=True)
            digits = max(4, len(str(self._grid.moments)))
            file = file / f"frame_{moment:0{digits}}.png"

        if self._backing is not None and file.suffix.lower() == ".png":
            save_rows(file, sheet)
        else:
            stills.save_picture(file, sheet)

    def _finish_sheet(self) -> None:
        assert self._sheet is not None
        self.save(self._sheet, self._moment)
        self._sheet = None
        if self._backing is not None:
            self._backing.close()
            self._backing = None


def save_rows(path: Path, rgb: Pixels) -> None:
    """Write uint8 or uint16 H x W x 3 RGB as a PNG file, in blocks of rows.

    The pixels may be mapped from a file that is larger than main memory.
    """
    height, width = rgb.shape[:2]
    bits = 8 * rgb.dtype.itemsize
    with path.open("wb") as file:
        file.write(_PNG_SIGNATURE)
        _write_chunk(
            file, b"IHDR", struct.pack(">IIBBBBB", width, height, bits, _COLOUR_TYPE, 0, 0, 0)
        )

        packer = zlib.compressobj(1)
        above = np.zeros((1, width * 3 * rgb.dtype.itemsize), np.uint8)
        for top in range(0, height, _BLOCK_ROWS):
            block = np.ascontiguousarray(rgb[top : top + _BLOCK_ROWS]).astype(
                rgb.dtype.newbyteorder(">"), copy=False
            )
            rows = block.reshape(len(block), -1).view(np.uint8)
            filtered = np.full((len(rows), rows.shape[1] + 1), _FILTER_TYPE, np.uint8)
            filtered[:, 1:] = rows - np.concatenate((above, rows[:-1]))
            above = rows[-1:]

            _write_chunk(file, b"IDAT", packer.compress(filtered.tobytes()))
        _write_chunk(file, b"IDAT", packer.flush())
        _write_chunk(file, b"IEND", b"")


def _write_chunk(file: BinaryIO, kind: bytes, data: bytes) -> None:
    if data or kind == b"IEND":
        file.write(struct.pack(">I", len(data)) + kind + data)
        file.write(struct.pack(">I", zlib.crc32(kind + data)))
