"""The plan on disk: JSON that a person can read and edit, one line for each reference choice."""

from __future__ import annotations

import json
from pathlib import Path

from pydantic import TypeAdapter, ValidationError

from pipeline.errors import InputError
from pipeline.remote import without_secrets
from pipeline.schema import Plan, ReferenceChoice, Segment

_CHOICE = TypeAdapter(ReferenceChoice)


def dumps(plan: Plan) -> str:
    """Return the plan as indented JSON with one line per segment and per reference choice.

    URLs are without user and query: the file lies beside the output, for whoever may read that.
    """
    data = json.loads(plan.model_dump_json(exclude={"segments", "reference_map"}))
    parts = [without_secrets(json.dumps(data, indent=1)[:-2])]
    # one by one: as dictionaries, the frames of an hour would need more memory than all the rest
    rows = {
        "segments": map(_segment, plan.segments),
        "reference_map": map(_choice, plan.reference_map),
    }
    for name, lines in rows.items():
        listed = ",\n".join(f"  {line}" for line in lines)
        parts.append(f' "{name}": [\n{listed}\n ]')
    return ",\n".join(parts) + "\n}\n"


def _segment(segment: Segment) -> str:
    return json.dumps(segment.model_dump(mode="json"))


def _choice(choice: ReferenceChoice) -> str:
    entry = _CHOICE.dump_python(choice, mode="json")
    if entry["views"] is None:
        del entry["views"]  # clips have none to tell of
    return json.dumps(entry)


def save_plan(plan: Plan, path: str | Path) -> None:
    """Write the plan; raises InputError where the file cannot be written."""
    try:
        Path(path).write_text(dumps(plan))
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
