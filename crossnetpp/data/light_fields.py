"""Light fields on disk: folders of views, lenslet pictures, mosaics, and CrossNet's HDF5 files.

Rows and columns count from the top left. Views are read when they are asked for, and the latest
are kept in memory.
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
Place = tuple[int, int]
"""Row and column of a view."""
LENSLET_VIEWS = 14
"""Views along each side of a Lytro Illum lenslet picture (Flower)."""
CENTRAL = range(3, 11)
"""The 8 of 14 that are used: those at the rim are vignetted (notes, section 4)."""
NAMES = (
    re.compile(r"view_(\d+)_(\d+)", re.IGNORECASE),
    re.compile(r"out_(\d+)_(\d+)_.*"),  # Stanford; the camera's position follows
    re.compile(r"im_t(\d+)_s(\d+).*"),
    re.compile(r"(\d+)_(\d+)"),
)
"""Names of view files without their ending: row, then column."""
NUMBERED = re.compile(r"input_cam(\d+)", re.IGNORECASE)
"""HCI: one number, row by row of a square grid."""
PICTURES = {".png", ".jpg", ".jpeg", ".ppm", ".tif", ".tiff", ".bmp"}


class Recent:
    """Keep what was read last, up to `most_bytes` of arrays."""

    def __init__(self, most_bytes: int) -> None:
        self.most_bytes = most_bytes
        self._kept: OrderedDict[Path, Picture] = OrderedDict()

    def get(self, path: Path, read: Callable[[Path], Picture]) -> Picture:
        """Return what `read` makes of `path`, or what it made of it before."""
        if path in self._kept:
            self._kept.move_to_end(path)
            return self._kept[path]
        made = self._kept[path] = read(path)
        held = sum(array.nbytes for array in self._kept.values())
        while held > self.most_bytes and len(self._kept) > 1:
            held -= self._kept.popitem(last=False)[1].nbytes
        return made


class Scene(Protocol):
    """One light field."""

    name: str

    @property
    def places(self) -> Sequence[Place]:
        """Where there are views, in order."""
        ...

    def read(self, row: int, col: int, recent: Recent) -> Picture:
        """Return the view (uint8 H x W x 3 RGB) at one of `places`."""
        ...


class FolderScene:
    """A folder with one picture for each view; row and column are the numbers in its name."""

    def __init__(self, folder: Path) -> None:
        """Look for view files; raises DataError if there are fewer than two."""
        self.name = str(folder)
        files = sorted(
            path
            for path in (folder.iterdir() if folder.is_dir() else ())
            if path.suffix.lower() in PICTURES
        )
        self._files = _named(files) or _numbered(files)
        self.places = sorted(self._files)
        if len(self.places) < 2:
            raise DataError(
                f"found {len(self.places)} views in {folder}, expected files such as "
                "view_00_00.png (row, column); rename them, or give the folder that holds them"
            )

    def read(self, row: int, col: int, recent: Recent) -> Picture:
        """Return the view at (row, col)."""
        return recent.get(self._files[row, col], read_rgb)


def _named(files: list[Path]) -> dict[Place, Path]:
    """Return the views of the first way of naming that fits any file."""
    for pattern in NAMES:
        found = {
            (int(match[1]), int(match[2])): path
            for path in files
            if (match := pattern.fullmatch(path.stem))
        }
        if found:
            return found
    return {}


def _numbered(files: list[Path]) -> dict[Place, Path]:
    found = {int(match[1]): path for path in files if (match := NUMBERED.fullmatch(path.stem))}
    across = round(len(found) ** 0.5)
    return {divmod(number, across): path for number, path in found.items()}


class LensletScene:
    """A lenslet picture, in which `across` x `across` views lie pixel by pixel (Flower, ESLF)."""

    def __init__(
        self, path: Path, across: int = LENSLET_VIEWS, central: Sequence[int] = CENTRAL
    ) -> None:
        """Use the views of rows and columns `central`, numbered from 0."""
        self.name = str(path)
        self._path, self._across, self._central = path, across, central
        self.places = _grid(len(central), len(central))

    def read(self, row: int, col: int, recent: Recent) -> Picture:
        """Return the view at (row, col) of the central ones."""
        views = recent.get(self._path, self._views)
        return np.asarray(views[row, col], dtype=np.uint8)

    def _views(self, path: Path) -> Picture:
        """Return all views, R x C x H x W x 3; the whole picture need not be kept."""
        image, across = read_rgb(path), self._across
        if image.shape[0] % across or image.shape[1] % across:
            raise DataError(
                f"found {path} of {image.shape[1]}x{image.shape[0]}, expected a lenslet picture "
                f"with sides that are multiples of {across}"
            )
        rows = [
            np.stack([image[row::across, col::across] for col in self._central])
            for row in self._central
        ]
        return np.stack(rows)


class MosaicScene:
    """A picture of `rows` x `cols` views side by side, such as a frame of LFVideo."""

    def __init__(self, path: Path, rows: int = 8, cols: int = 8) -> None:
        self.name = str(path)
        self._path, self._rows, self._cols = path, rows, cols
        self.places = _grid(rows, cols)

    def read(self, row: int, col: int, recent: Recent) -> Picture:
        """Return the tile at (row, col); raises DataError if tiles do not come out whole."""
        image = recent.get(self._path, read_rgb)
        height, width = image.shape[0] // self._rows, image.shape[1] // self._cols
        if image.shape[:2] != (height * self._rows, width * self._cols):
            raise DataError(
                f"found {self._path} of {image.shape[1]}x{image.shape[0]}, "
                f"expected {self._rows} rows and {self._cols} columns of equal views"
            )
        return image[row * height : (row + 1) * height, col * width : (col + 1) * width]


class LightFields:
    """Draw pairs of views of light fields, and give single views."""

    def __init__(self, scenes: Sequence[Scene], most_bytes: int = 512 << 20) -> None:
        """Keep up to `most_bytes` of decoded pictures; raises DataError if there is no scene."""
        if not scenes:
            raise DataError("found no light field, expected at least one")
        self.scenes = list(scenes)
        self._recent = Recent(most_bytes)

    @classmethod
    def folders(cls, folders: Sequence[Path]) -> LightFields:
        """Open folders of views, one for each scene (view_RR_CC.png and the like)."""
        return cls([FolderScene(folder) for folder in folders])

    @classmethod
    def lenslets(
        cls, paths: Sequence[Path], across: int = LENSLET_VIEWS, central: Sequence[int] = CENTRAL
    ) -> LightFields:
        """Open lenslet pictures, one for each scene: view (row, col) = image[row::14, col::14]."""
        return cls([LensletScene(path, across, central) for path in paths])

    @classmethod
    def mosaics(cls, paths: Sequence[Path], rows: int = 8, cols: int = 8) -> LightFields:
        """Open pictures of tiled views, one for each scene (LFVideo: 8 x 8, row by row)."""
        return cls([MosaicScene(path, rows, cols) for path in paths])

    @classmethod
    def hdf5(cls, path: Path, key: str = "img_HR") -> LightFields:
        """Open CrossNet's HDF5 layout: `key` holds N x R x C x 3 x H x W uint8."""
        file, (count, rows, cols) = open_hdf5(path, key)
        places = _grid(rows, cols)
        return cls([Hdf5Scene(file, number, places) for number in range(count)])

    def view(self, scene: int, row: int, col: int) -> Picture:
        """Return one view, uint8 H x W x 3 RGB; raises DataError if there is none there."""
        chosen = self.scenes[scene]
        if (row, col) not in chosen.places:
            first, last = chosen.places[0], chosen.places[-1]
            raise DataError(
                f"found no view {(row, col)} in {chosen.name}, expected one from {first} to {last}"
            )
        return chosen.read(row, col, self._recent)

    def choose(self, rng: np.random.Generator, motion: float) -> tuple[int, Place, Place]:
        """Return a scene and two different views of it, up to the whole grid apart.

        The curriculum widens the distance between them. Every view is drawn, the last row and
        column too.
        """
        number = int(rng.integers(len(self.scenes)))
        places = self.scenes[number].places
        first = places[int(rng.integers(len(places)))]
        apart = [(_steps(first, other), other) for other in places if other != first]
        reach = max(min(apart)[0], motion * max(apart)[0])
        near = [other for steps, other in apart if steps <= reach]
        return number, first, near[int(rng.integers(len(near)))]

    def draw(self, rng: np.random.Generator, size: int, motion: float) -> Pair:
        """Return crops of two views of one scene."""
        number, first, second = self.choose(rng, motion)
        return crop_pair(rng, Pair(self.view(number, *first), self.view(number, *second)), size)


def _grid(rows: int, cols: int) -> list[Place]:
    return [(row, col) for row in range(rows) for col in range(cols)]


def _steps(first: Place, second: Place) -> int:
    """Return the grid steps between two views along rows or columns, the larger of both."""
    return max(abs(first[0] - second[0]), abs(first[1] - second[1]))
