"""The free memory of a device."""

from __future__ import annotations

from pathlib import Path

import psutil

_CGROUP = Path("/sys/fs/cgroup")
_UNLIMITED = 2**62  # bytes


def available_bytes(device: str) -> int:
    """Return the free memory in bytes of `device`, whose name begins with cpu, cuda:N or mps.

    An Apple GPU (`mps`) shares its memory with the CPU.
    """
    if device.startswith("cuda"):
        import torch

        free, _ = torch.cuda.mem_get_info(device.split()[0])
        return int(free)
    return min(int(psutil.virtual_memory().available), _available_in_cgroup())


def _available_in_cgroup() -> int:
    """Return how many more bytes this process's control group (its container) may use.

    The result is _UNLIMITED if there is no limit, or no control group.
    """
    try:
        limit = (_CGROUP / "memory.max").read_text(encoding="utf-8").strip()
        used = int((_CGROUP / "memory.current").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return _UNLIMITED
    return max(0, int(limit) - used) if limit.isdigit() else _UNLIMITED
