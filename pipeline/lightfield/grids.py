"""Find the views of each layout: folders, sequences, sheets, datasets and videos."""

from __future__ import annotations

import configparser
from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

from pipeline.errors import InputError
from pipeline.lightfield import hdf5 as h5
from pipeline.lightfield import names
from pipeline.lightfield.packing import check_count, divide_sheet
from pipeline.lightfield.rig import add_named_positions, add_positions
from pipeline.media.pictures import stills
from pipeline.media.read.probe import probe, probe_video, scan
from pipeline.paths import read_limited
from pipeline.schema.clip import Grid, View
from pipeline.schema.settings import GridSettings

_MOST_BYTES = 16_000_000  # limit on the size of parameters.cfg


@dataclass(frozen=True)
class ViewSize:
    """The size and bit depth of the views."""

    width: int
    height: int
    bits: int


# Maps the stem of a view's file to the row and column of the view.
GridPositions = Mapping[str, tuple[int, int]]


def find_folder_views(
    path: Path, wanted: GridSettings, places: GridPositions | None = None
) -> Grid | None:
    """Return the grid of a folder of pictures; None if their names do not identify views.

    With `places`, only the files listed there are views, at the listed rows and columns. Raises
    InputError if the names do not match the settings, or if two files belong to one view.
    """
    found = _place_files(path, _list_pictures(path), wanted, names.KNOWN, places)
    if found is None:
        return None
    template, views = found
    return Grid(layout="folder", views=views, order=wanted.order or "row,col", template=template)


def _list_pictures(path: Path) -> list[Path]:
    """Return the pictures in a folder, except hidden ones, in the natural order of their names."""
    files = [p for p in path.iterdir() if p.is_file() and not p.name.startswith(".")]
    files = [p for p in files if p.suffix.lower() in stills.DEVELOPED_SUFFIXES]
    return sorted(files, key=lambda p: stills.natural_key(p.name))


def _place_files(
    path: Path,
    files: Sequence[Path],
    wanted: GridSettings,
    known: Sequence[str],
    positions: GridPositions | None = None,
) -> tuple[str, tuple[View, ...]] | None:
    """Return the names' template (empty with `positions`) and the views; None if there are none."""
    if positions is not None:
        files = [file for file in files if file.stem in positions]
    if not files:
        return None

    if positions is not None:
        placed = sorted((positions[file.stem], str(file)) for file in files)
        found = [View(row=row, col=col, files=(file,)) for (row, col), file in placed]
        _check_places(path, found)
        return "", tuple(found)

    stems = [file.stem for file in files]
    template = Path(wanted.template).stem if wanted.template else names.guess_template(stems, known)
    if template is None:
        return None
    named = names.match_names(template, stems)
    if wanted.template and not named:
        raise InputError(
            f"no file in {path} matches '{wanted.template}'; the names there look like "
            f"{files[0].name}; correct --template"
        )

    places = _read_places(path, named, wanted)
    if places is None:
        return None

    by_stem = {file.stem: file for file in reversed(files)}
    views = [
        View(row=row, col=col, files=(str(by_stem[stem]),)) for stem, (row, col) in places.items()
    ]
    views.sort(key=lambda view: (view.row, view.col))
    _check_places(path, views)

    is_described = wanted.template or wanted.layout
    if not is_described and not _is_plausible(views, known_name=template in known):
        return None
    _check_stems(path, [file for file in files if file.stem in places])
    ending = files[0].suffix
    return names.pad_template(template, stems) + ending, add_named_positions(views, named, by_stem)


def _read_places(
    path: Path, named: dict[str, names.ViewName], wanted: GridSettings
) -> dict[str, tuple[int, int]] | None:
    """Map each stem to its row and column; None if it is unknown how many views form a line."""
    indices = [name.index for name in named.values() if name.index is not None]
    if not indices:
        swap = wanted.order == "col,row"
        return {
            stem: (name.col, name.row) if swap else (name.row, name.col)
            for stem, name in named.items()
            if name.row is not None and name.col is not None
        }

    cols = _count_columns(path, indices, wanted)
    if cols is None:
        return None

    start = 0 if min(indices) == 0 or cols > max(indices) else min(indices)
    places = {}
    for stem, name in named.items():
        assert name.index is not None
        row, col = divmod(name.index - start, cols)
        places[stem] = (col, row) if wanted.order == "col,row" else (row, col)
    return places


