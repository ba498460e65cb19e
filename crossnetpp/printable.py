"""Make text safe to print, so that a hostile name cannot control the terminal.

File names, and the titles, track names and messages in recordings, may contain escape sequences
that set the window's title or clear the screen, and marks that reverse the direction of text.
"""

from __future__ import annotations

import logging
import re

# Control characters (but not tab and newline), line separators, direction marks and surrogates.
_UNPRINTABLE = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]"
)


def make_printable(text: str) -> str:
    """Return `text` with every unprintable character written as an escape such as `\\x1b`.

    Tabs and newlines are kept.
    """
    return _UNPRINTABLE.sub(_escape, text)


def make_printable_json(text: str) -> str:
    """Return JSON with unprintable characters written as escapes such as `\\u001b`.

    The result has the same JSON value as `text`.
    """
    return _UNPRINTABLE.sub(lambda found: f"\\u{ord(found[0]):04x}", text)


def _escape(found: re.Match[str]) -> str:
    code = ord(found[0])
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}"


class PrintableFormatter(logging.Formatter):
    """A formatter that escapes the unprintable characters in log records."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the record as printable text."""
        return make_printable(super().format(record))
