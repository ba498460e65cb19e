"""Draw contact sheets, epipolar-plane images, refocused pictures, disparity maps and sweeps."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, cast

import cv2
import numpy as np
from numpy.typing import NDArray

from pipeline.errors import InputError
from pipeline.lightfield.reader import ViewReader
from pipeline.media.pictures.label import draw_text
from pipeline.media.write.video import VideoWriter
from pipeline.pixels import Pixels, high_byte
from pipeline.schema.clip import Grid, LightField

SHEET_WIDTH = 2000  # pixels; limit on the width of a contact sheet, unless it has too many columns
EPI_ROW = 6  # rows of pixels per view in an epipolar-plane image, to make even a few views visible
LEVELS = 33  # number of disparities that are tried for each pixel
NEAR = 2  # grid steps; views farther away are not compared with the middle view
SWEEP_SECONDS = 0.08  # duration of one view in a sweep

Plane = NDArray[np.float32]


def find_middle_view(grid: Grid) -> tuple[int, int]:
    """Return the row and column of the view nearest to the middle of the grid."""
    top, rows = grid.rows
    left, cols = grid.cols
    at = top + (rows - 1) / 2, left + (cols - 1) / 2
    return min(
        ((v.row, v.col) for v in grid.views),
        key=lambda place: ((place[0] - at[0]) ** 2 + (place[1] - at[1]) ** 2, place),
    )


def draw_contact_sheet(clip: LightField) -> NDArray[np.uint8]:
    """Return an RGB picture of all views at the first moment, labelled with their row and column.

    The views are reduced to fit SHEET_WIDTH; views less than 60 pixels wide get no label.
    """
    grid = clip.grid
    top, rows = grid.rows
    left, cols = grid.cols
    width = max(24, min(clip.width, SHEET_WIDTH // cols))
    height = max(1, round(clip.height * width / clip.width))

    sheet = np.full((rows * height, cols * width, 3), 90, np.uint8)
    reader = ViewReader(clip)
    try:
        for position, view in enumerate(grid.views):
            rgb = high_byte(reader.get(grid.number(position, 0)))
            small = np.asarray(
                cv2.resize(rgb, (width, height), interpolation=cv2.INTER_AREA), np.uint8
            )
            if width >= 60:
                draw_text(small, f"{view.row},{view.col}", (3, height - 4), 0.4)

            row = (view.row - top) * height
            col = (view.col - left) * width
            sheet[row : row + height, col : col + width] = small
    finally:
        reader.close()
    return sheet


def _find_line(clip: LightField, *, row: int | None = None, col: int | None = None) -> list[int]:
    """Return the frame numbers of the views of one row or one column, in order.

    Raises InputError if the line has fewer than two views.
    """
    grid = clip.grid
    line = [
        grid.number(position, 0)
        for position, view in enumerate(grid.views)
        if (row is None or view.row == row) and (col is None or view.col == col)
    ]
    if len(line) < 2:
        name = f"column {col}" if row is None else f"row {row}"
        raise InputError(f"{name} of {clip.path} has fewer than two views; try another light field")
    return line


def draw_epipolar_picture(clip: LightField, y: int | None = None) -> NDArray[np.uint8]:
    """Return an RGB picture that stacks pixel row `y` of every view in the grid's middle row.

    `y` is the middle row of pixels by default. Points that move evenly from view to view form
    straight lines, which are steeper for points farther away. Raises InputError if the views have
    no row `y`, or if the middle row of the grid has fewer than two views.
    """
    row, _ = find_middle_view(clip.grid)
    y = clip.height // 2 if y is None else y
    if not 0 <= y < clip.height:
        raise InputError(
            f"the views are {clip.height} pixels high and have no row {y}; expected 0 to "
            f"{clip.height - 1}; try {clip.height // 2}"
        )

    reader = ViewReader(clip)
    try:
        lines = [high_byte(reader.get(n))[y] for n in _find_line(clip, row=row)]
    finally:
        reader.close()
    return np.repeat(np.stack(lines), EPI_ROW, axis=0)


def refocus(clip: LightField, alphas: Sequence[float]) -> list[NDArray[np.uint8]]:
    """Return one refocused picture (uint8 H x W x 3 RGB) for each disparity in `alphas`.

    Disparities are in pixels per grid step. Each view is shifted by the disparity times its
    distance from the middle view, and all views are averaged: points with that disparity are sharp,
    and all others are blurred.
    """
    reader = ViewReader(clip)
    try:
        numbers = (clip.grid.number(position, 0) for position in range(len(clip.grid.views)))
        pictures = (high_byte(reader.get(number)) for number in numbers)
        return refocus_pictures(clip.grid, pictures, alphas)
    finally:
        reader.close()


def refocus_pictures(
    grid: Grid, pictures: Iterable[NDArray[np.uint8]], alphas: Sequence[float]
) -> list[NDArray[np.uint8]]:
    """Return what `refocus` returns, given the `pictures` of the grid's views in their order."""
    row, col = find_middle_view(grid)
    totals: list[Plane] = []
    for view, picture in zip(grid.views, pictures, strict=True):
        rgb = picture.astype(np.float32)
        totals = totals or [np.zeros_like(rgb) for _ in alphas]
        for total, alpha in zip(totals, alphas, strict=True):
            total += shift_picture(rgb, alpha * (view.col - col), alpha * (view.row - row))
    return [np.clip(total / len(grid.views) + 0.5, 0, 255).astype(np.uint8) for total in totals]


