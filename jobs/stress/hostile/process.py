"""Run a command with limits on time and memory, and report what it used and left behind."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import psutil

ROOT = Path(__file__).parents[3]
PIPELINE = (sys.executable, "-P", "-m", "pipeline")
SECONDS = 240.0  # time limit of a command; most commands need 3 seconds
ADDRESS_SPACE = 12 << 30  # limit for each process, in bytes
_GRACE_SECONDS = 2.0  # how long children may outlive their parent


@dataclass(frozen=True)
class Outcome:
    """The result of one command."""

    status: int
    """Exit status, or the negative number of the signal that ended the command."""
    stdout: bytes
    stderr: bytes
    seconds: float
    memory: int
    """Peak resident bytes of the largest process."""
    timed_out: bool = False
    left_processes: bool = False

    @property
    def text(self) -> str:
        """Everything on stdout, followed by everything on stderr."""
        return (self.stdout + self.stderr).decode(errors="replace")

    @property
    def last_line(self) -> str:
        """The last line on stderr, or on stdout if stderr is empty."""
        lines = (self.stderr.strip() or self.stdout.strip()).decode(errors="replace").splitlines()
        return lines[-1] if lines else ""


def run_command(
    command: Sequence[str],
    *,
    folder: Path,
    environment: Mapping[str, str],
    shell: str = 'exec "$@"',
    stdin: Path | None = None,
    terminal: bool = False,
    seconds: float = SECONDS,
) -> Outcome:
    """Run a command in `folder` with the bash code `shell`, in which "$@" is the command.

    If `terminal` is True, stderr is a terminal. After `seconds`, all processes are killed.
    """
    limits = f"ulimit -c 0; ulimit -v {ADDRESS_SPACE >> 10}; "
    words = ["bash", "-c", limits + shell, "bash", *command]
    with (
        tempfile.TemporaryFile() as stdout,
        tempfile.TemporaryFile() as stderr,
        (stdin or Path(os.devnull)).open("rb") as given,
    ):
        screen, end = os.openpty() if terminal else (-1, -1)
        process = subprocess.Popen(
            words,
            cwd=folder,
            env=dict(environment),
            stdin=given,
            stdout=stdout,
            stderr=end if terminal else stderr,
            start_new_session=True,
        )
        if terminal:
            os.close(end)
        started = time.monotonic()
        status, memory, timed_out = _wait(process, started + seconds, screen, stderr)
        left = _end_group(process.pid)
        return Outcome(
            status=status,
            stdout=_read(stdout),
            stderr=_read(stderr),
            seconds=time.monotonic() - started,
            memory=memory,
            timed_out=timed_out,
            left_processes=left,
        )


def _wait(
    process: subprocess.Popen[bytes], end: float, screen: int, stderr: BinaryIO
) -> tuple[int, int, bool]:
    """Wait for a process; return its exit status, its peak memory, and whether it had to be killed.

    The memory is in bytes. The process is killed at `end`, a time of time.monotonic. Output to the
    terminal `screen` (-1 for none) is copied to `stderr`.
    """
    timed_out = False
    memory = 0
    if screen >= 0:
        os.set_blocking(screen, False)
    while True:
        number, status = os.waitpid(process.pid, os.WNOHANG)
        if screen >= 0:
            with suppress(OSError):  # nothing was written, or the other end is closed
                while text := os.read(screen, 1 << 16):
                    stderr.write(text)
        if number:
            break
        memory = max(memory, _read_memory(process.pid))
        if time.monotonic() > end and not timed_out:
            os.killpg(process.pid, signal.SIGKILL)
            timed_out = True
        time.sleep(0.02)

    if screen >= 0:
        os.close(screen)
    process.returncode = os.waitstatus_to_exitcode(status)
    return process.returncode, memory, timed_out


def _read_memory(pid: int) -> int:
    """Return the largest peak memory so far, in bytes, of a process and its descendants.

    The peak that the operating system reports when a process ends is not used: a child starts as a
    copy of its parent, so this peak includes the parent's.
    """
    most = 0
    try:
        process = psutil.Process(pid)
        for each in (process, *process.children(recursive=True)):
            status = Path(f"/proc/{each.pid}/status").read_text(encoding="ascii", errors="replace")
            found = re.search(r"VmHWM:\s+([0-9]+) kB", status)
            most = max(most, int(found[1]) << 10 if found else 0)
    except (OSError, psutil.Error):
        pass  # the process has ended in the meantime
    return most


def _end_group(group: int) -> bool:
    """Kill the processes that remain in a group after a grace period; return whether any did."""
    end = time.monotonic() + _GRACE_SECONDS
    while time.monotonic() < end:
        try:
            os.killpg(group, 0)
        except ProcessLookupError:
            return False
        time.sleep(0.05)
    with suppress(ProcessLookupError):
        os.killpg(group, signal.SIGKILL)
    return True


def _read(file: BinaryIO) -> bytes:
    file.seek(0)
    return file.read()
