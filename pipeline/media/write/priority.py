"""Preserve the scheduling priority of this process, which an encoder may change."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

_TASKS = Path("/proc/self/task")  # a folder for each thread, on Linux


@contextmanager
def keep_priority() -> Iterator[None]:
    """Undo what opening an encoder does to the priority of this process's threads.

    If it has the permission (as for root), SVT-AV1 gives real-time priority to its own threads and
    to the thread that opens it, and never revokes it. These threads, and all processes that they
    start, would starve everything else. At the end of this context, threads that got real-time
    priority inside it return to ordinary priority.
    """
    before = _list_real_time_threads()
    try:
        yield
    finally:
        for thread in _list_real_time_threads() - before:
            with suppress(ProcessLookupError):  # it ended just now
                os.sched_setscheduler(thread, os.SCHED_OTHER, os.sched_param(0))


def _list_real_time_threads() -> set[int]:
    """Return the IDs of this process's real-time threads; none on systems other than Linux."""
    if not hasattr(os, "sched_getscheduler") or not _TASKS.is_dir():
        return set()

    found = set()
    for folder in _TASKS.iterdir():
        try:
            policy = os.sched_getscheduler(int(folder.name))
        except ProcessLookupError:  # it ended just now
            continue
        if policy in (os.SCHED_FIFO, os.SCHED_RR):
            found.add(int(folder.name))
    return found
