"""The command `pipeline` with slow steps, for tests that kill it in the middle of a run.

python -m tests.support.slow_command SECONDS_PER_BATCH SECONDS_TO_VERIFY ARGUMENT...
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from functools import partial
from typing import ParamSpec, TypeVar

from pipeline.assembly.finish import find_differences, finish
from pipeline.cli.main import main
from pipeline.execution.infer import enhance_batch
from pipeline.runs.parts import RunParts

Arguments = ParamSpec("Arguments")
Result = TypeVar("Result")


def delay(function: Callable[Arguments, Result], seconds: float) -> Callable[Arguments, Result]:
    """Return a function that sleeps before each call of `function`."""

    def delayed(*arguments: Arguments.args, **options: Arguments.kwargs) -> Result:
        time.sleep(seconds)
        return function(*arguments, **options)

    return delayed


def slow_parts(*, enhance_seconds: float, compare_seconds: float) -> RunParts:
    """Return parts of a run that sleep for every batch and before the verification."""
    return RunParts(
        enhance=delay(enhance_batch, enhance_seconds),
        finish=partial(finish, compare=delay(find_differences, compare_seconds)),
    )


if __name__ == "__main__":
    seconds = float(sys.argv.pop(1)), float(sys.argv.pop(1))
    main(obj=slow_parts(enhance_seconds=seconds[0], compare_seconds=seconds[1]))
