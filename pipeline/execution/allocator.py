"""Let the C library keep the memory of large frames and tensors for the next ones."""

from __future__ import annotations

import ctypes
import sys

# parameters of glibc's mallopt
_TRIM_THRESHOLD = -1
_MMAP_THRESHOLD = -3

_KEPT = 1 << 30  # bytes of freed memory that are not returned to the system
_LARGEST = 32 << 20  # bytes up to which memory is reused; glibc accepts no more


def keep_freed_memory() -> bool:
    """Make glibc reuse freed memory of up to 32 MB per block; return whether that worked.

    By default, glibc returns large blocks to the system, and each new frame or tensor waits until
    the system has cleared its pages. The setting applies to the whole process, so only commands and
    actors change it, not the Python interface. With other C libraries, nothing happens.
    """
    if sys.platform != "linux":
        return False
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is None:
        return False
    return bool(mallopt(_MMAP_THRESHOLD, _LARGEST) and mallopt(_TRIM_THRESHOLD, _KEPT))
