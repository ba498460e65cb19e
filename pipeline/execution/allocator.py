"""Make the allocation of large frames and tensors faster."""

from __future__ import annotations

import ctypes
import os
import sys

# parameters of glibc's mallopt
_TRIM_THRESHOLD = -1
_MMAP_THRESHOLD = -3

_KEPT = 1 << 30  # bytes of freed memory that are not returned to the system
_LARGEST = 32 << 20  # bytes in the largest block that is reused; glibc accepts no higher limit

_HUGE_PAGES = "THP_MEM_ALLOC_ENABLE"  # PyTorch reads it at its first allocation


def speed_up_allocation() -> bool:
    """Make glibc reuse freed memory, and PyTorch use huge pages; return whether glibc was set up.

    By default, glibc returns large blocks to the system, and each new frame or tensor waits until
    the system has cleared its pages. With these settings, freed blocks of up to 32 MB are kept, and
    tensors above 2 MB use pages of 2 MB where Linux offers them. The settings apply to the whole
    process, so only commands and actors change them, not the Python interface. Other C libraries
    keep their defaults.
    """
    os.environ.setdefault(_HUGE_PAGES, "1")
    if sys.platform != "linux":
        return False
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is None:
        return False
    return bool(mallopt(_MMAP_THRESHOLD, _LARGEST) and mallopt(_TRIM_THRESHOLD, _KEPT))