def _count_columns(path: Path, indices: list[int], wanted: GridSettings) -> int | None:
    """Return how many consecutively numbered views form a line of the grid; None if unknown.

    A line is a row or, if the views are numbered column by column, a column. Its length comes from
    --grid, from num_cams_x in HCI's parameters.cfg, or from the number of views if it is a square.
    """
    if wanted.grid is not None:
        return wanted.grid[1] if wanted.order != "col,row" else wanted.grid[0]

    parameters = path / "parameters.cfg"
    if parameters.is_file():
        parser = configparser.ConfigParser(interpolation=None)
        try:
            parser.read_string(read_limited(parameters, _MOST_BYTES).decode(errors="replace"))
            columns = parser.getint("extrinsics", "num_cams_x")
            check_count(1, columns, parameters)
            return columns
        except (OSError, configparser.Error, ValueError) as error:
            raise InputError(
                f"found no valid num_cams_x in the section [extrinsics] of {parameters}; expected "
                "the number of cameras in a row, as HCI writes it; pass --grid ROWSxCOLS"
            ) from error

    across = round(len(indices) ** 0.5)
    return across if across * across == len(indices) else None


def _check_places(path: Path, views: Sequence[View]) -> None:
    for first, second in pairwise(views):
        if (first.row, first.col) == (second.row, second.col):
            raise InputError(
                f"there are two files for view ({first.row}, {first.col}) in {path} "
                f"({Path(first.files[0]).name} and {Path(second.files[0]).name}); "
                "move one elsewhere, or pass --template"
            )


def _check_stems(path: Path, files: Sequence[Path]) -> None:
    """Raise InputError if the names of two files differ only in their suffixes."""
    by_stem: dict[str, Path] = {}
    for file in files:
        other = by_stem.setdefault(file.stem, file)
        if other != file:
            raise InputError(
                f"there are two files for one view in {path} ({other.name} and {file.name}); move "
                "one elsewhere"
            )


def _is_plausible(views: Sequence[View], *, known_name: bool) -> bool:
    """Return whether the numbers in the file names fill a grid, unlike numbers in timestamps."""
    rows = {view.row for view in views}
    cols = {view.col for view in views}
    filled = len(views) >= names.FILLED * (max(rows) - min(rows) + 1) * (max(cols) - min(cols) + 1)
    if known_name and len(views) >= 2 and filled:
        return True
    return len(views) >= names.LEAST_VIEWS and min(len(rows), len(cols)) > 1 and filled


def find_sequence_views(
    path: Path, wanted: GridSettings, positions: GridPositions | None = None
) -> Grid | None:
    """Return the grid of a folder with a subfolder for each moment; None for any other folder.

    Raises InputError if the subfolders have different views.
    """
    folders = sorted(
        (p for p in path.iterdir() if p.is_dir() and not p.name.startswith(".")),
        key=lambda p: stills.natural_key(p.name),
    )
    grids = [
        grid for sub in folders if (grid := find_folder_views(sub, wanted, positions)) is not None
    ]
    if not grids or len(grids) < len(folders):
        return None

    first = grids[0]
    places = [[(v.row, v.col) for v in grid.views] for grid in grids]
    for sub, found in zip(folders, places, strict=True):
        if found != places[0]:
            odd = sorted(set(found) ^ set(places[0]))
            raise InputError(
                f"the views in {sub.name} ({len(found)}) are not the same as those in "
                f"{folders[0].name} ({len(places[0])}); the first that differs is view {odd[0]}; "
                "complete the views of that moment, or move its folder elsewhere"
            )

    views = [
        view.model_copy(update={"files": tuple(grid.views[i].files[0] for grid in grids)})
        for i, view in enumerate(first.views)
    ]
    views = [view.model_copy(update={"frames": len(grids)}) for view in views]
    return first.model_copy(update={"views": tuple(views), "moments": len(grids)})


def make_sheet_grid(
    path: Path,
    layout: str,
    packed: tuple[int, int],
    *,
    order: str = "row,col",
    line: bool = False,
) -> Grid:
    """Return the grid of the views in sheets, which are pictures or the frames of a video.

    `packed` is the number of rows and columns of views in a sheet. With `line`, all views form one
    row of the grid, as in a quilt. Raises InputError if the sheets cannot be divided evenly.
    """
    recording = probe(str(path))
    moments = len(scan(recording).pts)
    divide_sheet(layout, packed, recording.height, recording.width)

    rows, cols = packed if order == "row,col" else packed[::-1]
    if line:
        rows = 1
        cols = packed[0] * packed[1]
    views = [View(row=row, col=col, frames=moments) for row in range(rows) for col in range(cols)]

    return Grid.model_validate(
        {
            "layout": layout,
            "views": views,
            "moments": moments,
            "order": order,
            "packed": packed,
            "line": line,
            "sheets": recording,
        }
    )


