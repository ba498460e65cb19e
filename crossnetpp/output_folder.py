"""Check whether a folder for results can exist."""

from __future__ import annotations

from pathlib import Path


def find_obstacle(folder: Path) -> Path | None:
    """Return the file at `folder` or above it, where a folder is needed; None if there is none."""
    places = (folder, *folder.absolute().parents)
    nearest = next(place for place in places if place.exists())
    return None if nearest.is_dir() else nearest
