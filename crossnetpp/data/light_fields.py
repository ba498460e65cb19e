"""Light fields on disk: folders of views, lenslet pictures, mosaics, and CrossNet's HDF5 files.

Rows and columns are counted from the top left. Views are read on demand, and the most recently used
ones are cached.
"""

from __future__ import annotations

import re
from collections import OrderedDict
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from crossnetpp.data.hdf5_views import Hdf5Scene, open_hdf5
from crossnetpp.data.sample import DataError, Pair, crop_pair, read_rgb

Picture = NDArray[np.uint8]
GridPosition = tuple[int, int]  # row and column of a view

LENSLET_VIEWS = 14  # views along each side of a Lytro Illum lenslet picture (Flower)
CENTRAL_VIEWS = range(3, 11)  # 8 of 14, as in the paper; the outer views are vignetted

# Stems of view files, which contain the row, then the column
ROW_COL_NAMES = (
    re.compile(r"view_(\d+)_(\d+)", re.IGNORECASE),
    re.compile(r"out_(\d+)_(\d+)_.*"),  # Stanford; the camera's position follows
    re.compile(r"im_t(\d+)_s(\d+).*"),
    re.compile(r"(\d+)_(\d+)"),
)
NUMBERED_NAME = re.compile(r"input_cam(\d+)", re.IGNORECASE)  # HCI: a square grid, row by row
PICTURE_SUFFIXES = {".png", ".jpg", ".jpeg", ".ppm", ".tif", ".tiff", ".bmp"}


class PictureCache:
    """Cache of decoded pictures that keeps at most `max_bytes`, but always the latest picture."""

    def __init__(self, max_bytes: int) -> None:
        self.max_bytes = max_bytes
        self._entries: OrderedDict[Path, Picture] = OrderedDict()

    def get(self, path: Path, read: Callable[[Path], Picture]) -> Picture:
        """Return `read(path)`, from the cache if possible."""
        if path in self._entries:
            self._entries.move_to_end(path)
            return self._entries[path]

        picture = self._entries[path] = read(path)
        size = sum(array.nbytes for array in self._entries.values())
        while size > self.max_bytes and len(self._entries) > 1:
            size -= self._entries.popitem(last=False)[1].nbytes
        return picture


class Scene(Protocol):
    """One light field."""

    name: str

    @property
    def positions(self) -> Sequence[GridPosition]:
        """Positions of the views, in order."""
        ...

    def read(self, row: int, col: int, cache: PictureCache) -> Picture:
        """Return the view (uint8 H x W x 3 RGB) at one of `positions`."""
        ...


class FolderScene:
    """A folder with one file per view; the file's name determines the view's row and column."""

    def __init__(self, folder: Path) -> None:
        """Find the view files. Raises DataError if there are fewer than two."""
        self.name = str(folder)
        files = sorted(
            path
            for path in (folder.iterdir() if folder.is_dir() else ())
            if path.suffix.lower() in PICTURE_SUFFIXES
        )
        self._files = _match_row_col_names(files) or _match_numbered_names(files)
        self.positions = sorted(self._files)
        if len(self.positions) < 2:
            found = "only one view" if self.positions else "no views"
            raise DataError(
                f"found {found} in {folder}, expected two or more files such as view_00_00.png "
                "(row, column); rename the files, or choose the folder that contains them"
            )

    def read(self, row: int, col: int, cache: PictureCache) -> Picture:
        """Return the view at (row, col)."""
        return cache.get(self._files[row, col], read_rgb)


def _match_row_col_names(files: list[Path]) -> dict[GridPosition, Path]:
    """Return the view files, keyed by row and column.

    Only the first of the ROW_COL_NAMES that matches any file is used.
    """
    for pattern in ROW_COL_NAMES:
        found = {
            (int(match[1]), int(match[2])): path
            for path in files
            if (match := pattern.fullmatch(path.stem))
        }
        if found:
            return found
    return {}


def _match_numbered_names(files: list[Path]) -> dict[GridPosition, Path]:
    """Return the files that match NUMBERED_NAME, keyed by row and column in a square grid."""
    found = {int(match[1]): path for path in files if (match := NUMBERED_NAME.fullmatch(path.stem))}
    cols = round(len(found) ** 0.5)
    return {divmod(number, cols): path for number, path in found.items()}


class LensletScene:
    """A lenslet picture that interleaves `across` x `across` views (Flower, ESLF)."""

    def __init__(
        self, path: Path, across: int = LENSLET_VIEWS, central: Sequence[int] = CENTRAL_VIEWS
    ) -> None:
        """Use only the rows and columns of views in `central`, and number them from 0."""
        self.name = str(path)
        self.positions = _list_positions(len(central), len(central))
        self._path = path
        self._across = across
        self._central = central

    def read(self, row: int, col: int, cache: PictureCache) -> Picture:
        """Return the view at (row, col), counted from the first central view.

        Raises DataError if the picture cannot be read or divided into `across` x `across` views.
        """
        views = cache.get(self._path, self._read_views)
        return np.asarray(views[row, col], dtype=np.uint8)

    def _read_views(self, path: Path) -> Picture:
        """Return the central views, R x C x H x W x 3.

        The others are left out to save memory in the cache. Raises DataError if the picture cannot
        be read or divided into `across` x `across` views.
        """
        image = read_rgb(path)
        across = self._across
        if image.shape[0] % across or image.shape[1] % across:
            raise DataError(
                f"{path} is {image.shape[1]}x{image.shape[0]}, but the width and height of a "
                f"lenslet picture with {across} x {across} views must be multiples of {across}"
            )
        rows = [
            np.stack([image[row::across, col::across] for col in self._central])
            for row in self._central
        ]
        return np.stack(rows)


