"""The plan on disk: JSON that a person can read and edit, one line for each reference choice."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from pathlib import Path

from pydantic import ValidationError

from pipeline.errors import InputError
from pipeline.paths import redact_text
from pipeline.schema.plan import Plan, Segment


def dumps(plan: Plan) -> str:
    """Return what `pieces` yields in one."""
    return "".join(pieces(plan))


def pieces(plan: Plan, *, secrets: bool = False) -> Iterator[str]:
    """Yield the plan as indented JSON with one line per segment and per reference choice.

    Without `secrets` its URLs lose user and query: the file lies beside the output, for whoever
    may read that. Line by line, as a long plan's text is larger than the plan.
    """
    data = json.loads(plan.model_dump_json(exclude={"segments", "reference_map"}))
    text = json.dumps(data, indent=1)[:-2]
    yield text if secrets else redact_text(text)
    yield from _listed("segments", map(_segment, plan.segments))
    yield from _listed("reference_map", map(_choice, plan.reference_map.lines()))
    yield "\n}\n"


def _listed(name: str, lines: Iterable[str]) -> Iterator[str]:
    yield f',\n "{name}": ['
    for number, line in enumerate(lines):
        yield f"{',' if number else ''}\n  {line}"
    yield "\n ]"


def _segment(segment: Segment) -> str:
    return json.dumps(segment.model_dump(mode="json"))


def _choice(line: bytes) -> str:
    entry = json.loads(line)
    if entry["views"] is None:
        del entry["views"]  # clips have none to tell of
    return json.dumps(entry)


def save_plan(plan: Plan, path: str | Path) -> None:
    """Write the plan; raises InputError where the file cannot be written."""
    try:
        with Path(path).open("w", encoding="utf-8") as file:
            file.writelines(pieces(plan))
    except OSError as error:
        raise InputError(
            f"found no way to write the plan to {path} ({error.strerror}), "
            "expected a writable folder; try another --save"
        ) from error


def read_plan(path: str | Path) -> Plan:
    """Return the plan in a file; raises InputError for anything that is not one."""
    try:
        text = Path(path).read_text()
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(
            f"found no readable plan at {path} ({getattr(error, 'strerror', 'not text')}), "
            "expected the .plan.json beside an output; try `pipeline plan ... --save FILE`"
        ) from error
    try:
        return Plan.model_validate_json(text)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"]) or "the file"
        raise InputError(
            f"found a broken plan in {path}: {where}: {first['msg']}, expected a plan as "
            "`pipeline plan ... --save FILE` writes it; mend that place or make it anew"
        ) from error
