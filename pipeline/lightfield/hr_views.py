"""The reference of a light field: which views it holds, found by their names or by its layout."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from pipeline.lightfield import layouts
from pipeline.lightfield.opening import VIDEOS, describe, open_light_field, told
from pipeline.media.probe import probe
from pipeline.schema import Clip, Grid
from pipeline.settings import GridSettings, RunSettings


def open_reference(path: str, settings: RunSettings, lr: Clip) -> Clip:
    """Describe the HR views: a light field of any layout, or one picture or video.

    Views are found by the names they have in the input; a sheet without a sidecar or a telling
    name is taken to lie as the input's does.
    """
    whole = Path(path).absolute()
    if settings.ref_view is not None or settings.ref_position is not None or not whole.exists():
        return probe(str(whole))
    if whole.is_dir() and not (whole / "lightfield.json").is_file():
        places = _names(lr)
        asked = GridSettings(layout=None, order=settings.order)
        grid = _named(whole, asked, places)
        if grid is not None:
            return describe(whole, grid)
    found = open_light_field(whole)
    if found is None and told(settings) and whole.is_file():
        found = open_light_field(whole, settings)
    if found is None and whole.is_file():
        place = _names(lr).get(whole.stem)
        if place is not None:
            grid = _named(whole.parent, GridSettings(), {whole.stem: place})
            assert grid is not None
            return describe(whole, grid)
    return found or probe(str(whole))


def _names(lr: Clip) -> dict[str, tuple[int, int]]:
    """Return the stem of each view's file (at its first moment) -> its row and column."""
    assert lr.grid is not None
    named = {}
    for view in lr.grid.views:
        file = view.clip.path if view.clip is not None else view.files[0] if view.files else None
        if file is not None:
            named[Path(file).stem] = (view.row, view.col)
    return named


def _named(path: Path, asked: GridSettings, places: Mapping[str, tuple[int, int]]) -> Grid | None:
    """Return the views in a folder: those named as the input's, or by a known template."""
    for places_or_none, wanted in (
        (places, asked),
        (None, asked.model_copy(update={"layout": "folder"})),
    ):
        if places_or_none is not None and not places_or_none:
            continue
        grid = layouts.folder(path, wanted, places_or_none)
        grid = grid or layouts.sequence(path, wanted, places_or_none)
        grid = grid or layouts.videos(path, wanted, VIDEOS, places_or_none)
        if grid is not None:
            return grid
    return None
