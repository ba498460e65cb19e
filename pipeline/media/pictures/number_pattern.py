"""Match the names of numbered pictures with the patterns that video and film programs use.

    frame_%06d.png        FFmpeg: a number with at least six digits
    frame.####.png        a number with at least as many digits as there are # signs
    frame.@@@@.exr        the same
    frame.1-100#.png      only the numbers from 1 to 100
    frame.1-100x5#.png    only every fifth of these numbers
    frame.1-9,20#.png     several ranges

Programs disagree on how many digits a single # stands for, so it matches a number of any length.
"""

from __future__ import annotations

import re
from collections.abc import Callable

from pipeline.errors import MediaError

_PERCENT = re.compile(r"(?<!%)%(?:0?(\d))?d")
_RANGE = r"\d+(?:-\d+(?:x\d+)?)?"
# Ranges are recognised only at the start of a name or after a separator, not inside a word.
_SIGNS = re.compile(rf"(?P<ranges>(?:(?<=[._ -])|(?<=^)){_RANGE}(?:,{_RANGE})*)?(?P<signs>#+|@+)")


def has_percent_number(name: str) -> bool:
    """Return whether a name has one of FFmpeg's placeholders for a number, such as %06d."""
    return _PERCENT.search(name) is not None


def has_number(name: str) -> bool:
    """Return whether a name has a placeholder for a number, in any of the notations above."""
    return has_percent_number(name) or _SIGNS.search(name) is not None


def compile_number_pattern(name: str) -> Callable[[str], bool]:
    """Return a function that returns whether a file name matches a pattern with a number.

    Raises MediaError if a range in the pattern ends before it begins, or has a step of 0.
    """
    if has_percent_number(name):
        return _compile_percent(name)

    pieces, ranges, end = [], [], 0
    for match in _SIGNS.finditer(name):
        pieces += [re.escape(name[end : match.start()]), rf"(\d{{{len(match['signs'])},}})"]
        ranges.append(_parse_ranges(match["ranges"], name))
        end = match.end()
    own = re.compile("".join([*pieces, re.escape(name[end:])]))

    def matches(other: str) -> bool:
        found = own.fullmatch(other)
        return found is not None and all(
            allowed is None or any(int(number) in each for each in allowed)
            for number, allowed in zip(found.groups(), ranges, strict=True)
        )

    return matches


def _compile_percent(name: str) -> Callable[[str], bool]:
    pieces, end = [], 0
    for match in _PERCENT.finditer(name):
        digits = int(match[1] or 1)
        pieces += [_escape(name[end : match.start()]), rf"\d{{{digits},}}"]
        end = match.end()
    own = re.compile("".join([*pieces, _escape(name[end:])]))
    return lambda other: own.fullmatch(other) is not None


def _escape(text: str) -> str:
    return re.escape(text.replace("%%", "%"))


def _parse_ranges(text: str | None, name: str) -> list[range] | None:
    """Return the ranges of numbers that a pattern allows, or None if it allows all numbers."""
    if text is None:
        return None
    found = []
    for part in text.split(","):
        first, _, rest = part.partition("-")
        last, _, step = rest.partition("x")
        numbers = range(int(first), int(last or first) + 1, int(step or 1) or -1)
        if not numbers:
            raise MediaError(
                f"the range {part} in the pattern {name} contains no number; try a range such as "
                "1-100 or 1-100x5"
            )
        found.append(numbers)
    return found
