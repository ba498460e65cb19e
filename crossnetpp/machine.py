"""The name of this machine's processor."""

from __future__ import annotations

from pathlib import Path


def processor_name() -> str:
    """Return the model name of the CPU from /proc/cpuinfo, or "" if it is not there.

    On Linux, `platform.processor()` does not return the name.
    """
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return ""
    names = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(names, "")
