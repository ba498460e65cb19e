"""Print an error if this process ends so suddenly that it cannot print one itself.

If this machine's raylet or the cluster's control service is lost, Ray's native code ends the
process with status 1. A small child process detects this and prints the error.
"""

from __future__ import annotations

import contextlib
import subprocess
import sys
from collections.abc import Iterator

LINE = (
    "error: this run ended suddenly, because it was killed, or because a part of Ray on this "
    "machine or the cluster's head node was lost; run the same command again to resume"
)
_ENDED = b"ended"
_PROGRAM = f"""
import sys
if sys.stdin.buffer.read() != {_ENDED!r}:
    sys.stderr.write(sys.argv[1] + "\\n")
"""


@contextlib.contextmanager
def announce_sudden_death() -> Iterator[None]:
    """Print LINE to stderr if this process ends suddenly within the block."""
    # in its own session, so that Ctrl-C does not end the watcher before this process
    with subprocess.Popen(
        [sys.executable, "-I", "-S", "-c", _PROGRAM, LINE],
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        start_new_session=True,
        cwd="/",
    ) as watcher:
        try:
            yield
        finally:
            assert watcher.stdin is not None
            with contextlib.suppress(OSError):  # the watcher itself may have been killed
                watcher.stdin.write(_ENDED)
                watcher.stdin.close()
