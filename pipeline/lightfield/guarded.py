"""Untrusted light fields: found, opened and decoded by a child process; see `media.sandbox`."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pipeline.errors import MediaError
from pipeline.lightfield.sidecar import sidecar_path
from pipeline.media.sandbox.parent import called
from pipeline.schema.plan import Clip
from pipeline.schema.settings import GridSettings, RunSettings

_A_FILE = 0.1
"""Seconds that may be waited for each file of a folder."""


def open_guarded(path: str, asked: GridSettings) -> Clip | None:
    """Do what `open_light_field` does, in a child; the clip is read in children, too."""
    fields = {name: getattr(asked, name) for name in GridSettings.model_fields}
    told = GridSettings(**fields).model_dump(mode="json")
    return _opened("pipeline.lightfield.opening:open_light_field", path, {"asked": told})


def reference_guarded(path: str, settings: RunSettings, lr: Clip) -> Clip:
    """Do what `open_reference` does, in a child; the clip is read in children, too."""
    given = {
        "settings": settings.model_dump(mode="json", exclude_unset=True),
        "lr": lr.model_dump(mode="json"),
    }
    found = _opened("pipeline.pairing.reference_views:open_reference", path, given)
    assert found is not None
    return found


def _opened(function: str, path: str, arguments: dict[str, Any]) -> Clip | None:
    whole = Path(path).absolute()
    count = sum(1 for _ in whole.rglob("*")) if whole.is_dir() else 1
    given = {"path": str(whole), **arguments}
    made = called(function, given, str(whole), _A_FILE * count, [sidecar_path(whole)])
    if made is None:
        return None
    clip = Clip.model_validate(made)
    # which files are opened later is not left to the child
    for file in _files(clip):
        if Path(file) != whole and whole not in Path(file).parents:
            raise MediaError(
                f"{whole} makes the reader name another file, {file}; expected an intact light "
                "field; do not open it elsewhere"
            )
    return clip.guarded(True)


def _files(clip: Clip) -> Iterator[str]:
    yield clip.path
    yield from clip.files
    if clip.grid is None:
        return
    for view in clip.grid.views:
        yield from view.files
        if view.clip is not None:
            yield from _files(view.clip)
    if clip.grid.sheets is not None:
        yield from _files(clip.grid.sheets)