def make_hdf5_grid(path: Path, wanted: GridSettings) -> Grid:
    """Return the grid of an HDF5 or MATLAB file; raises InputError if it contains no views."""
    shape = h5.describe_data_set(path, wanted.dataset, wanted.axes, wanted.grid)
    order = wanted.order or "row,col"
    rows, cols = (shape.rows, shape.cols) if order == "row,col" else (shape.cols, shape.rows)
    views = [
        View(row=row, col=col, frames=shape.moments) for row in range(rows) for col in range(cols)
    ]
    return Grid(
        layout="h5",
        views=tuple(views),
        moments=shape.moments,
        packed=(shape.rows, shape.cols),
        order=order,
        dataset=shape.dataset,
        axes=shape.axes,
    )


def find_video_views(
    path: Path, wanted: GridSettings, suffixes: Set[str], positions: GridPositions | None = None
) -> Grid | None:
    """Return the grid of a folder of videos, one per camera, like `find_folder_views`."""
    files = [p for p in path.iterdir() if p.suffix.lower() in suffixes and p.is_file()]
    files.sort(key=lambda p: stills.natural_key(p.name))
    if len(files) < 2 and positions is None:
        return None

    found = _place_files(path, files, wanted, names.CAMERAS, positions)
    if found is None and wanted.grid is None and positions is None:
        # cameras without a grid form a line, in the order of their numbers
        line = wanted.model_copy(update={"grid": (1, 1_000_000), "layout": "video"})
        found = _place_files(path, files, line, names.CAMERAS)
    if found is None:
        return None

    template, placed = found
    views = []
    for view in placed if positions is not None else add_positions(path, placed):
        clip = probe_video(view.files[0])
        count = len(scan(clip).pts)
        views.append(view.model_copy(update={"files": (), "clip": clip, "frames": count}))

    moments = max(view.frames for view in views)
    order = wanted.order or "row,col"
    return Grid(layout="video", views=tuple(views), moments=moments, order=order, template=template)


def crop_grid(grid: Grid, wanted: tuple[int, int] | None) -> Grid:
    """Return the grid cropped to its central `wanted` rows and columns; None keeps all of it.

    If an odd number of rows or columns is removed, the end loses one more than the start. Raises
    InputError if the grid has fewer rows or columns, or if either number is below 1.
    """
    if wanted is None:
        return grid

    row, rows = grid.rows
    col, cols = grid.cols
    if not (0 < wanted[0] <= rows and 0 < wanted[1] <= cols):
        raise InputError(
            f"--crop-grid {wanted[0]}x{wanted[1]} does not fit {rows}x{cols} views; expected 1x1 "
            f"to {rows}x{cols}; try --crop-grid {min(rows, 8)}x{min(cols, 8)}"
        )

    top = row + (rows - wanted[0]) // 2
    left = col + (cols - wanted[1]) // 2
    central = [
        view
        for view in grid.views
        if 0 <= view.row - top < wanted[0] and 0 <= view.col - left < wanted[1]
    ]
    return grid.model_copy(update={"views": tuple(central)})


def list_files(path: Path, grid: Grid) -> list[Path]:
    """Return every file that contains views."""
    if grid.sheets is not None:
        return [Path(file) for file in grid.sheets.files] or [Path(grid.sheets.path)]
    if grid.layout == "h5":
        return [path]
    clips = [Path(view.clip.path) for view in grid.views if view.clip is not None]
    return clips or [Path(file) for view in grid.views for file in view.files]


def measure_views(path: Path, grid: Grid) -> ViewSize:
    """Return the size and bit depth of the views.

    Raises InputError if pictures differ in size or bit depth.
    """
    if grid.sheets is not None:
        sheet = grid.sheets
        height, width = divide_sheet(grid.layout, grid.tiling, sheet.height, sheet.width)
        return ViewSize(width, height, sheet.bit_depth)
    if grid.layout == "h5":
        shape = h5.describe_data_set(
            path, grid.dataset, grid.axes if grid.axes != "WH" else None, grid.packed
        )
        return ViewSize(shape.width, shape.height, shape.bits)

    clip = grid.views[0].clip
    if clip is not None:
        return ViewSize(clip.width, clip.height, clip.bit_depth)

    files = list_files(path, grid)
    sizes = [stills.read_header(file)[:3] for file in files]
    for file, size in zip(files, sizes, strict=True):
        if size != sizes[0]:
            raise InputError(
                f"{file} is {size[0]}x{size[1]} with {size[2]} bits, but {files[0].name} is "
                f"{sizes[0][0]}x{sizes[0][1]} with {sizes[0][2]} bits; expected the same size and "
                f"bit depth for all views; move {file.name} elsewhere"
            )
    return ViewSize(*sizes[0])
