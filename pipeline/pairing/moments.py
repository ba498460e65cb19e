"""When the moments of a sequence are: by the folders or sheets that hold them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from pipeline.lightfield.reader import Times
from pipeline.schema.clip import Clip


def moment_names(clip: Clip) -> list[str]:
    """Return how the folder or the sheet of each moment is named; empty where none has a name."""
    grid = clip.grid
    if grid is None:
        return [Path(file).parent.name for file in clip.files] if clip.kind == "stills" else []
    if grid.layout == "folder":
        return [Path(file).parent.name for file in grid.views[0].files]
    if grid.sheets is not None:
        return [Path(file).stem for file in grid.sheets.files]
    return []


def named_times(lr: Clip, names: Sequence[str]) -> list[float] | None:
    """Return when the input's moments with these names are, seconds; None where one is unknown."""
    assert lr.grid is not None
    times = Times(lr)
    known = {
        name: times.seconds(lr.grid.number(0, moment))
        for moment, name in enumerate(moment_names(lr))
    }
    if not names or len(known) < lr.grid.moments or not all(name in known for name in names):
        return None
    return [known[name] for name in names]
