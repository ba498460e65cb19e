"""Open light fields: detect their layouts and find their views."""

from __future__ import annotations

import re
from fractions import Fraction
from pathlib import Path

from pipeline.errors import InputError
from pipeline.lightfield import grids
from pipeline.lightfield.hdf5 import SUFFIXES as HDF5_SUFFIXES
from pipeline.lightfield.names import guess_counter
from pipeline.lightfield.packing import PACKED, check_count
from pipeline.lightfield.rig import refuse_fisheye
from pipeline.lightfield.sidecar import (
    apply_sidecar,
    complete_settings,
    is_in_line,
    list_positions,
    read_sidecar,
)
from pipeline.media.pictures import stills
from pipeline.media.read.identity import fingerprint
from pipeline.paths import refuse_special
from pipeline.schema.clip import Grid, LightField
from pipeline.schema.colour import Colour
from pipeline.schema.settings import GridSettings

# File suffixes of Lytro's containers of raw lenslet pictures.
RAW = frozenset({".lfp", ".lfr", ".lfx"})
VIDEOS = frozenset({".mp4", ".mov", ".mkv", ".webm", ".avi", ".m4v", ".ts"})
# File names of quilts (Looking Glass puts columns before rows) and of Lytro's lenslet pictures.
_QUILT = re.compile(r".*_qs(\d+)x(\d+)(?:a[\d.]+)?", re.IGNORECASE)
_ESLF = re.compile(r".*(?:_eslf|_qs14x14.*)", re.IGNORECASE)
LYTRO = (14, 14)  # rows and columns of views in Lytro's lenslet pictures
_DEFAULT_FRAME_RATE = Fraction(25)  # moments per second if the views are pictures


def require_light_field(path: str | Path, settings: GridSettings | None = None) -> LightField:
    """Describe the light field at `path`; raises InputError if there is none."""
    clip = open_light_field(path, settings)
    if clip is None:
        raise InputError(
            f"found no light field in {path}; expected views named like view_00_00.png, or a sheet "
            "of views with --layout and --grid; see `pipeline probe`"
        )
    return clip


def open_light_field(path: str | Path, settings: GridSettings | None = None) -> LightField | None:
    """Describe the light field at `path`, or return None if there is none.

    The settings take precedence over the sidecar, and both over file names. Raises InputError if
    the files do not have the layout that the settings or the sidecar describe, if the views differ
    in size, or if other tools must convert the input first (Lytro containers, fisheye arrays).
    """
    path = Path(path).absolute()
    refuse_special(path)
    refuse_raw(path)
    wanted = complete_settings(path, settings or GridSettings())
    if not path.exists():
        if has_layout(wanted):
            raise InputError(f"there is nothing at {path}; expected a light field; check the path")
        return None

    refuse_fisheye(path)
    places = list_positions(path, settings or GridSettings())
    grid = _find_grid(path, wanted, places) if places else None
    grid = grid or _find_grid(path, wanted)
    if grid is None:
        if has_layout(wanted):
            _refuse_counted_views(path, wanted)
            raise InputError(
                f"found no light field in {path}; expected views named like view_00_00.png, "
                "a sheet of views with --layout and --grid, or videos named like cam00.mp4; "
                "check the layout with `pipeline probe`"
            )
        return None

    _check_grid_size(path, grid, settings or GridSettings())
    sidecar = read_sidecar(path)
    if sidecar is not None:
        grid = apply_sidecar(grid, sidecar)
    clip = describe_grid(path, grids.crop_grid(grid, wanted.crop_grid))
    if sidecar is not None and sidecar.fps is not None and grid.layout != "video":
        clip = clip.model_copy(update={"frame_rate": Fraction(sidecar.fps)})
    return clip


def _check_grid_size(path: Path, grid: Grid, settings: GridSettings) -> None:
    """Raise InputError if numbered views do not fit into the grid that the user stated."""
    if settings.grid is None or "{index" not in grid.template or grid.packed is not None:
        return

    rows, cols = settings.grid
    (top, height), (left, width) = grid.rows, grid.cols
    if top + height > rows or left + width > cols:
        raise InputError(
            f"--grid {rows}x{cols} has {rows * cols} views, but the numbers of the "
            f"{len(grid.views)} views in {path} reach beyond it; state the whole grid with --grid, "
            "and use --crop-grid to leave views out"
        )


def _refuse_counted_views(path: Path, wanted: GridSettings) -> None:
    """Raise InputError if the pictures' names differ in just one number, and suggest a template."""
    if not path.is_dir() or wanted.layout not in (None, "folder") or wanted.template:
        return

    files = [file for file in path.iterdir() if file.suffix.lower() in stills.DEVELOPED_SUFFIXES]
    template = guess_counter([file.stem for file in files])
    if template is None:
        return
    size = "" if wanted.grid else " --grid ROWSxCOLS"
    raise InputError(
        f"the names of the pictures in {path} differ in only one number; expected a row and a "
        f"column, or a template for that number; try --template '{template}'{size}"
    )


def has_layout(settings: GridSettings) -> bool:
    """Return whether the user or a sidecar has set any of the settings."""
    return any(getattr(settings, name) is not None for name in GridSettings.model_fields)


