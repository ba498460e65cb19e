"""Run a command of the program in a child process, and read its progress and errors."""

from __future__ import annotations

import json
import logging
import os
import signal
import subprocess
import sys
import threading
import time
import traceback
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

from crossnetpp.printable import make_printable
from deploy.child_process import child_environment
from pipeline.ui.job import ChildMark

PATIENCE_SECONDS = 60.0  # how long a child may take to stop before it is killed
_ERROR = ("error: ", "Error: ")
_KEPT_LINES = 5
_POLL_SECONDS = 0.05
_LOG = logging.getLogger(__name__)


@dataclass(frozen=True)
class Ended:
    """The exit status and the output of a child that has ended."""

    status: int
    stdout: str
    error: str
    """Why the child failed, in one line; "" if it succeeded."""


class Child:
    """A command in a child process, in a session of its own, so that Ctrl-C does not reach it."""

    def __init__(
        self,
        arguments: Sequence[str],
        folder: Path,
        *,
        variables: Mapping[str, str] | None = None,
        on_event: Callable[[dict[str, Any]], None] | None = None,
    ) -> None:
        """Start `python ARGUMENTS` in `folder`.

        `variables` are added to the environment. `on_event` receives the events of --json-progress.
        """
        self._on_event = on_event
        self._lines: list[str] = []
        self._error = ""
        self._stopped = False
        environment = child_environment() | dict(variables or {})
        environment["PYTHONUNBUFFERED"] = "1"
        self._process = subprocess.Popen(
            [sys.executable, *arguments],
            cwd=folder,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            encoding="utf-8",
            errors="replace",
            start_new_session=True,
        )
        self.mark = ChildMark(pid=self._process.pid, started=_find_start(self._process.pid))

    def wait(self) -> Ended:
        """Wait for the child to end, and return how it ended."""
        assert self._process.stdout is not None
        assert self._process.stderr is not None
        reader = threading.Thread(target=self._read_stderr, name="page-progress", daemon=True)
        reader.start()
        stdout = self._process.stdout.read()
        status = self._process.wait()
        reader.join()
        self._process.stdout.close()
        self._process.stderr.close()
        return Ended(status, stdout, self._describe_error(status))

    def stop(self) -> None:
        """Interrupt the child as Ctrl-C does, and kill it if it does not end in time."""
        if self._stopped or self._process.poll() is not None:
            return
        self._stopped = True
        interrupt(self._process.pid)
        timer = threading.Timer(PATIENCE_SECONDS, self._kill)
        timer.daemon = True
        timer.start()

    def _kill(self) -> None:
        if self._process.poll() is None:
            self._process.kill()

    def _read_stderr(self) -> None:
        assert self._process.stderr is not None
        for line in self._process.stderr:
            text = line.strip()
            event = _parse_event(text)
            if event is not None:
                self._report(event)
                continue
            for start in _ERROR:
                if text.startswith(start):
                    self._error = text.removeprefix(start)
            if text:
                self._lines = [*self._lines[1 - _KEPT_LINES :], text]

    def _report(self, event: dict[str, Any]) -> None:
        """Pass an event to `on_event`, whose errors must not stop the reading of lines."""
        try:
            if self._on_event is not None:
                self._on_event(event)
        except Exception:
            _LOG.error("an event was lost: %s", make_printable(traceback.format_exc()))

    def _describe_error(self, status: int) -> str:
        if status == 0:
            return ""
        if self._error:
            return self._error
        if status < 0:
            name = signal.Signals(-status).name if -status in set(signal.Signals) else str(-status)
            return f"the command was terminated by {name}; start the job again to continue"
        return self._lines[-1] if self._lines else f"the command ended with status {status}"


def _parse_event(line: str) -> dict[str, Any] | None:
    """Return the event in a line of --json-progress, or None for any other line."""
    if not line.startswith("{"):
        return None
    try:
        event = json.loads(line)
    except ValueError:
        return None
    return event if isinstance(event, dict) and "event" in event else None


def _find_start(pid: int) -> float:
    try:
        return float(psutil.Process(pid).create_time())
    except psutil.Error:
        return 0.0


def interrupt(pid: int) -> None:
    """Interrupt a process as Ctrl-C does, or terminate it on Windows; its run can be resumed."""
    with suppress(OSError):
        os.kill(pid, signal.SIGINT if sys.platform != "win32" else signal.SIGTERM)


def end_orphan(mark: ChildMark) -> None:
    """Interrupt an earlier server's child that is still running, and wait until it ends."""
    try:
        process = psutil.Process(mark.pid)
        if process.create_time() != mark.started:
            return  # the process ID now belongs to another process
        interrupt(mark.pid)
        end = time.monotonic() + PATIENCE_SECONDS
        # it may stay a zombie, because many containers have no init process to reap it
        while process.is_running() and process.status() != psutil.STATUS_ZOMBIE:
            if time.monotonic() > end:
                process.kill()
            time.sleep(_POLL_SECONDS)
    except psutil.Error:
        return
