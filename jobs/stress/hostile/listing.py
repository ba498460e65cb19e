"""List the contents of a folder, with digests, and find the changes between two listings."""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Iterable
from fnmatch import fnmatch
from pathlib import Path

Listing = dict[str, tuple[object, ...]]
_LARGEST = 1 << 26  # bytes; larger files are listed without a digest


def list_tree(folder: Path) -> Listing:
    """Return a map from each relative path below `folder` to its type, mode and further details.

    For a link, these are its target, and for a regular file, its mtime (ns), size and digest. Pipes
    and devices are never opened.
    """
    found: Listing = {}
    for place, folders, files in os.walk(folder):
        for name in (*folders, *files):
            path = Path(place, name)
            status = path.lstat()
            entry: tuple[object, ...] = (stat.S_IFMT(status.st_mode), stat.S_IMODE(status.st_mode))
            if path.is_symlink():
                entry += (str(path.readlink()),)
            elif stat.S_ISREG(status.st_mode):
                entry += (status.st_mtime_ns, status.st_size, _digest(path, status.st_size))
            found[path.relative_to(folder).as_posix()] = entry
    return found


def _digest(path: Path, size: int) -> str:
    if size > _LARGEST:
        return ""
    return hashlib.sha256(path.read_bytes()).hexdigest()


def find_changes(before: Listing, after: Listing, allowed: Iterable[str] = ()) -> list[str]:
    """Return a line for every path that appeared, vanished or changed.

    Paths that match a pattern in `allowed`, or are below such a path, may change.
    """
    patterns = tuple(allowed)
    changes = []
    for path in sorted(before.keys() | after.keys()):
        if before.get(path) == after.get(path) or _is_allowed(path, patterns):
            continue
        what = "appeared" if path not in before else "changed" if path in after else "vanished"
        changes.append(f"{path} {what}")
    return changes


def _is_allowed(path: str, patterns: tuple[str, ...]) -> bool:
    parents = (path, *(str(parent) for parent in Path(path).parents))
    return any(fnmatch(place, pattern) for place in parents for pattern in patterns)