def refuse_raw(path: Path) -> None:
    """Raise InputError if `path` is a Lytro container, or a folder with containers but no pictures.

    Decoding a container needs the camera's calibration.
    """
    found = [path] if path.suffix.lower() in RAW else []
    if path.is_dir():
        found = [file for file in path.iterdir() if file.suffix.lower() in RAW]
        if any(file.suffix.lower() in stills.DEVELOPED_SUFFIXES for file in path.iterdir()):
            found = []
    if found:
        raise InputError(
            f"{found[0]} is a Lytro container; expected decoded views; decode it with plenopticam "
            "or the Light Field Toolbox (MATLAB), which need the white images of the same camera, "
            "and pass the folder of views or the _eslf.png that they write"
        )


def _find_grid(
    path: Path, wanted: GridSettings, places: grids.GridPositions | None = None
) -> Grid | None:
    """Return the grid of the views in a file or folder; None if it is not a light field.

    With `places`, files in a folder that are not listed there are ignored.
    """
    if path.is_file():
        return _read_file_grid(path, wanted)
    if wanted.layout in ("stereo", *PACKED):
        return _read_sheet_grid(path, wanted)

    if wanted.layout in (None, "folder"):
        grid = grids.find_folder_views(path, wanted, places) or grids.find_sequence_views(
            path, wanted, places
        )
        if grid is not None:
            return grid
    if wanted.layout in (None, "video"):
        return grids.find_video_views(path, wanted, VIDEOS, places)
    return None


def _read_file_grid(path: Path, wanted: GridSettings) -> Grid | None:
    """Return the grid of the views in a dataset or in sheets; None for any other file."""
    suffix = path.suffix.lower()
    if suffix in HDF5_SUFFIXES:
        return grids.make_hdf5_grid(path, wanted)
    if suffix not in stills.DEVELOPED_SUFFIXES | VIDEOS:
        return None

    if wanted.layout is None and wanted.grid is None:
        if _ESLF.fullmatch(path.stem) and suffix in stills.DEVELOPED_SUFFIXES:
            wanted = wanted.model_copy(update={"layout": "lenslet", "grid": LYTRO})
        elif match := _QUILT.fullmatch(path.stem):
            packed = (int(match[2]), int(match[1]))
            return grids.make_sheet_grid(path, "quilt", packed, line=True)
    elif wanted.layout == "quilt" and wanted.grid is None and (m := _QUILT.fullmatch(path.stem)):
        return grids.make_sheet_grid(path, "quilt", (int(m[2]), int(m[1])), line=True)

    if wanted.layout in ("stereo", *PACKED) or wanted.grid is not None:
        return _read_sheet_grid(path, wanted)
    return None


def _read_sheet_grid(path: Path, wanted: GridSettings) -> Grid:
    """Return the grid of the views in one or more sheets.

    Raises InputError if the layout or the grid is unknown, or if a number of the grid is below 1.
    """
    layout = wanted.layout
    grid = wanted.grid
    if layout == "stereo":
        layout = "mosaic"
        grid = grid or (1, 2)
    if layout == "lenslet" and grid is None:
        grid = LYTRO

    if layout is None or grid is None:
        missing = "--layout lenslet, mosaic or quilt" if layout is None else "--grid ROWSxCOLS"
        raise InputError(
            f"the arrangement of the views in {path} is unknown; pass {missing}, for example "
            "--layout mosaic --grid 8x8"
        )
    if min(grid) < 1:
        raise InputError(
            f"--grid {grid[0]}x{grid[1]} is not valid; expected two numbers above 0; try --grid 8x8"
        )

    order = wanted.order or "row,col"
    return grids.make_sheet_grid(path, layout, grid, order=order, line=is_in_line(path, grid))


def describe_grid(path: Path, grid: Grid) -> LightField:
    """Describe the light field at `path` whose views are those of `grid`.

    Raises InputError if there are too many views, if they differ in size, or if they are pictures
    that differ in bit depth.
    """
    check_count(grid.rows[1], grid.cols[1], path)
    files = grids.list_files(path, grid)
    first = grids.measure_views(path, grid)
    if grid.views[0].clip is not None:
        for view in grid.views:
            found = (view.video.width, view.video.height)
            if found != (first.width, first.height):
                raise InputError(
                    f"{view.video.path} is {found[0]}x{found[1]}, but the first video is "
                    f"{first.width}x{first.height}; expected the same size for all views; scale or "
                    "crop the videos first"
                )

        source = grid.views[0].clip
        colour = source.colour
        codec = source.codec
        pix_fmt = source.pix_fmt
        rate = source.frame_rate
    else:
        colour = Colour(used_matrix="rgb", used_range="full")
        codec = Path(files[0]).suffix[1:]
        rate = grid.sheet_clip.frame_rate if grid.has_video_sheets else _DEFAULT_FRAME_RATE
        pix_fmt = "rgb48le" if first.bits > 8 else "rgb24"

    return LightField(
        path=str(path),
        files=tuple(str(file) for file in files),
        codec=codec.lower(),
        pix_fmt=pix_fmt,
        bit_depth=first.bits,
        width=first.width,
        height=first.height,
        time_base=1 / _DEFAULT_FRAME_RATE,
        frame_rate=rate,
        duration_pts=grid.count,
        colour=colour,
        size_bytes=sum(file.stat().st_size for file in files),
        fingerprint=fingerprint(files),
        grid=grid,
    )
