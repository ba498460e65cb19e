"""Write to stdout completely, or fail: a pipe may not block, and a disk may be full."""

from __future__ import annotations

import os
import select
import sys
from typing import BinaryIO

import click


def write_all(descriptor: int, data: bytes | memoryview) -> None:
    """Write all bytes to a descriptor without a buffer; raises OSError if that is impossible.

    If the descriptor does not block, because the reader of a pipe shares that setting, this waits.
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


def print_out(text: str) -> None:
    """Print text to stdout; raises OSError unless all of it was written.

    The text does not pass through Python's buffer, which fails again when the interpreter exits,
    and without which (PYTHONUNBUFFERED) Python drops what a full disk or a pipe refuses.
    """
    stream = sys.stdout
    if stream is None:
        return
    try:
        descriptor = stream.fileno()
    except (OSError, AttributeError):  # no file, but such as a test's buffer
        descriptor = -1
    if descriptor < 0 or sys.platform == "win32":
        click.echo(text, nl=False)
        stream.flush()
        return

    context = click.get_current_context(silent=True)
    if not stream.isatty() or (context is not None and context.color is False):
        text = click.unstyle(text)  # as `click.echo` does
    stream.flush()
    write_all(descriptor, text.encode(stream.encoding, stream.errors or "strict"))
