"""Name the plan beside an output: the plan of `out.mkv` is `out.plan.json`.

The plan of `out.mp4` in the same folder would have the same name. The plan of the output that is
finished last then gets a longer name, `out.mp4.plan.json`, so that neither replaces the other.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path

from pipeline.ledger.names import PLAN
from pipeline.paths import join_url, read_limited
from pipeline.remote import transfer
from pipeline.schema.plan_file import MOST_PLAN_BYTES

# Matches a plan's output or its URL. Nothing else is read, because a plan has a line for every
# frame. Inside a string, these quotes would be escaped.
_OUTPUT = re.compile(rb'(?<!\\)"(output|output_url)": ?("(?:[^"\\]|\\.)*")')

# A function that returns the content of a file in the output's folder, or None if it is unreadable.
_Read = Callable[[str], bytes | None]
# A function that returns whether a file or folder exists in the output's folder.
_Exists = Callable[[str], bool]


def plan_path(output: Path) -> Path:
    """Return the path of the plan beside an output, where it is or would be written."""
    folder = output.parent

    def read(name: str) -> bytes | None:
        try:
            # opening a pipe would block until it has a writer
            is_file = (folder / name).is_file()
            return read_limited(folder / name, MOST_PLAN_BYTES) if is_file else None
        except OSError:
            return None

    return folder / _choose_name(output.name, read, lambda name: (folder / name).exists())


def plan_url(output: str) -> str:
    """Return the URL of the plan beside the output at the URL `output`."""
    folder, _, name = output.rpartition("/")

    def read(name: str) -> bytes | None:
        return transfer.read_bytes(join_url(folder, name))

    def exists(name: str) -> bool:
        return transfer.find_file(join_url(folder, name)) is not None

    return join_url(folder, _choose_name(name, read, exists))


def _choose_name(output: str, read: _Read, exists: _Exists) -> str:
    """Return the name of the plan beside an output.

    It is the long name if this output already uses it, or if another output uses the short one.
    Another output counts if it exists, or if a run is still making it.
    """
    stem = Path(output).stem
    short, long = f"{stem}.plan.json", f"{output}.plan.json"
    if long == short:  # the output has no suffix, so it is a folder
        long = f"{output}.folder.plan.json"
    if _read_owner(read(long)) == output:
        return long
    owner = _read_owner(read(short))
    if owner is None or owner == output or Path(owner).stem != stem:
        return short
    return long if exists(owner) or exists(f".{owner}.run/{PLAN}") else short


def _read_owner(plan: bytes | None) -> str | None:
    """Return the name of the output to which a stored plan belongs, or None if it states none."""
    found = {match[1]: match[2] for match in _OUTPUT.finditer(plan or b"")}
    try:
        names = [json.loads(found.get(field, b'""')) for field in (b"output_url", b"output")]
    except ValueError:
        return None
    return next((Path(name).name for name in names if name), None)
