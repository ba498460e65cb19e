"""Run `pipeline` so that it sends itself a signal just before a given step.

    python -m jobs.stress.hostile.killing SIGNAL AUDIT_EVENT END_OF_PATH ARGUMENT...

AUDIT_EVENT is Python's name for the step, such as os.rename (see `sys.addaudithook`).
"""

from __future__ import annotations

import os
import signal
import sys
from typing import TYPE_CHECKING

from pipeline.cli.main import main

if TYPE_CHECKING:
    from jobs.stress.hostile.bench import Bench

_KILLED = -int(signal.SIGKILL)
_INTERRUPTED = 130


def program(number: signal.Signals, event: str, ending: str) -> tuple[str, ...]:
    """Return a command that signals itself before `event` on a path that ends with `ending`."""
    name = "jobs.stress.hostile.killing"
    return (sys.executable, "-P", "-m", name, str(int(number)), event, ending)


def kill_before(bench: Bench, event: str, ending: str, *arguments: str) -> None:
    """Run `pipeline ARGUMENTS` until it kills itself, and record a fault if it never does."""
    killer = program(signal.SIGKILL, event, ending)
    bench.attack(*arguments, program=killer, status=(_KILLED,))


def interrupt_before(bench: Bench, event: str, ending: str, *arguments: str) -> None:
    """Run `pipeline ARGUMENTS` until it interrupts itself, as Ctrl+C does.

    A command that has already finished its work may exit normally.
    """
    bench.attack(
        *arguments, program=program(signal.SIGINT, event, ending), status=(0, _INTERRUPTED)
    )


def signal_before(number: int, event: str, ending: str) -> None:
    """Send this process a signal before the first `event` on a path that ends with `ending`."""
    waiting = [number]

    def watch(name: str, arguments: tuple[object, ...]) -> None:
        if name != event or not waiting:
            return
        if any(str(argument).endswith(ending) for argument in arguments):
            os.kill(os.getpid(), waiting.pop())

    sys.addaudithook(watch)


if __name__ == "__main__":
    signal_before(int(sys.argv.pop(1)), sys.argv.pop(1), sys.argv.pop(1))
    main()
