"""Keep the outputs of a batch apart: from its inputs, and from each other.

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


class ClaimedOutputs:
    """The outputs of those inputs of a batch that have begun."""

    def __init__(self, inputs: Sequence[str]) -> None:
        self._inputs = inputs
        self._claims: dict[str, int] = {}

    def claim(self, number: int, output: str) -> None:
        """Record the output of an input, which is identified by its number.

        Raises InputError if it is the output of another input, such as of a.jpg and a.webp, whose
        default output is a_x4.png. With --force, the second would replace the first.
        """
        owner = self._claims.setdefault(locate_output(output), number)
        if owner != number:
            raise InputError(
                f"the output {output} is also the output of {self._inputs[owner]}; choose a "
                "different one for each input, for example with -o FOLDER"
            )


def locate_output(path: str) -> str:
    """Return a path with all links to its folder followed; a URL is returned unchanged.

    A link at the path itself is not followed, because an output replaces it.
    """
    return path if is_url(path) else str(Path(os.path.realpath(Path(path).parent), Path(path).name))


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
