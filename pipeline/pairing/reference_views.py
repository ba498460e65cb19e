"""Open a reference, and find the HR views of a light field by their names or layout."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from pipeline.errors import PairingError
from pipeline.lightfield import grids
from pipeline.lightfield.opening import VIDEOS, describe_grid, open_light_field
from pipeline.media.pictures import stills
from pipeline.media.read.probe import probe, probe_video, scan
from pipeline.recording import confine_recording, describe_in_child
from pipeline.schema.clip import Grid, LightField, Recording, View, parse_recording
from pipeline.schema.parsing import narrow_settings
from pipeline.schema.settings import GridSettings, ViewSettings

# Settings of a single-file input that also apply to a single-file reference.
_LAYOUT_SETTINGS = ("layout", "grid", "dataset", "axes")


def open_reference(
    path: str, settings: ViewSettings, lr: Recording, *, sandbox: bool = False
) -> Recording:
    """Describe the reference of `lr`: HR views for a light field, otherwise a video or stills.

    With `sandbox`, confined child processes open the reference now and decode it later.
    """
    if not isinstance(lr, LightField):
        return probe(str(Path(path).absolute()), sandbox=sandbox)
    if not sandbox:
        return find_hr_views(path, settings, lr)

    view_settings = narrow_settings(settings, ViewSettings)
    arguments = {
        "settings": view_settings.model_dump(mode="json", exclude_unset=True),
        "lr": lr.model_dump(mode="json"),
    }
    data = describe_in_child("pipeline.pairing.reference_views:find_hr_views", path, arguments)
    return confine_recording(parse_recording(data), path)


def find_hr_views(path: str, settings: ViewSettings, lr: LightField) -> Recording:
    """Describe the HR views: a light field of any layout, or one picture or video.

    Files named like the input's views are assumed to show those views. A sheet with neither a
    sidecar nor a layout in its name is read with the layout settings of the input. With --ref-view,
    only that view of a light field is used. Raises PairingError if a light field of several views
    does not contain it.
    """
    whole = Path(path).absolute()
    if settings.ref_position is not None or not whole.exists():
        return probe(str(whole))
    found = _find_views(whole, settings, lr)
    if found is not None and settings.ref_view is not None:
        found = _select_view(found, settings.ref_view, lr)
    return found or probe(str(whole))


def _find_views(whole: Path, settings: ViewSettings, lr: LightField) -> LightField | None:
    places = _map_names(lr)
    if whole.is_dir() and not (whole / "lightfield.json").is_file():
        grid = _find_named_views(whole, GridSettings(order=settings.order), places)
        if grid is not None:
            return describe_grid(whole, grid)
    found = open_light_field(whole)
    if found is not None or not whole.is_file() or settings.ref_view is not None:
        # with --ref-view, a picture shows that one view and is not a sheet, whatever its name is
        return found
    place = places.get(whole.stem)
    if place is not None:
        return describe_grid(whole, _make_lone_grid(whole, place))
    layout = {name: getattr(settings, name) for name in _LAYOUT_SETTINGS}
    if not places and any(value is not None for value in layout.values()):
        return open_light_field(whole, GridSettings(order=settings.order, **layout))
    return None


def _select_view(
    found: LightField, wanted_view: tuple[int, int] | str, lr: LightField
) -> LightField | None:
    """Return the light field with only the wanted view, or None if its only view is another.

    Raises PairingError if the light field has several views, but not the wanted one.
    """
    grid = found.grid
    row, col = find_shown_view(lr, wanted_view) or (None, None)
    position = None if row is None or col is None else grid.at(row, col)
    if position is not None:
        return describe_grid(
            Path(found.path), grid.model_copy(update={"views": (grid.views[position],)})
        )
    if len(grid.views) == 1:
        return None
    (top, rows), (left, cols) = grid.rows, grid.cols
    name = wanted_view if isinstance(wanted_view, str) else f"{row},{col}"
    raise PairingError(
        f"there is no view {name} in {found.path}; try another --ref-view ROW,COL in rows {top} to "
        f"{top + rows - 1} and columns {left} to {left + cols - 1}"
    )


def find_shown_view(lr: LightField, wanted_view: tuple[int, int] | str) -> tuple[int, int] | None:
    """Return the row and column of the view that --ref-view selects.

    The result is None for `center` in a grid with an even number of rows or columns, whose centre
    is between views.
    """
    if not isinstance(wanted_view, str):
        return wanted_view
    (top, rows), (left, cols) = lr.grid.rows, lr.grid.cols
    return None if rows % 2 == 0 or cols % 2 == 0 else (top + rows // 2, left + cols // 2)


def _map_names(lr: LightField) -> dict[str, tuple[int, int]]:
    """Map the stem of each view's first file to the view's row and column."""
    named = {}
    for view in lr.grid.views:
        file = view.clip.path if view.clip is not None else view.files[0] if view.files else None
        if file is not None:
            named[Path(file).stem] = (view.row, view.col)
    return named


def _make_lone_grid(file: Path, place: tuple[int, int]) -> Grid:
    """Return a grid with one view at `place`, read from a picture or a video."""
    row, col = place
    if file.suffix.lower() in stills.SUFFIXES:
        return Grid(layout="folder", views=(View(row=row, col=col, files=(str(file),)),))
    clip = probe_video(str(file))
    count = len(scan(clip).pts)
    view = View(row=row, col=col, clip=clip, frames=count)
    return Grid(layout="video", views=(view,), moments=count)


def _find_named_views(
    path: Path, settings: GridSettings, places: Mapping[str, tuple[int, int]]
) -> Grid | None:
    """Return the grid of the views in a folder.

    Files are matched to views by the names of the input's views or, failing that, by the row and
    column in their own names. The result is None if neither identifies any view.
    """
    for places_or_none, wanted in (
        (places, settings),
        (None, settings.model_copy(update={"layout": "folder"})),
    ):
        if places_or_none is not None and not places_or_none:
            continue
        grid = grids.find_folder_views(path, wanted, places_or_none)
        grid = grid or grids.find_sequence_views(path, wanted, places_or_none)
        grid = grid or grids.find_video_views(path, wanted, VIDEOS, places_or_none)
        if grid is not None:
            return grid
    return None
