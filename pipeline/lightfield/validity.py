"""Find views that show little or nothing, because they are vignetted or masked by alpha."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import cast

import cv2
import numpy as np
from numpy.typing import NDArray

from pipeline.lightfield import hdf5
from pipeline.lightfield.packing import extract_view
from pipeline.lightfield.reader import ViewReader, find_tile
from pipeline.media.alpha import Plane
from pipeline.media.pictures.open_picture import open_picture, read_orientation
from pipeline.media.pictures.stills import SUFFIXES
from pipeline.media.pictures.transparent import has_alpha, turn_plane
from pipeline.media.sandbox.parent import sandboxed
from pipeline.schema.clip import LightField, Stills

# Share of the median brightness below which a view is vignetted, so that other views do not borrow
# from it.
DARK = 0.5
BLACK = 0.05  # share of the median brightness below which a view is empty
MASKED = 0.5  # a view is empty if at least this share of its pixels has weight 0

Place = tuple[int, int]


@dataclass(frozen=True)
class Validity:
    """Which views are dark or empty at the recording's first moment, and whether views have alpha.

    Views are identified by their positions (row, column).
    """

    dark: tuple[Place, ...] = ()
    """Vignetted views, including the empty ones."""
    empty: tuple[Place, ...] = ()
    """Views that are black, or masked by alpha."""
    transparent: bool = False
    """Whether views have an alpha channel, which marks their valid pixels and is dropped."""


@sandboxed
def find_dark_views(clip: LightField) -> Validity:
    """Return which views are dark or empty at the first moment, and whether views have alpha."""
    grid = clip.grid

    reader = ViewReader(clip)
    try:
        brightness = {
            (view.row, view.col): float(reader.get(grid.number(position, 0)).mean())
            for position, view in enumerate(grid.views)
        }
    finally:
        reader.close()

    masked = _find_masked_views(clip)
    unmasked = [mean for place, mean in brightness.items() if place not in masked]
    median = float(np.median(unmasked)) if unmasked else 0.0
    empty = {place for place, mean in brightness.items() if mean < BLACK * median} | masked
    dark = {place for place, mean in brightness.items() if mean < DARK * median} | empty

    files = [*grid.views[0].files[:1], *(clip.files[:1] if grid.sheets is not None else ())]
    transparent = any(Path(file).suffix.lower() in SUFFIXES and has_alpha(file) for file in files)
    return Validity(tuple(sorted(dark)), tuple(sorted(empty)), transparent)


def _find_masked_views(clip: LightField) -> set[Place]:
    """Return the (row, column) of each view in which at least half of the pixels have weight 0.

    The weight is LFToolbox's fourth channel, or the alpha channel of pictures.
    """
    grid = clip.grid
    found: set[Place] = set()
    if grid.layout == "h5":
        with hdf5.open_file(Path(clip.path)) as file:
            for view in grid.views:
                weight = hdf5.read_weight(file, grid.dataset, grid.axes, find_tile(grid, view))
                if weight is not None and _measure_masked_share(weight) >= MASKED:
                    found.add((view.row, view.col))
    elif grid.layout == "folder":
        for view in grid.views:
            alpha = _read_alpha(view.files[0])
            if alpha is not None and _measure_masked_share(alpha) >= MASKED:
                found.add((view.row, view.col))
    elif isinstance(grid.sheets, Stills):
        alpha = _read_alpha(clip.files[0])
        if alpha is not None:
            sheet = cast("NDArray[np.uint8]", alpha[..., None])
            for view in grid.views:
                part = extract_view(sheet, grid.layout, grid.tiling, find_tile(grid, view))
                if _measure_masked_share(part) >= MASKED:
                    found.add((view.row, view.col))
    return found


def _measure_masked_share(weight: NDArray[np.generic]) -> float:
    """Return the share (0..1) of pixels whose weight is zero."""
    return float((np.asarray(weight) == 0).mean())


def _read_alpha(file: str) -> NDArray[np.generic] | None:
    """Return the alpha channel (H x W) of a picture, turned upright; None if it has none."""
    if not has_alpha(file):
        return None

    pixels = cv2.imdecode(np.fromfile(file, np.uint8), cv2.IMREAD_UNCHANGED)
    if pixels is None or pixels.ndim != 3 or pixels.shape[2] != 4:
        return None
    with open_picture(file) as image:
        orientation = read_orientation(image)
    return turn_plane(cast(Plane, pixels[..., 3]), orientation)
