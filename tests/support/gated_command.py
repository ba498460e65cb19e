"""The command `pipeline`, whose runs wait in the middle until a file exists.

python -m tests.support.gated_command FRAMES FILE ARGUMENT...

Runs enhance FRAMES frames at once, and go on only when FILE exists.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path

from deploy.protocol import Engine
from pipeline.cli.main import main
from pipeline.execution.infer import enhance_batch
from pipeline.execution.task import Batch, Enhanced
from pipeline.runs.parts import RunParts
from pipeline.schema.plan import Plan


class Gate:
    """An `Enhance` that waits after some frames until a file exists."""

    def __init__(self, frames: int, file: Path) -> None:
        self._left = frames
        self._file = file

    def __call__(self, plan: Plan, engine: Engine, batch: Batch) -> Enhanced:
        """Enhance a batch, once that is allowed."""
        while self._left <= 0 and not self._file.exists():
            time.sleep(0.02)
        self._left -= len(batch.pts)
        return enhance_batch(plan, engine, batch)


def name_gate(frames: int, file: Path) -> tuple[str, ...]:
    """Return the arguments of Python that start this command."""
    return ("-m", "tests.support.gated_command", str(frames), str(file))


if __name__ == "__main__":
    gate = Gate(int(sys.argv.pop(1)), Path(sys.argv.pop(1)))
    main(obj=RunParts(enhance=gate))
