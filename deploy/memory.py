"""How much memory a device has left, and how to tell that it was not enough."""

from __future__ import annotations

from pathlib import Path

_CGROUP = Path("/sys/fs/cgroup")
_SAID = (
    "out of memory",
    "can't allocate memory",
    "not enough memory",
    "bad allocation",
    "bad_alloc",
)


def available_bytes(device: str) -> int:
    """Return the free memory of `cpu` or `cuda:N` in bytes; 0 where it cannot be known."""
    if device.startswith("cuda"):
        import torch

        free, _ = torch.cuda.mem_get_info(device.split()[0])
        return int(free)
    return min(_available(), _left_in_cgroup())


def _available() -> int:
    try:
        lines = Path("/proc/meminfo").read_text().splitlines()
    except OSError:
        return 0
    return next((int(s.split()[1]) * 1024 for s in lines if s.startswith("MemAvailable")), 0)


def _left_in_cgroup() -> int:
    """Return what the control group (a container's limit) leaves, or far too much without one."""
    try:
        most = (_CGROUP / "memory.max").read_text().strip()
        used = int((_CGROUP / "memory.current").read_text())
    except (OSError, ValueError):
        return 2**62
    return max(0, int(most) - used) if most.isdigit() else 2**62


def is_out_of_memory(error: Exception) -> bool:
    """Return whether a library's error says that memory was short."""
    return isinstance(error, MemoryError) or any(said in str(error).lower() for said in _SAID)
