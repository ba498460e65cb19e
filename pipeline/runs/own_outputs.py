"""Find those inputs of a batch that an earlier run made as outputs of other inputs.

By default, outputs are written beside their inputs, so a glob or folder of inputs also includes the
outputs when the same command is run again.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from pipeline.errors import InputError
from pipeline.ledger.plan_beside import plan_path
from pipeline.paths import is_url
from pipeline.schema.plan_file import read_plan


def find_outputs_of_inputs(inputs: Sequence[str]) -> dict[str, str]:
    """Return a map from each input that was made from another input to that other input.

    The plan beside an output states from which input the output was made.
    """
    names = {os.path.realpath(name): name for name in inputs if not is_url(name)}
    found = {}
    for name in inputs:
        source = None if is_url(name) else _read_source(Path(name))
        if source is not None and source in names and source != os.path.realpath(name):
            found[name] = names[source]
    return found


def is_output(path: Path) -> bool:
    """Return whether a file is the output of a run, according to the plan beside it."""
    return _read_source(path) is not None


def _read_source(output: Path) -> str | None:
    """Return the real path of the recording from which an output was made, or None."""
    plan = plan_path(output.absolute())
    if not plan.is_file():
        return None
    try:
        stored = read_plan(plan)
    except InputError:
        return None
    # the plan may belong to a deleted output, such as out.mkv beside out.mp4
    return os.path.realpath(stored.input.path) if Path(stored.output).name == output.name else None
