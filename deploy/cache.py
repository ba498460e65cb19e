"""The cache folder, for files that the program can rebuild or download again."""

from __future__ import annotations

import os
from pathlib import Path

import platformdirs

from deploy.distribution import DISTRIBUTION


def cache_root() -> Path:
    """Return `$PIPELINE_CACHE` or, if that is unset or empty, a folder in the user's cache."""
    folder = os.environ.get("PIPELINE_CACHE")
    return Path(folder) if folder else platformdirs.user_cache_path(DISTRIBUTION)
