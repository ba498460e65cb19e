"""Names of files that a plan cannot hold, refused early."""

from __future__ import annotations

import os
from collections.abc import Iterable
from typing import TYPE_CHECKING

from pipeline.errors import InputError

if TYPE_CHECKING:
    from pipeline.schema.plan import Clip  # the command line looks at its words before all imports

_LONGEST = 255
"""Bytes of a name."""


def check_text(words: Iterable[str]) -> None:
    """Raise InputError for words whose bytes are no UTF-8: JSON cannot name such files."""
    for word in words:
        try:
            word.encode()
        except UnicodeEncodeError:
            shown = os.fsencode(word).decode(errors="backslashreplace")
            raise InputError(
                f"found the name {shown}, which is not UTF-8, expected one that is: plans could "
                "not name it; rename it, or give a link to it"
            ) from None


def check_paths(paths: Iterable[str | None]) -> None:
    """Raise InputError for paths that no file system can have, as long texts given for one."""
    for path in paths:
        longest = max(map(len, os.fsencode(path or "").split(b"/")))
        if longest > _LONGEST and path and "://" not in path:
            raise InputError(
                f"found {path[:40]}..., a name of {longest} bytes, expected at most {_LONGEST}; "
                "check the path"
            )


def check_recording(clip: Clip) -> None:
    """Raise InputError where a recording lies in files or folders whose names are no UTF-8."""
    grid = clip.grid
    views = grid.views if grid is not None else ()
    check_text([clip.path, *clip.files, *(file for view in views for file in view.files)])
    for view in views:
        if view.clip is not None:
            check_text([view.clip.path])
