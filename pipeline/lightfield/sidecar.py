"""Read and write lightfield.json, the sidecar that records what a layout alone cannot express."""

from __future__ import annotations

import json
import os
from fractions import Fraction
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, ValidationError, field_validator

from pipeline.errors import InputError
from pipeline.ledger.durable import fsync
from pipeline.lightfield.packing import MOST_VIEWS
from pipeline.paths import read_limited
from pipeline.schema.clip import Grid, LightField
from pipeline.schema.model import Model
from pipeline.schema.settings import GridSettings
from pipeline.schema.texts import Axes, DataSetName, ViewTemplate, check_ratio

NAME = "lightfield.json"
_LONGEST_NAME_BYTES = 255  # limit of all common file systems
_MOST_BYTES = 64_000_000
_HIGHEST_FPS = 100_000  # a rate of this or more must be a mistake


Count = Annotated[int, Field(ge=1, le=MOST_VIEWS)]


class SidecarView(Model):
    """One view in a sidecar."""

    row: int
    col: int
    role: Literal["reference", "side", "dropped"] = "side"
    path: str | None = None
    frames: int = 1
    position: tuple[float, float] | None = None
    """Column (x) and row (y) of the camera's centre, in grid steps; None if unknown."""


class Sidecar(Model):
    """The grid of a light field; rows and columns count from the top left."""

    version: Literal[1] = 1
    rows: Count
    cols: Count
    origin: Literal["top-left"] = "top-left"
    first: tuple[int, int] = (0, 0)
    """First row and first column of the grid."""
    layout: Literal["folder", "lenslet", "mosaic", "quilt", "h5", "video"]
    packed: tuple[Count, Count] | None = None
    """Rows and columns of views in a sheet or dataset."""
    order: Literal["row,col", "col,row"] = "row,col"
    template: ViewTemplate = ""
    dataset: DataSetName = ""
    axes: Axes = ""
    moments: int = 1
    fps: str | None = None
    """Moments per second, such as "25" or "30000/1001"; None for a single moment or if unknown."""
    width: int
    height: int
    bits: int
    views: tuple[SidecarView, ...]

    @field_validator("fps")
    @classmethod
    def _check_fps(cls, value: str | None) -> str | None:
        try:
            if value is None or 0 < Fraction(str(check_ratio(value))) < _HIGHEST_FPS:
                return value
        except ZeroDivisionError:
            pass  # the error is raised below
        raise ValueError(f"expected a rate above 0 and below {_HIGHEST_FPS}, such as 30000/1001")


def sidecar_path(path: Path) -> Path:
    """Return the path of a light field's sidecar: in its folder, or beside its file."""
    if path.is_dir() or not path.suffix:
        return path / NAME
    return path.with_name(f"{path.stem}.{NAME}")


def make_sidecar(
    clip: LightField, root: Path, given: frozenset[tuple[int, int]] = frozenset()
) -> Sidecar:
    """Return the sidecar of the light field at `root`, a folder or a file.

    `given` contains the (row, column) of each view that was a reference in a run.
    """
    grid = clip.grid
    first_row, rows = grid.rows
    first_col, cols = grid.cols
    views = []
    for view in grid.views:
        file = view.clip.path if view.clip else view.files[0] if view.files else None
        inside = file is not None and Path(file).is_relative_to(root)
        position = None if view.x is None or view.y is None else (view.x, view.y)
        views.append(
            SidecarView(
                row=view.row,
                col=view.col,
                role="reference" if (view.row, view.col) in given else "side",
                path=str(Path(file).relative_to(root)) if file and inside else None,
                frames=view.frames,
                position=position,
            )
        )

    return Sidecar(
        rows=rows,
        cols=cols,
        first=(first_row, first_col),
        layout=grid.layout,
        packed=grid.packed,
        order=grid.order,
        template=grid.template,
        dataset=grid.dataset,
        axes=grid.axes,
        moments=grid.moments,
        fps=str(clip.frame_rate) if grid.moments > 1 and clip.frame_rate else None,
        width=clip.width,
        height=clip.height,
        bits=clip.bit_depth,
        views=tuple(views),
    )


def write_sidecar(
    clip: LightField,
    grid: Grid,
    out: Path,
    root: Path,
    given: frozenset[tuple[int, int]] = frozenset(),
) -> None:
    """Write the sidecar of a light field at `root`, which will be moved to `out`.

    `clip` provides the size, bit depth and frame rate of the views. `grid` provides their places in
    the grid and their final files, inside `out`. `given` is as for `make_sidecar`.
    """
    made = clip.model_copy(update={"grid": grid})
    sidecar_path(root).write_text(format_sidecar(make_sidecar(made, out, given)), encoding="utf-8")


def publish_sidecar(root: Path, out: Path) -> None:
    """Move the sidecar of the finished light field `root` to the path of the sidecar of `out`.

    If `root` is a folder, do nothing, because the sidecar is inside it and moves with it.
    """
    sidecar = sidecar_path(root)
    if sidecar.parent != root:
        fsync(sidecar)
        sidecar.replace(sidecar_path(out))


def format_sidecar(sidecar: Sidecar) -> str:
    """Return a sidecar as JSON, with each view on a line of its own."""
    data = json.loads(sidecar.model_dump_json())
    lines = ",\n".join("  " + json.dumps(view) for view in data.pop("views"))
    return json.dumps(data, indent=1)[:-2] + f',\n "views": [\n{lines}\n ]\n}}\n'


