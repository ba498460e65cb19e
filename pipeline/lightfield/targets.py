"""Choose the grid of an output: the input's layout and names, or another layout."""

from __future__ import annotations

import re
from pathlib import Path

from pipeline.errors import InputError
from pipeline.lightfield import hdf5, names
from pipeline.lightfield.packing import PACKED
from pipeline.media.container import MEGAPIXELS_VARIABLE, read_pixel_limit
from pipeline.media.pictures.stills import SUFFIXES
from pipeline.schema.clip import Grid, LightField, View

_LOSSLESS = frozenset({".png", ".ppm", ".tif", ".tiff", ".bmp"})
# Suffixes of names by which other programs recognise a layout.
_MARK = re.compile(r"(_qs\d+x\d+(?:a[\d.]+)?|_eslf)$", re.IGNORECASE)


def make_target_grid(
    clip: LightField, to: str | None, out: Path, template: str | None = None
) -> Grid:
    """Return the grid of an output at `out`, whose files do not exist yet.

    Without `to`, layout and names are the input's; lossy pictures become PNG. `template` renames
    the files of a folder or of videos.
    """
    grid = clip.grid
    to = to or grid.layout
    if to == "folder":
        return _folder(clip, grid, out, template)
    if to == "video":
        return _videos(clip, grid, out, template)
    if to == "h5":
        return _data_set(clip, grid, out)
    return _sheets(clip, grid, to)


def name_target(clip: LightField, to: str | None, mark: str) -> Path:
    """Return `<stem><mark>` beside the input, named so that other programs know its layout.

    `mark` names the operation, `_x4` for example.
    """
    given, grid = Path(clip.path), clip.grid
    same = to is None or to == grid.layout
    to = to or grid.layout
    ending = _MARK.search(given.stem)
    stem = given.stem[: ending.start()] if ending else given.stem
    if given.is_dir():
        stem = given.name
    if to in ("folder", "video") or (to in PACKED and not _one_file(grid, same)):
        return given.with_name(stem + mark)
    if to == "h5":
        ending_of = given.suffix.lower() if same else ".h5"
        return given.with_name(f"{stem}{mark}{ending_of}")
    suffix = given.suffix.lower() if same and given.is_file() else ".png"
    if suffix in (".jpg", ".jpeg", ".webp"):
        suffix = ".png"
    if same and ending and grid.packed and len(grid.views) == grid.packed[0] * grid.packed[1]:
        return given.with_name(f"{stem}{mark}{ending[1]}{suffix}")
    kind = ""
    if to == "quilt":
        cols, rows = grid.cols[1], grid.rows[1]
        kind = f"_qs{cols}x{rows}a{clip.width / clip.height:.4g}"
    return given.with_name(f"{stem}{mark}{kind}{suffix}")


def check_target(clip: LightField, to: str | None, out: Path) -> None:
    """Raise InputError for an output whose suffix does not fit the layout."""
    grid = clip.grid
    same = to is None or to == grid.layout
    to = to or grid.layout
    suffix = out.suffix.lower()
    if to in ("folder", "video") or (to in PACKED and not _one_file(grid, same)):
        if suffix in SUFFIXES | {".mp4", ".mkv", ".mov", ".h5"}:
            raise InputError(
                f"found the file name {out.name} for a {to}, expected the name of a folder; "
                f"try {out.with_suffix('').name}, or --to"
            )
        return
    video = same and grid.has_video_sheets
    fits = hdf5.SUFFIXES if to == "h5" else _LOSSLESS
    if (not video and suffix not in fits) or (video and suffix in _LOSSLESS):
        usual = ".mp4" if video else ".h5" if to == "h5" else ".png"
        raise InputError(
            f"found the name {out.name} for a {to}, expected one that ends in "
            f"{'the ending of a video' if video else ', '.join(sorted(fits))}; "
            f"try {out.stem}{usual}"
        )
    if to == "h5":
        hdf5.import_h5py(out)  # fail now, not after the views are enhanced


def check_sheet_size(grid: Grid, size: tuple[int, int]) -> None:
    """Raise InputError if the sheet of a target grid is too large to be read back.

    `size` is the height and width of a view.
    """
    if grid.layout not in PACKED or grid.packed is None:
        return
    height, width = size[0] * grid.packed[0], size[1] * grid.packed[1]
    limit, (rows, cols) = read_pixel_limit(), grid.packed
    if width * height > limit:
        raise InputError(
            f"found {rows}x{cols} views of {size[1]}x{size[0]}, a {grid.layout} of {width}x"
            f"{height}, expected at most {limit / 2**20:g} megapixels; try --to folder or --to h5, "
            f"or set {MEGAPIXELS_VARIABLE}"
        )


def _one_file(grid: Grid, same: bool) -> bool:
    """Return whether the sheets of an output are one file, a picture or a video of sheets."""
    return grid.moments == 1 or (same and grid.has_video_sheets)


def _lossless(suffix: str) -> str:
    return suffix if suffix.lower() in _LOSSLESS else ".png"