class MosaicScene:
    """A picture that consists of `rows` x `cols` tiled views, such as a frame of LFVideo."""

    def __init__(self, path: Path, rows: int = 8, cols: int = 8) -> None:
        self.name = str(path)
        self.positions = _list_positions(rows, cols)
        self._path = path
        self._rows = rows
        self._cols = cols

    def read(self, row: int, col: int, cache: PictureCache) -> Picture:
        """Return the view at (row, col).

        Raises DataError if the picture cannot be read or cut into equal views.
        """
        image = cache.get(self._path, read_rgb)
        height = image.shape[0] // self._rows
        width = image.shape[1] // self._cols
        if image.shape[:2] != (height * self._rows, width * self._cols):
            raise DataError(
                f"{self._path} is {image.shape[1]}x{image.shape[0]}, which cannot be divided into "
                f"{self._rows} rows and {self._cols} columns of views of equal size"
            )
        return image[row * height : (row + 1) * height, col * width : (col + 1) * width]


class LightFields:
    """Light fields that provide single views and training pairs."""

    def __init__(self, scenes: Sequence[Scene], max_bytes: int = 512 << 20) -> None:
        """Cache up to `max_bytes` of decoded pictures. Raises DataError if there is no scene."""
        if not scenes:
            raise DataError("found no light field to train on, expected at least one scene")
        self.scenes = list(scenes)
        self._cache = PictureCache(max_bytes)

    @classmethod
    def from_folders(cls, folders: Sequence[Path]) -> LightFields:
        """Open folders of views (view_RR_CC.png or similar names), one folder per scene."""
        return cls([FolderScene(folder) for folder in folders])

    @classmethod
    def from_lenslets(
        cls,
        paths: Sequence[Path],
        across: int = LENSLET_VIEWS,
        central: Sequence[int] = CENTRAL_VIEWS,
    ) -> LightFields:
        """Open lenslet pictures, one per scene.

        The view in row r and column c of a picture is image[r::across, c::across]. Only the rows
        and columns in `central` are used, and numbered from 0.
        """
        return cls([LensletScene(path, across, central) for path in paths])

    @classmethod
    def from_mosaics(cls, paths: Sequence[Path], rows: int = 8, cols: int = 8) -> LightFields:
        """Open pictures of tiled views, one picture per scene (LFVideo: 8 x 8, row by row)."""
        return cls([MosaicScene(path, rows, cols) for path in paths])

    @classmethod
    def from_hdf5(cls, path: Path, key: str = "img_HR") -> LightFields:
        """Open a file in CrossNet's HDF5 layout: `key` is uint8 N x R x C x 3 x H x W."""
        file, (count, rows, cols) = open_hdf5(path, key)
        positions = _list_positions(rows, cols)
        return cls([Hdf5Scene(file, number, positions) for number in range(count)])

    def read_view(self, scene: int, row: int, col: int) -> Picture:
        """Return one view, uint8 H x W x 3 RGB. Raises DataError if the scene has no such view."""
        chosen = self.scenes[scene]
        if (row, col) not in chosen.positions:
            first = chosen.positions[0]
            last = chosen.positions[-1]
            raise DataError(
                f"found no view {(row, col)} in {chosen.name}, expected one from {first} to {last}"
            )
        return chosen.read(row, col, self._cache)

    def choose_views(
        self, rng: np.random.Generator, motion: float
    ) -> tuple[int, GridPosition, GridPosition]:
        """Return the number of a random scene, and the positions of two different views in it.

        `motion` in 0..1 limits the distance between the views; at 1, it can span the whole grid.
        """
        number = int(rng.integers(len(self.scenes)))
        positions = self.scenes[number].positions
        first = positions[int(rng.integers(len(positions)))]

        others = [(_count_steps(first, other), other) for other in positions if other != first]
        reach = max(min(others)[0], motion * max(others)[0])
        near = [other for steps, other in others if steps <= reach]
        return number, first, near[int(rng.integers(len(near)))]

    def draw(self, rng: np.random.Generator, size: int, motion: float) -> Pair:
        """Return the same crop of two views of one scene; see `PairSource`."""
        number, first, second = self.choose_views(rng, motion)
        pair = Pair(self.read_view(number, *first), self.read_view(number, *second))
        return crop_pair(rng, pair, size)


def _list_positions(rows: int, cols: int) -> list[GridPosition]:
    return [(row, col) for row in range(rows) for col in range(cols)]


def _count_steps(first: GridPosition, second: GridPosition) -> int:
    """Return the distance between two views: the larger of their row and column differences."""
    return max(abs(first[0] - second[0]), abs(first[1] - second[1]))
