"""Light fields for tests: views of a real Lytro capture, and a plane of known disparity."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from pipeline.lightfield.opening import open_light_field
from pipeline.lightfield.reader import ViewReader
from pipeline.schema.settings import GridSettings
from tests.support import DATA

FLOWERS = DATA / "flowers_8x8.png"
STEGOSAURUS = FLOWERS.with_name("stegosaurus_4x4.png")
# Mosaic of a real capture -> its grid. FLOWERS has columns before rows.
REAL = {FLOWERS: "8x8", STEGOSAURUS: "4x4"}
Picture = NDArray[np.uint8]


def flowers(row: int, col: int) -> Picture:
    """Return one view of the real capture, uint8 48 x 64 x 3 RGB; its columns run along x."""
    mosaic = cv2.cvtColor(cv2.imread(str(FLOWERS)), cv2.COLOR_BGR2RGB)
    # The capture is stored with rows and columns exchanged
    return np.ascontiguousarray(mosaic[48 * col : 48 * col + 48, 64 * row : 64 * row + 64])


def plane(row: int, col: int, disparity: float, height: int = 96, width: int = 128) -> Picture:
    """Return a view of a textured plane that moves left and up by `disparity` pixels per step."""
    random = np.random.default_rng(7)
    ground = random.integers(0, 255, (height, width, 3)).astype(np.float32)
    ground = cv2.resize(cv2.GaussianBlur(ground, (0, 0), 1.5), None, fx=2, fy=2)
    ground = (ground - ground.min()) / (ground.max() - ground.min()) * 255

    shift = np.float32([[1, 0, -20 - disparity * col], [0, 1, -20 - disparity * row]])
    view = cv2.warpAffine(ground, shift, (width, height), flags=cv2.INTER_CUBIC)
    return view.round().astype(np.uint8)


def save_picture(path: Path, rgb: NDArray[np.generic]) -> Path:
    """Write an 8-bit or 16-bit RGB picture, and return its path."""
    path.parent.mkdir(parents=True, exist_ok=True)
    assert cv2.imwrite(str(path), cv2.cvtColor(np.asarray(rgb), cv2.COLOR_RGB2BGR))
    return path


def write_folder(
    path: Path,
    rows: int = 4,
    cols: int = 5,
    *,
    name: str = "view_{row:02}_{col:02}.png",
    bits: int = 8,
    without: tuple[tuple[int, int], ...] = (),
    first: int = 0,
) -> Path:
    """Write a folder of real views."""
    for row in range(rows):
        for col in range(cols):
            if (row, col) not in without:
                view = flowers(row, col)
                deep = view.astype(np.uint16) * 257 - row if bits == 16 else view
                index = row * cols + col
                save_picture(
                    path / name.format(row=row + first, col=col + first, index=index), deep
                )
    return path


def read_views(path: Path, **settings: object) -> dict[tuple[int, int, int], np.ndarray]:
    """Return a dict from (row, column, moment) to picture, with every view of a light field."""
    clip = open_light_field(path, GridSettings(**settings))
    assert clip is not None

    reader = ViewReader(clip)
    found = {}
    for number in range(clip.grid.count):
        position, moment = clip.grid.place(number)
        view = clip.grid.views[position]
        found[view.row, view.col, moment] = reader.get(number)
    reader.close()
    return found