def shift_picture(image: Plane, right: float, down: float) -> Plane:
    """Return an H x W (x 3) picture shifted by `right` and `down` pixels; edges are repeated."""
    move = np.array([[1, 0, right], [0, 1, down]], np.float64)
    size = image.shape[1], image.shape[0]
    moved: Any = cv2.warpAffine(
        image, move, size, flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE
    )
    return cast(Plane, moved)


def estimate_disparity(clip: LightField, low: float, high: float) -> Plane:
    """Return the H x W disparity of the middle view, in pixels per grid step.

    The disparity of a pixel is the shift between `low` and `high` at which the views up to two
    steps away match the middle view best. The cost of a shift is averaged over the half of these
    views that match better, because the pixel may be occluded in the others (Vaish 2006).
    """
    grid = clip.grid
    row, col = find_middle_view(grid)
    near = [v for v in grid.views if 0 < max(abs(v.row - row), abs(v.col - col)) <= NEAR]
    levels = np.linspace(low, high, LEVELS, dtype=np.float32)

    reader = ViewReader(clip, cache=len(near) + 1)
    try:
        centre = _grey(reader.get(_number(grid, row, col)))
        others = [
            (v.row - row, v.col - col, _grey(reader.get(_number(grid, v.row, v.col)))) for v in near
        ]
    finally:
        reader.close()

    costs = []
    for level in levels:
        apart = np.stack(
            [np.abs(shift_picture(g, level * c, level * r) - centre) for r, c, g in others]
        )
        better = np.sort(apart, axis=0)[: max(1, len(others) // 2)].mean(axis=0)
        costs.append(cv2.boxFilter(better, -1, (9, 9)))
    return cast(Plane, cv2.medianBlur(_find_lowest(np.stack(costs), levels), 5))


def _find_lowest(cost: Plane, levels: Plane) -> Plane:
    """Return the level with the lowest cost for each pixel, refined with a parabola.

    `cost` is level x H x W. A minimum at either end is moved inwards by half a level.
    """
    best = np.clip(cost.argmin(axis=0), 1, len(levels) - 2)
    before, at, after = (
        np.take_along_axis(cost, best[None] + step, axis=0)[0] for step in (-1, 0, 1)
    )
    bend = np.maximum(before + after - 2 * at, 1e-6)
    between = np.clip((before - after) / (2 * bend), -0.5, 0.5)
    return cast(Plane, (levels[best] + between * (levels[1] - levels[0])).astype(np.float32))


def _number(grid: Grid, row: int, col: int) -> int:
    return grid.number(grid.position(row, col), 0)


def _grey(rgb: Pixels) -> Plane:
    return cast(Plane, cv2.cvtColor(high_byte(rgb), cv2.COLOR_RGB2GRAY).astype(np.float32))


def colour_disparity(plane: Plane, low: float, high: float) -> NDArray[np.uint8]:
    """Return a disparity map as an RGB picture, from blue for `low` to red for `high`."""
    scaled = np.clip((plane - low) / max(high - low, 1e-6) * 255, 0, 255).astype(np.uint8)
    bgr = cv2.applyColorMap(scaled, cv2.COLORMAP_TURBO)
    return cast("NDArray[np.uint8]", cv2.cvtColor(bgr, cv2.COLOR_BGR2RGB))


def iterate_sweep(clip: LightField) -> Iterator[NDArray[np.uint8]]:
    """Yield the views along the middle row and column as uint8 RGB, there and back.

    Played as a video, they reveal flicker between views.
    """
    row, col = find_middle_view(clip.grid)
    path: list[int] = []
    for line in ({"row": row}, {"col": col}):
        try:
            numbers = _find_line(clip, **line)
        except InputError:
            continue  # in a grid with one row, every column has one view
        path += numbers + numbers[-2:0:-1]

    reader = ViewReader(clip)
    try:
        for number in path:
            yield high_byte(reader.get(number))
    finally:
        reader.close()


def save_sweep(clip: LightField, path: Path) -> None:
    """Save the views of `iterate_sweep` as an animated .gif or an .mp4.

    Raises InputError if `path` has another suffix.
    """
    if path.suffix.lower() == ".gif":
        import imageio.v2 as imageio

        writer: Any = imageio.get_writer(path, mode="I", duration=1000 * SWEEP_SECONDS, loop=0)
        with writer:
            for rgb in iterate_sweep(clip):
                writer.append_data(rgb)
        return

    if path.suffix.lower() != ".mp4":
        raise InputError(f"a sweep cannot be written to {path}; try a .gif or .mp4 file")

    film = VideoWriter(path)
    try:
        for rgb in iterate_sweep(clip):
            # H.264 needs an even width and height
            rgb = rgb[: rgb.shape[0] // 2 * 2, : rgb.shape[1] // 2 * 2]
            for _ in range(2):
                film.write(np.ascontiguousarray(rgb))
    finally:
        film.close()