def _folder(clip: LightField, grid: Grid, out: Path, template: str | None) -> Grid:
    views = []
    named = _Names(grid, template, _lossless(Path(template or grid.template).suffix))
    for position, view in enumerate(grid.views):
        if grid.layout == "folder" and template is None:
            kept = [Path(file).relative_to(clip.path) for file in view.files]
            files = [out / file.with_suffix(_lossless(file.suffix)) for file in kept]
        else:
            name = named.of(view)
            files = [
                out / _moment_folder(moment, grid.moments) / name for moment in range(grid.moments)
            ]
        views.append(_moved(view, files=tuple(map(str, files)), frames=grid.moments))
        _check_frames(grid, position)
    return Grid(
        layout="folder",
        views=tuple(views),
        moments=grid.moments,
        order=grid.order,
        template=named.template,
    )


class _Names:
    """Names of the views' files: by the user's template, as the input's, or by its template."""

    def __init__(self, grid: Grid, asked: str | None, suffix: str) -> None:
        self._grid, self._asked, self._suffix = grid, asked, suffix
        template = asked or grid.template
        if not asked and (not template or "*" in template or "{x}" in template):
            template = names.DEFAULT
        self.template = str(Path(template).with_suffix(suffix))

    def of(self, view: View) -> str:
        """Return the name of a view's file."""
        if self._asked is None and (file := self._file(view)) is not None:
            return Path(file).stem + self._suffix
        (top, _), (left, cols) = self._grid.rows, self._grid.cols
        index = (view.row - top) * cols + view.col - left
        straight = self._grid.order == "row,col"
        row, col = (view.row, view.col) if straight else (view.col, view.row)
        return names.format_view_name(self.template, row, col, index)

    def _file(self, view: View) -> str | None:
        if self._grid.layout == "video":
            return view.clip.path if view.clip is not None else None
        return view.files[0] if self._grid.layout == "folder" else None


def _moment_folder(moment: int, moments: int) -> str:
    return f"frame_{moment:0{max(4, len(str(moments)))}}" if moments > 1 else ""


def _check_frames(grid: Grid, position: int) -> None:
    if grid.views[position].frames != grid.moments:
        raise InputError(
            f"found {grid.views[position].frames} frames in the camera at "
            f"({grid.views[position].row}, {grid.views[position].col}) and {grid.moments} in "
            "another, expected as many of all cameras for this layout; try --to video"
        )


def _videos(clip: LightField, grid: Grid, out: Path, template: str | None) -> Grid:
    views = []
    # MP4 takes no FFV1, which alone keeps 16 bits
    named = _Names(grid, template, ".mp4" if clip.bit_depth == 8 else ".mkv")
    for view in grid.views:
        kept = view.clip if template is None else None
        name = Path(kept.path).name if kept is not None else named.of(view)
        views.append(_moved(view, files=(str(out / name),), frames=view.frames))
    return Grid(
        layout="video",
        views=tuple(views),
        moments=grid.moments,
        order=grid.order,
        template=grid.template if grid.layout == "video" and not template else named.template,
    )


def _moved(view: View, *, files: tuple[str, ...], frames: int) -> View:
    return view.model_copy(update={"files": files, "clip": None, "frames": frames})


def _data_set(clip: LightField, grid: Grid, out: Path) -> Grid:
    for position in range(len(grid.views)):
        _check_frames(grid, position)
    dataset, axes = hdf5.WRITTEN
    given = Path(clip.path).suffix.lower()
    if out.suffix.lower() == ".mat":
        dataset, axes = hdf5.WRITTEN_MAT
        axes = axes + "t" if grid.moments > 1 else axes
    elif grid.layout == "h5" and grid.axes != "WH" and given != ".mat":
        dataset, axes = grid.dataset, grid.axes
    return _packed(grid, {"layout": "h5", "dataset": dataset, "axes": axes})


def _sheets(clip: LightField, grid: Grid, to: str) -> Grid:
    for position in range(len(grid.views)):
        _check_frames(grid, position)
    return _packed(grid, {"layout": to, "sheets": grid.sheets if to == grid.layout else None})


def _packed(grid: Grid, fields: dict[str, object]) -> Grid:
    """Return the grid with all views in one array, in the input's order or row by row."""
    same = fields["layout"] == grid.layout
    rows, cols = grid.rows, grid.cols
    if grid.line and same and len(grid.views) == cols[1] and grid.packed is not None:
        packed, line = grid.packed, len(grid.views) == grid.packed[0] * grid.packed[1]
        packed = packed if line else (1, cols[1])
    else:
        packed, line = (rows[1], cols[1]), False
        if grid.order == "col,row" and same:
            packed = packed[::-1]
    views = [view.model_copy(update={"files": (), "clip": None}) for view in grid.views]
    return Grid.model_validate(
        {
            "views": [view.model_copy(update={"frames": grid.moments}) for view in views],
            "moments": grid.moments,
            "packed": packed,
            "line": line,
            "first": (rows[0], cols[0]),
            "order": grid.order if same else "row,col",
            "template": grid.template,
            **fields,
        }
    )
