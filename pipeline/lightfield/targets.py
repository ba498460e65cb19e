"""Choose the layout and the file names of an output light field."""

from __future__ import annotations

import os
import re
from pathlib import Path

from pipeline.errors import InputError
from pipeline.lightfield import hdf5, names
from pipeline.lightfield.packing import PACKED
from pipeline.lightfield.sidecar import NAME as SIDECAR
from pipeline.media.container import MEGAPIXELS_VARIABLE, read_pixel_limit
from pipeline.media.join.capabilities import VIDEO_SUFFIXES
from pipeline.media.pictures.stills import DEVELOPED_SUFFIXES
from pipeline.schema.clip import Grid, LightField, View

_LOSSLESS_SUFFIXES = frozenset({".png", ".ppm", ".tif", ".tiff", ".bmp"})
# Endings of file names by which other programs recognise a layout.
_LAYOUT_MARK = re.compile(r"(_qs\d+x\d+(?:a[\d.]+)?|_eslf)$", re.IGNORECASE)


def make_target_grid(
    clip: LightField, to: str | None, out: Path, template: str | None = None
) -> Grid:
    """Return the grid of an output at `out`, whose files do not exist yet.

    Without `to`, the output has the input's layout and names, except that PNG replaces lossy
    formats. `template` renames the pictures or videos in a folder. Raises InputError if two files
    would get the same name or one would be outside `out`, or if the cameras differ in their number
    of frames and the layout does not allow that.
    """
    grid = clip.grid
    to = to or grid.layout
    if to in ("folder", "video"):
        make = _make_folder_grid if to == "folder" else _make_video_grid
        made = make(clip, grid, out, template)
        _check_names(made, out)
        return made
    if to == "h5":
        return _make_data_set_grid(clip, grid, out)
    return _make_sheet_grid(clip, grid, to)


def name_target(clip: LightField, to: str | None, mark: str) -> Path:
    """Return the path `<stem><mark>` beside the input, with an ending that suits the layout `to`.

    Other programs recognise some layouts by this ending, such as `_qs8x6a0.75.png`. `mark` is a
    short name for the operation, such as `_x4`.
    """
    source = Path(clip.path)
    grid = clip.grid
    same = to is None or to == grid.layout
    to = to or grid.layout

    ending = _LAYOUT_MARK.search(source.stem)
    stem = source.stem[: ending.start()] if ending else source.stem
    if source.is_dir():
        stem = source.name

    if to in ("folder", "video") or (to in PACKED and not _is_one_file(grid, same)):
        return source.with_name(stem + mark)
    if to == "h5":
        suffix = source.suffix.lower() if same else ".h5"
        return source.with_name(f"{stem}{mark}{suffix}")

    suffix = source.suffix.lower() if same and source.is_file() else ".png"
    if not (same and grid.has_video_sheets):
        suffix = _choose_lossless_suffix(suffix)
    if same and ending and grid.packed and len(grid.views) == grid.packed[0] * grid.packed[1]:
        return source.with_name(f"{stem}{mark}{ending[1]}{suffix}")

    kind = ""
    if to == "quilt":
        kind = f"_qs{grid.cols[1]}x{grid.rows[1]}a{clip.width / clip.height:.4g}"
    return source.with_name(f"{stem}{mark}{kind}{suffix}")


def check_target(clip: LightField, to: str | None, out: Path) -> None:
    """Raise InputError if the suffix of `out` does not suit the layout, or if h5py is missing.

    Only the layout "h5" needs h5py. Without `to`, the output has the input's layout.
    """
    grid = clip.grid
    same = to is None or to == grid.layout
    to = to or grid.layout
    suffix = out.suffix.lower()
    if to in ("folder", "video") or (to in PACKED and not _is_one_file(grid, same)):
        if suffix in DEVELOPED_SUFFIXES | VIDEO_SUFFIXES | hdf5.SUFFIXES:
            raise InputError(
                f"{out.name} is a file name, but the layout '{to}' needs a folder; "
                f"try {out.with_suffix('').name}, or another --to"
            )
        return

    video = same and grid.has_video_sheets
    allowed = hdf5.SUFFIXES if to == "h5" else _LOSSLESS_SUFFIXES
    if (not video and suffix not in allowed) or (video and suffix in _LOSSLESS_SUFFIXES):
        usual = ".mp4" if video else ".h5" if to == "h5" else ".png"
        raise InputError(
            f"{out.name} does not suit the layout '{to}'; expected a name that ends in "
            f"{'a video suffix' if video else ', '.join(sorted(allowed))}; "
            f"try {out.stem}{usual}"
        )
    if to == "h5":
        hdf5.import_h5py(out)  # fail now, not after the views have been enhanced