def read_sidecar(path: Path) -> Sidecar | None:
    """Return the sidecar of the light field at `path`; None if it has none.

    Raises InputError if the sidecar is not valid.
    """
    file = sidecar_path(path)
    if len(os.fsencode(file.name)) > _LONGEST_NAME_BYTES or not file.is_file():
        return None
    try:
        return Sidecar.model_validate_json(read_limited(file, _MOST_BYTES))
    except (ValidationError, OSError) as error:
        raise InputError(
            f"{file} is not a readable sidecar ({_describe(error)}); expected a file written by "
            "`pipeline convert` or `pipeline run`; correct or remove it"
        ) from error


def _describe(error: ValidationError | OSError) -> str:
    """Return what is wrong with a sidecar in one line, without quoting its content."""
    if isinstance(error, OSError):
        return error.strerror or type(error).__name__
    first = error.errors(include_input=False, include_url=False)[0]
    field = ".".join(map(str, first["loc"]))
    problem = first["msg"].removeprefix("Value error, ")
    return f"{field}: {problem}" if field else problem


def complete_settings(path: Path, settings: GridSettings) -> GridSettings:
    """Return the settings, with those that are None replaced by values from the sidecar, if any.

    The sidecar is ignored if the settings specify another layout.
    """
    sidecar = read_sidecar(path)
    if sidecar is None or (settings.layout and settings.layout != sidecar.layout):
        return settings

    known = {
        "layout": sidecar.layout,
        "grid": sidecar.packed,
        "order": sidecar.order,
        "template": sidecar.template or None,
        "dataset": sidecar.dataset or None,
        "axes": sidecar.axes or None,
    }
    if sidecar.layout == "video" and "{index" in sidecar.template:
        known["grid"] = (sidecar.rows, sidecar.cols)

    missing = {name: value for name, value in known.items() if getattr(settings, name) is None}
    return settings.model_copy(update=missing)


def is_in_line(path: Path, packed: tuple[int, int]) -> bool:
    """Return whether the sidecar states that all views of a sheet form one row of the grid.

    `packed` is the number of rows and columns of views in the sheet.
    """
    sidecar = read_sidecar(path)
    if sidecar is None or sidecar.packed != packed or packed[0] == 1:
        return False
    return (sidecar.rows, sidecar.cols) == (1, packed[0] * packed[1])


def list_positions(path: Path, settings: GridSettings) -> dict[str, tuple[int, int]]:
    """Map the stem of each file in a folder's sidecar to the row and column of its view.

    The result is empty if there is no sidecar, if its layout is neither "folder" nor "video", or if
    the settings specify a grid or contradict the sidecar.
    """
    sidecar = read_sidecar(path) if path.is_dir() else None
    if sidecar is None or sidecar.layout not in ("folder", "video"):
        return {}

    for name in ("layout", "order", "template"):
        if getattr(settings, name) not in (None, getattr(sidecar, name)):
            return {}
    if settings.grid is not None:
        return {}

    return {Path(v.path).stem: (v.row, v.col) for v in sidecar.views if v.path is not None}


def apply_sidecar(grid: Grid, sidecar: Sidecar) -> Grid:
    """Return the grid with the camera positions and the template from the sidecar.

    Views in a sheet or dataset also get the sidecar's row and column numbers, and views that the
    sidecar does not list become holes. If it lists none of them, the grid is unchanged.
    """
    packed = grid.packed is not None and grid.layout == sidecar.layout
    row, col = sidecar.first if packed and grid.first == (0, 0) else (0, 0)
    known = {(view.row, view.col): view for view in sidecar.views}

    views = []
    for view in grid.views:
        entry = known.get((view.row + row, view.col + col))
        if entry is None and packed:
            continue  # the sidecar lists no view here, so this place is a hole
        changed: dict[str, object] = {"row": view.row + row, "col": view.col + col}
        if entry is not None and entry.position is not None:
            changed |= {"x": entry.position[0], "y": entry.position[1]}
        views.append(view.model_copy(update=changed))
    if not views:
        return grid

    update: dict[str, object] = {"views": tuple(views)}
    if packed:
        update |= {"first": (row, col), "template": sidecar.template}
    elif not grid.template:
        update["template"] = sidecar.template
    return grid.model_copy(update=update)


def read_given_views(path: Path) -> dict[tuple[int, int], None]:
    """Return the (row, column) of each view that the sidecar of `path` marks as a reference.

    They are the keys of a dictionary, in the order of the sidecar, and its values are None. Without
    a sidecar, the dictionary is empty.
    """
    sidecar = read_sidecar(path)
    views = sidecar.views if sidecar is not None else ()
    return {(view.row, view.col): None for view in views if view.role == "reference"}


def find_holes(grid: Grid) -> list[tuple[int, int]]:
    """Return the (row, column) of every hole: a place in the grid that has no view."""
    (row, rows), (col, cols) = grid.rows, grid.cols
    filled = {(view.row, view.col) for view in grid.views}
    places = [(r, c) for r in range(row, row + rows) for c in range(col, col + cols)]
    return [place for place in places if place not in filled]
