"""Write views into a layout, one at a time."""

from __future__ import annotations

import struct
import tempfile
import zlib
from fractions import Fraction
from pathlib import Path
from typing import Any, BinaryIO, Protocol, cast

import numpy as np

from pipeline.lightfield import hdf5
from pipeline.lightfield.packing import find_window
from pipeline.lightfield.reader import find_tile
from pipeline.media.pictures import stills
from pipeline.media.write.video import VideoWriter
from pipeline.pixels import Pixels
from pipeline.schema.clip import Grid, LightField

# Larger sheets are assembled in a file instead of memory (bytes).
IN_MEMORY = 256 << 20


class Sink(Protocol):
    """An output that views are written to."""

    by_view: bool
    """Whether all moments of a view have to come before the next view."""

    def write(self, position: int, moment: int, rgb: Pixels) -> None:
        """Write `views[position]` at `moment`, H x W x 3 RGB."""
        ...

    def close(self) -> None:
        """Finish the files."""
        ...


def open_sink(clip: LightField, grid: Grid, out: Path, root: Path, size: tuple[int, int]) -> Sink:
    """Return the sink for views of `size` (height, width), with the bit depth of `clip`.

    `grid` has the final names, below `out`; the files are written below `root`.
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
    """One picture per view and moment."""

    by_view = False

    def __init__(self, grid: Grid, out: Path, root: Path) -> None:
        self._grid, self._out, self._root = grid, out, root

    def write(self, position: int, moment: int, rgb: Pixels) -> None:
        """Save the picture under the view's own name."""
        name = Path(self._grid.views[position].files[moment]).relative_to(self._out)
        (self._root / name).parent.mkdir(parents=True, exist_ok=True)
        stills.save_picture(self._root / name, rgb)

    def close(self) -> None:
        """Do nothing: every picture is finished."""


class VideoSink:
    """One lossless video per view."""

    by_view = True

    def __init__(self, grid: Grid, out: Path, root: Path, rate: Fraction) -> None:
        self._grid, self._out, self._root, self._rate = grid, out, root, rate
        self._open: tuple[int, VideoWriter] | None = None

    def write(self, position: int, moment: int, rgb: Pixels) -> None:
        """Append a frame to the view's video."""
        if self._open is None or self._open[0] != position:
            self.close()
            name = Path(self._grid.views[position].files[0]).relative_to(self._out)
            self._root.mkdir(parents=True, exist_ok=True)
            self._open = position, self._video(name)
        self._open[1].write(rgb)

    def _video(self, name: Path) -> VideoWriter:
        return VideoWriter(self._root / name, rate=self._rate, lossless=True)

    def close(self) -> None:
        """Finish the open video."""
        if self._open is not None:
            self._open[1].close()
            self._open = None


class DataSetSink:
    """An HDF5 file."""

    by_view = False

    def __init__(self, grid: Grid, root: Path, size: tuple[int, int], bits: int) -> None:
        self._grid = grid
        shape = hdf5.Shape(grid.dataset, grid.axes, grid.moments, *grid.tiling, *size, bits=bits)
        self._writer = hdf5.Hdf5Writer(root, shape)

    def write(self, position: int, moment: int, rgb: Pixels) -> None:
        """Store the view in its place; holes stay black."""
        place = find_tile(self._grid, self._grid.views[position])
        self._writer.write(rgb, place, moment)

    def close(self) -> None:
        """Finish the file."""
        self._writer.close()


class SheetSink:
    """A picture of all views for every moment: lenslet, mosaic or quilt; holes stay black."""

    by_view = False

    def __init__(self, grid: Grid, root: Path, size: tuple[int, int], bits: int) -> None:
        self._grid, self._root, self._size = grid, root, size
        self._dtype = np.uint8 if bits == 8 else np.uint16
        self._sheet: Pixels | None = None
        self._spare: Any = None
        self._moment = 0

    def write(self, position: int, moment: int, rgb: Pixels) -> None:
        """Put the view into the sheet of its moment, and save the sheet of the moment before."""
        if self._sheet is not None and moment != self._moment:
            self._save()
        if self._sheet is None:
            self._sheet, self._moment = self._empty(), moment
        grid = self._grid
        place = find_tile(grid, grid.views[position])
        rows, cols = find_window(grid.layout, grid.tiling, self._size, place)
        self._sheet[rows, cols] = rgb

    def close(self) -> None:
        """Save the last sheet."""
        if self._sheet is not None:
            self._save()

    def _empty(self) -> Pixels:
        (rows, cols), (height, width) = self._grid.tiling, self._size
        shape = rows * height, cols * width, 3
        if np.prod(shape) * np.dtype(self._dtype).itemsize <= IN_MEMORY:
            return cast(Pixels, np.zeros(shape, self._dtype))
        self._spare = tempfile.TemporaryFile(dir=self._root.parent)  # noqa: SIM115 - kept open
        return cast(Pixels, np.memmap(self._spare, self._dtype, "w+", shape=shape))

    def save(self, sheet: Pixels, moment: int) -> None:
        """Write a finished sheet."""
        file = self._root
        if self._grid.moments > 1:
            file.mkdir(parents=True, exist_ok=True)
            digits = max(4, len(str(self._grid.moments)))
            file = file / f"frame_{moment:0{digits}}.png"
        if self._spare is not None and file.suffix.lower() == ".png":
            save_rows(file, sheet)
        else:
            stills.save_picture(file, sheet)

    def _save(self) -> None:
        assert self._sheet is not None
        self.save(self._sheet, self._moment)
        self._sheet = None
        if self._spare is not None:
            self._spare.close()
            self._spare = None


_SIGNATURE = b"\x89PNG\r\n\x1a\n"


_RGB = 2


# Filter type: each byte less the one above (PNG specification, section 9).
_UP = 2


# Rows compressed at a time.
_BLOCK = 64


def save_rows(path: Path, rgb: Pixels) -> None:
    """Write uint8 or uint16 H x W x 3 RGB as PNG; `rgb` may be mapped from a file."""
    height, width = rgb.shape[:2]
    bits = 8 * rgb.dtype.itemsize
    with path.open("wb") as file:
        file.write(_SIGNATURE)
        _chunk(file, b"IHDR", struct.pack(">IIBBBBB", width, height, bits, _RGB, 0, 0, 0))
        packer = zlib.compressobj(1)
        above = np.zeros((1, width * 3 * rgb.dtype.itemsize), np.uint8)
        for top in range(0, height, _BLOCK):
            block = np.ascontiguousarray(rgb[top : top + _BLOCK]).astype(
                rgb.dtype.newbyteorder(">"), copy=False
            )
            rows = block.reshape(len(block), -1).view(np.uint8)
            filtered = np.full((len(rows), rows.shape[1] + 1), _UP, np.uint8)
            filtered[:, 1:] = rows - np.concatenate((above, rows[:-1]))
            above = rows[-1:]
            _chunk(file, b"IDAT", packer.compress(filtered.tobytes()))
        _chunk(file, b"IDAT", packer.flush())
        _chunk(file, b"IEND", b"")


def _chunk(file: BinaryIO, kind: bytes, data: bytes) -> None:
    if data or kind == b"IEND":
        file.write(struct.pack(">I", len(data)) + kind + data)
        file.write(struct.pack(">I", zlib.crc32(kind + data)))