def check_replaceable(folder: Path) -> None:
    """Raise InputError unless --force may replace `folder`.

    It may replace an empty folder, or a light field that this program wrote: one that contains a
    sidecar and, besides that, only pictures and videos, at any depth.
    """
    files = sorted(file for file in folder.rglob("*") if file.is_symlink() or not file.is_dir())
    if not files:
        return

    if not (folder / SIDECAR).is_file():
        raise InputError(
            f"--force would replace all of {folder}, which has no {SIDECAR} and so is not a "
            "light field that this program wrote; try another -o"
        )
    written = DEVELOPED_SUFFIXES | VIDEO_SUFFIXES
    for file in files:
        is_written = file.suffix.lower() in written or file == folder / SIDECAR
        if file.is_symlink() or not is_written:
            raise InputError(
                f"--force would replace all of {folder}, including {file.relative_to(folder)}, "
                "which is not part of a light field; try another -o"
            )


def check_sheet_size(grid: Grid, size: tuple[int, int]) -> None:
    """Raise InputError if the sheet of a target grid would be too large to read back.

    `size` is the height and width of a view.
    """
    if grid.layout not in PACKED or grid.packed is None:
        return

    rows, cols = grid.packed
    height = size[0] * rows
    width = size[1] * cols
    limit = read_pixel_limit()
    if width * height > limit:
        raise InputError(
            f"{rows}x{cols} views of {size[1]}x{size[0]} need a {grid.layout} of {width}x{height}, "
            f"but the limit is {limit / 2**20:g} megapixels; try --to folder or --to h5, or "
            f"increase {MEGAPIXELS_VARIABLE}"
        )


def _check_names(grid: Grid, out: Path) -> None:
    """Raise InputError unless the views' files are all different and inside `out`."""
    out = Path(os.path.normpath(out))
    places = [os.path.normpath(file) for view in grid.views for file in view.files]
    outside = [place for place in places if out not in Path(place).parents]
    if outside:
        raise InputError(
            f"a view would be written to {outside[0]}, which is not inside {out}; "
            "rename the files of the input, or correct the plan"
        )
    if len(set(places)) < len(places):
        raise InputError(
            f"several views would be written to the same file in {out}; rename them with "
            f"--names '{names.DEFAULT}'"
        )


def _is_one_file(grid: Grid, same: bool) -> bool:
    """Return whether all sheets of an output are in one file, a picture or a video.

    `same` states whether the output has the input's layout.
    """
    return grid.moments == 1 or (same and grid.has_video_sheets)


def _choose_lossless_suffix(suffix: str) -> str:
    return suffix if suffix.lower() in _LOSSLESS_SUFFIXES else ".png"


def _make_folder_grid(clip: LightField, grid: Grid, out: Path, template: str | None) -> Grid:
    file_names = _FileNames(
        grid, template, _choose_lossless_suffix(Path(template or grid.template).suffix)
    )
    views = []
    for position, view in enumerate(grid.views):
        if grid.layout == "folder" and template is None:
            relative = [_make_relative(file, clip.path) for file in view.files]
            files = [
                out / file.with_suffix(_choose_lossless_suffix(file.suffix)) for file in relative
            ]
        else:
            name = file_names.format_name(view)
            files = [
                out / _name_moment_folder(moment, grid.moments) / name
                for moment in range(grid.moments)
            ]
        views.append(_replace_files(view, files=tuple(map(str, files)), frames=grid.moments))
        _check_frame_count(grid, position)

    return Grid(
        layout="folder",
        views=tuple(views),
        moments=grid.moments,
        order=grid.order,
        template=file_names.template,
    )


def _make_relative(file: str, folder: str) -> Path:
    """Return the path of a file relative to `folder`; raise InputError if it is outside."""
    if not Path(file).is_relative_to(folder):
        raise InputError(f"the view {file} is not inside the light field {folder}; make a new plan")
    return Path(file).relative_to(folder)


