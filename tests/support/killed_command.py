"""The command `pipeline`, which kills itself (SIGKILL) right before it touches a path.

python -m tests.support.killed_command AUDIT_EVENT END_OF_PATH ARGUMENT...

AUDIT_EVENT is the name that Python gives to the step, such as `os.rename` (`sys.addaudithook`).
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys

from pipeline.cli.main import main
from tests.support import ROOT


def run_until(event: str, ending: str, *arguments: object) -> None:
    """Run `pipeline ARGUMENTS` in a process that kills itself before `event` on a path."""
    command = [sys.executable, "-m", "tests.support.killed_command", event, ending]
    done = subprocess.run(
        [*command, *map(str, arguments)], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == -signal.SIGKILL, done.stderr


def kill_before(event: str, ending: str) -> None:
    """Kill this process before the first `event` on a path that ends with `ending`."""

    def watch(name: str, arguments: tuple[object, ...]) -> None:
        if name != event:
            return
        if any(str(argument).endswith(ending) for argument in arguments):
            os.kill(os.getpid(), signal.SIGKILL)

    sys.addaudithook(watch)


if __name__ == "__main__":
    kill_before(sys.argv.pop(1), sys.argv.pop(1))
    main()
