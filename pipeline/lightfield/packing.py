"""Locate the pixels of a view in a sheet: lenslet pictures, mosaics and quilts.

lenslet   with R x C views, pixel (R y + row, C x + col) is pixel (y, x) of view (row, col)
          (LFReadESLF)
mosaic    each view is a tile; tiles are ordered row by row from the top left (LFVideo)
quilt     each view is a tile; tiles are ordered row by row from the BOTTOM left (Looking Glass)
"""

from __future__ import annotations

from typing import Any

import numpy as np

from pipeline.errors import InputError
from pipeline.pixels import Pixels, as_pixels

Window = tuple[slice, slice]
# Layouts that have all views of a moment in one sheet.
PACKED = ("lenslet", "mosaic", "quilt")
MOST_VIEWS = 100_000  # per moment; more must be a mistake in a name, a sidecar or a header


def check_count(rows: int, cols: int, path: object) -> None:
    """Raise InputError if a grid has no views, or more than MOST_VIEWS.

    The message names `path` as the place where the grid was found.
    """
    if rows < 1 or cols < 1 or rows * cols > MOST_VIEWS:
        raise InputError(
            f"found a grid of {rows}x{cols} views in {path}; expected 1 to {MOST_VIEWS} views; "
            "check the names of the views, lightfield.json and --grid"
        )


def divide_sheet(layout: str, packed: tuple[int, int], height: int, width: int) -> tuple[int, int]:
    """Return the height and width of the views in a sheet of `height` x `width` pixels.

    `packed` is the number of rows and columns of views. Raises InputError if it does not divide the
    sheet evenly.
    """
    rows, cols = packed
    check_count(rows, cols, f"a {layout}")
    if height % rows or width % cols:
        raise InputError(
            f"a {layout} of {width}x{height} cannot be divided into {rows}x{cols} views; expected "
            f"a width that is a multiple of {cols} and a height that is a multiple of {rows}; try "
            "another --grid ROWSxCOLS"
        )
    return height // rows, width // cols


def find_window(
    layout: str, packed: tuple[int, int], size: tuple[int, int], place: tuple[int, int]
) -> Window:
    """Return the slices of a sheet's rows and columns that contain the view at `place` (row, col).

    `packed` is the number of rows and columns of views, `size` the height and width of a view.
    """
    rows, cols = packed
    height, width = size
    row, col = place

    if layout == "lenslet":
        return slice(row, rows * height, rows), slice(col, cols * width, cols)

    if layout == "quilt":
        row = rows - 1 - row
    return slice(row * height, (row + 1) * height), slice(col * width, (col + 1) * width)


def extract_view(
    sheet: Pixels, layout: str, packed: tuple[int, int], place: tuple[int, int]
) -> Pixels:
    """Return a copy (H x W x 3) of the view at `place` (row, col) in a sheet."""
    size = divide_sheet(layout, packed, *sheet.shape[:2])
    rows, cols = find_window(layout, packed, size, place)
    view: Any = np.ascontiguousarray(sheet[rows, cols])
    return as_pixels(view)
