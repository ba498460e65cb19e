"""What child processes of Python may import: never from the current folder.

`python -m` and `python -c` put the current folder first on the path. In a folder of recordings
from strangers, a file `json.py` would then run in place of Python's own.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from pathlib import Path

ROOT = str(Path(__file__).resolve().parents[1])  # the folder of this project's packages


def import_path() -> list[str]:
    """Return this process's path without the current folder and relative entries of PYTHONPATH.

    The folder of this project's packages is always on it.
    """
    given = map(Path, ["", *os.environ.get("PYTHONPATH", "").split(os.pathsep)])
    # Python has made them absolute, so their form in sys.path does not show that they were relative
    relative = {entry.resolve() for entry in given if not entry.is_absolute()}

    path = []
    for entry in sys.path:
        if Path(entry).is_absolute() and Path(entry).resolve() not in relative:
            path.append(entry)
    return path if ROOT in path else [ROOT, *path]


def import_variables(path: Sequence[str] | None = None) -> dict[str, str]:
    """Return the environment variables with which a child imports from `path`, and nothing else.

    The default is `import_path()`.
    """
    entries = import_path() if path is None else path
    return {"PYTHONPATH": os.pathsep.join(entries), "PYTHONSAFEPATH": "1"}


def child_environment(path: Sequence[str] | None = None) -> dict[str, str]:
    """Return this process's environment with the variables of `import_variables`."""
    return {**os.environ, **import_variables(path)}
