"""Write to stdout completely, or fail: a pipe may be non-blocking, and a disk may be full."""

from __future__ import annotations

import os
import select
from typing import BinaryIO


def write_all(descriptor: int, data: bytes | memoryview) -> None:
    """Write all bytes to a descriptor without a buffer; raises OSError if that is impossible.

    Wait until there is room even if the descriptor is non-blocking, a setting that this process may
    share with others.
    """
    rest = memoryview(data)
    while rest:
        try:
            rest = rest[os.write(descriptor, rest) :]
        except BlockingIOError:
            select.select((), (descriptor,), ())


def copy_to_descriptor(source: BinaryIO, descriptor: int) -> None:
    """Write the rest of a file to a descriptor; raises OSError if that is impossible."""
    while piece := source.read(1 << 20):
        write_all(descriptor, piece)