class _FileNames:
    """Names the output's files: by the user's template or, without one, like the input's files."""

    def __init__(self, grid: Grid, user_template: str | None, suffix: str) -> None:
        self._grid = grid
        self._user_template = user_template
        self._suffix = suffix

        template = user_template or grid.template
        if not user_template and (not template or "*" in template or "{x}" in template):
            template = names.DEFAULT
        self.template = str(Path(template).with_suffix(suffix))

    def format_name(self, view: View) -> str:
        """Return the name of a view's file in the output."""
        if self._user_template is None and (file := self._find_source(view)) is not None:
            return Path(file).stem + self._suffix

        top, _ = self._grid.rows
        left, cols = self._grid.cols
        index = (view.row - top) * cols + view.col - left
        straight = self._grid.order == "row,col"
        row, col = (view.row, view.col) if straight else (view.col, view.row)
        return names.format_view_name(self.template, row, col, index)

    def _find_source(self, view: View) -> str | None:
        """Return the view's file in the input; None if it shares a file with other views."""
        if self._grid.layout == "video":
            return view.clip.path if view.clip is not None else None
        return view.files[0] if self._grid.layout == "folder" else None


def _name_moment_folder(moment: int, moments: int) -> str:
    return f"frame_{moment:0{max(4, len(str(moments)))}}" if moments > 1 else ""


def _check_frame_count(grid: Grid, position: int) -> None:
    if grid.views[position].frames != grid.moments:
        raise InputError(
            f"the camera at ({grid.views[position].row}, {grid.views[position].col}) has "
            f"{grid.views[position].frames} frames, but another has {grid.moments}; this layout "
            "needs the same number from all cameras; try --to video"
        )


def _make_video_grid(clip: LightField, grid: Grid, out: Path, template: str | None) -> Grid:
    # only FFV1 preserves 16 bits, and MP4 cannot contain FFV1
    file_names = _FileNames(grid, template, ".mp4" if clip.bit_depth == 8 else ".mkv")
    views = []
    for view in grid.views:
        source = view.clip if template is None else None
        name = file_names.format_name(view) if source is None else Path(source.path).name
        views.append(_replace_files(view, files=(str(out / name),), frames=view.frames))

    return Grid(
        layout="video",
        views=tuple(views),
        moments=grid.moments,
        order=grid.order,
        template=grid.template if grid.layout == "video" and not template else file_names.template,
    )


def _replace_files(view: View, *, files: tuple[str, ...], frames: int) -> View:
    return view.model_copy(update={"files": files, "clip": None, "frames": frames})


def _make_data_set_grid(clip: LightField, grid: Grid, out: Path) -> Grid:
    for position in range(len(grid.views)):
        _check_frame_count(grid, position)

    dataset, axes = hdf5.WRITTEN
    source_suffix = Path(clip.path).suffix.lower()
    if out.suffix.lower() == ".mat":
        dataset, axes = hdf5.WRITTEN_MAT
        axes = axes + "t" if grid.moments > 1 else axes
    elif grid.layout == "h5" and grid.axes != "WH" and source_suffix != ".mat":
        dataset = grid.dataset
        axes = grid.axes
    return _pack_views(grid, {"layout": "h5", "dataset": dataset, "axes": axes})


def _make_sheet_grid(clip: LightField, grid: Grid, to: str) -> Grid:
    for position in range(len(grid.views)):
        _check_frame_count(grid, position)
    return _pack_views(grid, {"layout": to, "sheets": grid.sheets if to == grid.layout else None})


def _pack_views(grid: Grid, fields: dict[str, object]) -> Grid:
    """Return the grid with all views in one sheet or dataset.

    The views keep their arrangement if the layout stays the same; otherwise they are arranged row
    by row.
    """
    same = fields["layout"] == grid.layout
    first_row, rows = grid.rows
    first_col, cols = grid.cols

    if grid.line and same and len(grid.views) == cols and grid.packed is not None:
        line = len(grid.views) == grid.packed[0] * grid.packed[1]
        packed = grid.packed if line else (1, cols)
    else:
        line = False
        packed = (rows, cols)
        if grid.order == "col,row" and same:
            packed = packed[::-1]

    views = [view.model_copy(update={"files": (), "clip": None}) for view in grid.views]
    return Grid.model_validate(
        {
            "views": [view.model_copy(update={"frames": grid.moments}) for view in views],
            "moments": grid.moments,
            "packed": packed,
            "line": line,
            "first": (first_row, first_col),
            "order": grid.order if same else "row,col",
            "template": grid.template,
            **fields,
        }
    )
