"""The operating system, processor and memory of this machine."""

from __future__ import annotations

import os
import platform
import sys
from pathlib import Path

# Lower-case parts of messages that report a lack of memory. cuDNN and cuBLAS report
# "_status_alloc_failed". The last two are all that oneDNN, which computes convolutions on CPUs,
# reports if it cannot allocate buffers.
_OUT_OF_MEMORY = (
    "out of memory",
    "can't allocate memory",
    "not enough memory",
    "failed to allocate memory",
    "bad allocation",
    "bad_alloc",
    "_status_alloc_failed",
    "could not create a primitive",
    "could not execute a primitive",
)


def system_name() -> str:
    """Return the name of the operating system in its usual spelling."""
    return {"linux": "Linux", "darwin": "macOS", "win32": "Windows"}.get(sys.platform, sys.platform)


def is_linux() -> bool:
    """Return whether this is Linux, the only system on which the sandbox and Ray are supported."""
    return sys.platform == "linux"


def processor_name() -> str:
    """Return the model name of the CPU, or "" if the system does not report one.

    On Linux it is read from /proc/cpuinfo, because `platform.processor()` does not return it there.
    """
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor()
    names = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(names, "")


def count_cores() -> int:
    """Return the number of cores that this process may use; outside Linux, that is all cores."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def is_out_of_memory(error: BaseException) -> bool:
    """Return whether an exception from any library means that memory ran out."""
    text = str(error).lower()
    return isinstance(error, MemoryError) or any(message in text for message in _OUT_OF_MEMORY)
