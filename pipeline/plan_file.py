"""The plan on disk: JSON that a person can read and edit, one line for each reference choice."""

from __future__ import annotations

import json
from pathlib import Path

from pydantic import ValidationError

from pipeline.errors import InputError
from pipeline.schema import Plan


def dumps(plan: Plan) -> str:
    """Return the plan as indented JSON with one line per segment and per reference choice."""
    data = json.loads(plan.model_dump_json())
    rows = {name: data.pop(name) for name in ("segments", "reference_map")}
    parts = [json.dumps(data, indent=1)[:-2]]
    for name, entries in rows.items():
        # clips have no views to tell of
        kept = [{k: v for k, v in e.items() if k != "views" or v is not None} for e in entries]
        lines = ",\n".join("  " + json.dumps(entry) for entry in kept)
        parts.append(f' "{name}": [\n{lines}\n ]')
    return ",\n".join(parts) + "\n}\n"


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
