"""Read and write plans on disk: readable, editable JSON with one line per reference choice."""

from __future__ import annotations

import errno
import json
import os
import re
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path

from pydantic import ValidationError
from pydantic_core import from_json

from pipeline.errors import InputError
from pipeline.paths import read_limited, redact_text
from pipeline.schema.plan import Plan, Segment

# The beginning of every plan; no sidecar or other JSON file begins like this.
_BEGINNING = re.compile(rb'\s*\{\s*"version"\s*:\s*1\s*,\s*"input"\s*:')
_MOST_BEGINNING = 4096  # bytes; the beginning of a plan must fit, even if whitespace was added

MOST_PLAN_BYTES = 1 << 30  # largest plan to read; 24 hours at 60 frames per second take 600 MB

# A list of numbers in indented JSON, one per line, such as the weights of a kernel.
_NUMBERS = re.compile(r"\[\n\s+(?:-?[0-9][0-9.e+-]*,?\s+)+\]")


def _join_numbers(found: re.Match[str]) -> str:
    """Return the matched list of numbers on a single line."""
    return " ".join(found.group().split()).replace("[ ", "[").replace(" ]", "]")


def dump_plan(plan: Plan) -> str:
    """Return the plan as one string of indented JSON."""
    return "".join(plan_lines(plan))


def plan_lines(plan: Plan, *, secrets: bool = False) -> Iterator[str]:
    """Yield the plan as indented JSON, with one line per segment and per reference choice.

    Unless `secrets` is true, user names, passwords and queries are removed from its URLs, because
    anyone who can read an output can also read the plan beside it. The text is yielded in parts
    because, for a long plan, all of it takes more memory than the plan itself.
    """
    data = json.loads(plan.model_dump_json(exclude={"segments", "reference_map"}))
    text = _NUMBERS.sub(_join_numbers, json.dumps(data, indent=1))[:-2]

    yield text if secrets else redact_text(text)
    yield from _list_field("segments", map(_segment_line, plan.segments))
    yield from _list_field("reference_map", map(_choice_line, plan.reference_map.lines()))
    yield "\n}\n"


def _list_field(name: str, lines: Iterable[str]) -> Iterator[str]:
    yield f',\n "{name}": ['
    for number, line in enumerate(lines):
        yield f"{',' if number else ''}\n  {line}"
    yield "\n ]"


def _segment_line(segment: Segment) -> str:
    return json.dumps(segment.model_dump(mode="json"))


def _choice_line(line: bytes) -> str:
    entry = json.loads(line)
    if entry["views"] is None:
        del entry["views"]  # always None for clips
    return json.dumps(entry)


def _open_at_once(path: str, flags: int) -> int:
    """Open a file without waiting for a program that reads it, in case it is a named pipe."""
    handle = os.open(path, flags | getattr(os, "O_NONBLOCK", 0), 0o666)
    if sys.platform != "win32":
        os.set_blocking(handle, True)
    return handle


def save_plan(plan: Plan, path: str | Path) -> None:
    """Write the plan to a file.

    Raises InputError if the file cannot be written, or would replace a file that is not a plan.
    """
    check_is_plan(Path(path), "--save")
    try:
        with open(path, "w", encoding="utf-8", opener=_open_at_once) as file:
            file.writelines(plan_lines(plan))
    except OSError as error:
        if error.errno == errno.ENXIO:
            raise InputError(
                f"no program is reading from {path}; start one first, or try another --save"
            ) from error
        raise InputError(
            f"cannot write the plan to {path} ({error.strerror}); try another --save, in a folder "
            "that you can write to"
        ) from error


def check_is_plan(path: Path, option: str) -> None:
    """Raise InputError if `path` is a link, or a non-empty file that is not a plan.

    `option` is the option that set the path. Paths in /dev and /proc are not checked.
    """
    is_system = path.absolute().parts[1:2] in (("dev",), ("proc",))  # such as /dev/stdout
    if path.is_symlink() and not is_system:
        raise InputError(
            f"{path} is a link, which is not overwritten because it may point to any file; "
            f"try another {option}"
        )
    if is_system or not path.is_file():
        return
    with path.open("rb") as file:
        start = file.read(_MOST_BEGINNING)
    if start and not _BEGINNING.match(start):
        raise InputError(
            f"{path} exists and is not a plan, so it is not overwritten; try another {option}"
        )


def read_plan(path: str | Path) -> Plan:
    """Return the plan stored in a file; raises InputError if the file is not a valid plan."""
    try:
        text = read_limited(Path(path), MOST_PLAN_BYTES).decode()
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(
            f"cannot read a plan from {path} ({getattr(error, 'strerror', 'not text')}); pass the "
            ".plan.json beside an output, or a file from `pipeline plan ... --save FILE`"
        ) from error

    try:
        return Plan.model_validate_json(text)
    except ValidationError as error:
        first = error.errors()[0]
        problem = first["msg"].removeprefix("Value error, ")
        where = _name_field(first["loc"], text) if first["loc"] else "the file"
        raise InputError(
            f"{path} is not a valid plan: {where}: {problem}; correct it, or make a new "
            "plan with `pipeline plan ... --save FILE`"
        ) from error


def _name_field(location: Iterable[int | str], text: str) -> str:
    """Return the path of an invalid field in a plan's JSON, such as "input.width".

    Pydantic's `location` may also contain the kind of a recording, as in "input.video.width", which
    is not a key in the JSON.
    """
    parts = []
    inside = from_json(text)
    for part in location:
        if isinstance(inside, dict) and part not in inside and part == inside.get("kind"):
            continue
        parts.append(str(part))
        inside = _look_up(inside, part)
    return ".".join(parts)


def _look_up(data: object, part: int | str) -> object:
    """Return the value at the key or index `part` in JSON data, or None if there is none."""
    if isinstance(data, dict):
        return data.get(part)
    if isinstance(data, list) and isinstance(part, int) and part < len(data):
        return data[part]
    return None
