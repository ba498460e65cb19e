"""Keep Python child processes from importing anything from the current folder.

`python -m` and `python -c` put the current folder first on the import path. In a folder of
recordings from strangers, a file named `json.py` would then replace Python's own module.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from pathlib import Path

ROOT = str(Path(__file__).resolve().parents[1])  # the folder of this project's packages


def import_path() -> list[str]:
    """Return this process's import path, without the current folder and other relative entries.

    The path always includes the folder of this project's packages.
    """
    given = map(Path, ["", *os.environ.get("PYTHONPATH", "").split(os.pathsep)])
    # Python made these entries absolute, so sys.path does not show which ones were relative
    relative = {entry.resolve() for entry in given if not entry.is_absolute()}

    path = []
    for entry in sys.path:
        if Path(entry).is_absolute() and Path(entry).resolve() not in relative:
            path.append(entry)
    return path if ROOT in path else [ROOT, *path]


def import_variables(path: Sequence[str] | None = None) -> dict[str, str]:
    """Return the environment variables that make a child process import only from `path`.

    By default, `path` is `import_path()`.
    """
    entries = import_path() if path is None else path
    return {"PYTHONPATH": os.pathsep.join(entries), "PYTHONSAFEPATH": "1"}


def child_environment(path: Sequence[str] | None = None) -> dict[str, str]:
    """Return this process's environment variables, updated with `import_variables(path)`."""
    return {**os.environ, **import_variables(path)}
