"""The name of this machine's processor."""

from __future__ import annotations

from pathlib import Path


def processor_name() -> str:
    """Return the model name of the CPU, or "" where Linux does not publish one.

    On Linux, `platform.processor()` does not return it.
    """
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return ""
    names = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(names, "")
