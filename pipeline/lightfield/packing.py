"""Locate the pixels of a view in a sheet: lenslet pictures, mosaics and quilts.

lenslet   pixel (R y + row, C x + col) is pixel (y, x) of view (row, col) (LFReadESLF)
mosaic    view (row, col) is a tile, row by row from the top left (LFVideo)
quilt     tiles row by row from the BOTTOM left (Looking Glass)
"""

from __future__ import annotations

from typing import Any

import numpy as np

from pipeline.errors import InputError
from pipeline.pixels import Pixels, as_pixels

Window = tuple[slice, slice]
# Layouts with all views of a moment in one sheet.
PACKED = ("lenslet", "mosaic", "quilt")


def divide_sheet(layout: str, packed: tuple[int, int], height: int, width: int) -> tuple[int, int]:
    """Return the height and width of a sheet's views; raises InputError for a remainder."""
    rows, cols = packed
    if height % rows or width % cols:
        raise InputError(
            f"found a {layout} of {width}x{height}, expected a width that is a multiple of {cols} "
            f"and a height that is a multiple of {rows}; try another --grid ROWSxCOLS"
        )
    return height // rows, width // cols


def find_window(
    layout: str, packed: tuple[int, int], size: tuple[int, int], place: tuple[int, int]
) -> Window:
    """Return the rows and columns of the sheet that hold the view at `place` (row, col).

    `size` is the height and width of a view.
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
    """Return a copy of the view at (row, col) of a sheet, H x W x 3."""
    size = divide_sheet(layout, packed, *sheet.shape[:2])
    rows, cols = find_window(layout, packed, size, place)
    view: Any = np.ascontiguousarray(sheet[rows, cols])
    return as_pixels(view)
