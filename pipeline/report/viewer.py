"""Show light fields in the report: a viewer, refocused pictures, and a table of views."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from markupsafe import Markup

from pipeline.lightfield.parallax import measure_parallax
from pipeline.lightfield.view_pictures import EPI_ROW, find_middle_view, refocus_pictures
from pipeline.pixels import Picture, to_8_bit
from pipeline.recording import open_frames
from pipeline.report.pictures import encode_jpegs
from pipeline.report.rows import Row, mean_figure
from pipeline.schema.clip import Grid, LightField
from pipeline.schema.reference_map import ViewChoice

MOST_PIXELS = 16e6  # in all views together; larger views are downscaled
MOST_WIDTH = 960
BUDGET = 4_000_000  # base64 bytes of the viewer's pictures
FOCUS_STEPS = 9


@dataclass(frozen=True)
class Viewer:
    """The data of the viewer, and the pictures that replace it in browsers without JavaScript."""

    data: Markup
    """JSON with the keys rows, cols, first, start, width, height, views and focus."""
    rows: int
    cols: int
    height: int
    width: int
    shrunk: bool
    middle: str
    focused: list[tuple[str, str]]
    """The captions and data URLs of three pictures, focused on the lowest, a middle and the highest
    disparity."""
    epi: str
    low: float
    """Lowest disparity on which the viewer can focus, in output pixels per grid step."""
    high: float
    """Highest disparity on which the viewer can focus, in output pixels per grid step."""


@dataclass(frozen=True)
class Cell:
    """One view in the table of all views."""

    row: Row
    share: float
    """The view's figure from 0 (the lowest of all views that are not given) to 1 (the highest)."""
    served: str
    """Position of the view's reference and the number of further ones, or "given" or "none"."""


def make_viewer(clip: LightField) -> Viewer:
    """Return the viewer for the views of an output at its first moment."""
    grid = clip.grid
    factor = min(
        1.0,
        MOST_WIDTH / clip.width,
        math.sqrt(MOST_PIXELS / (len(grid.views) * clip.width * clip.height)),
    )
    size = max(1, round(clip.width * factor)), max(1, round(clip.height * factor))
    views = _read_views(clip, size)

    found = measure_parallax(clip).disparity
    low, high = found if found is not None else (-1.0, 1.0)
    if high - low < 0.1:
        low -= 0.5
        high += 0.5
    alphas = [float(a) for a in np.linspace(low, high, FOCUS_STEPS)]
    focused = refocus_pictures(grid, views, [alpha * factor for alpha in alphas])

    centre = find_middle_view(grid)
    row = [n for n, view in enumerate(grid.views) if view.row == centre[0]]
    epi = np.repeat(np.stack([views[n][size[1] // 2] for n in row]), EPI_ROW, axis=0)

    addresses = encode_jpegs([*views, *focused, np.ascontiguousarray(epi)], BUDGET)
    shown = addresses[: len(views)]
    sharp = addresses[len(views) : -1]
    first_row = grid.rows[0]
    first_col = grid.cols[0]
    data: dict[str, Any] = {
        "rows": grid.rows[1],
        "cols": grid.cols[1],
        "first": [first_row, first_col],
        "start": [centre[0] - first_row, centre[1] - first_col],
        "width": size[0],
        "height": size[1],
        "views": [
            [view.row - first_row, view.col - first_col, address]
            for view, address in zip(grid.views, shown, strict=True)
        ],
        "focus": [[round(a, 2), address] for a, address in zip(alphas, sharp, strict=True)],
    }

    ends = (0, FOCUS_STEPS // 2, FOCUS_STEPS - 1)
    at = grid.position(*centre)
    return Viewer(
        # safe to embed: only numbers and base64, no text from users
        data=Markup(json.dumps(data, separators=(",", ":"))),
        rows=grid.rows[1],
        cols=grid.cols[1],
        height=size[1],
        width=size[0],
        shrunk=factor < 1,
        middle=shown[at],
        focused=[(f"sharp at {alphas[n]:+.2f} pixels per step", sharp[n]) for n in ends],
        epi=addresses[-1],
        low=low,
        high=high,
    )


def _read_views(clip: LightField, size: tuple[int, int]) -> list[Picture]:
    """Return the 8-bit views at the first moment, downscaled to `size` (width, height)."""
    reader = open_frames(clip)
    try:
        pictures = []
        for position in range(len(clip.grid.views)):
            picture = to_8_bit(reader.get(clip.grid.number(position, 0)))
            if (clip.width, clip.height) != size:
                small = cv2.resize(picture, size, interpolation=cv2.INTER_AREA)
                picture = np.asarray(small, np.uint8)
            pictures.append(picture)
    finally:
        reader.close()
    return pictures


def make_table(grid: Grid, rows: list[Row]) -> list[list[Cell | None]]:
    """Return the views at the first moment as rows of cells, with None for holes in the grid.

    Views that are not in `rows` are None, too.
    """
    figures = [row.figure for row in rows if row.choice.why != "given"]
    low = min(figures, default=0.0)
    high = max(figures, default=1.0)

    cells: dict[tuple[int, int], Cell] = {}
    for row in rows:
        view = row.choice.views
        if view is None or view.moment:
            continue

        share = (row.figure - low) / (high - low) if high > low else 1.0
        cells[view.row, view.col] = Cell(
            row, min(1.0, max(0.0, share)), _describe_reference(row, view)
        )

    first_row, height = grid.rows
    first_col, width = grid.cols
    return [
        [cells.get((first_row + r, first_col + c)) for c in range(width)] for r in range(height)
    ]


def _describe_reference(row: Row, view: ViewChoice) -> str:
    if row.choice.why == "given":
        return "given"
    if view.ref_row is None or view.ref_col is None:
        return "none"
    more = f" +{len(view.also)}" if view.also else ""
    return f"({view.ref_row:g}, {view.ref_col:g}){more}"


def group_by_distance(rows: list[Row]) -> list[tuple[int, int, float, float | None]]:
    """Return tuples of (grid steps, number of rows, mean figure, mean bicubic PSNR), nearest first.

    The steps are views' rounded distances from their references. Given views are left out.
    """
    found: dict[int, list[Row]] = {}
    for row in rows:
        view = row.choice.views
        if view is not None and view.steps is not None and row.choice.why != "given":
            found.setdefault(round(view.steps), []).append(row)

    return [
        (
            steps,
            len(members),
            float(np.mean([row.figure for row in members])),
            mean_figure(members, "bicubic_psnr"),
        )
        for steps, members in sorted(found.items())
    ]
