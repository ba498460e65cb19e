"""Values of options that are written as text, such as times and pairs of numbers."""

from __future__ import annotations


def parse_seconds(text: str) -> float:
    """Return the seconds of "12.5", "1:02.5" or "1:00:02"; raise ValueError for anything else."""
    seconds = 0.0
    for part in text.split(":"):
        seconds = 60 * seconds + float(part)
    return seconds


def parse_pair(text: str, separator: str) -> tuple[int, int]:
    """Return the two integers of "8x8" or "0,3"; raise ValueError for anything else."""
    parts = text.lower().split(separator)
    if len(parts) != 2 or not all(part.strip().lstrip("-").isdecimal() for part in parts):
        raise ValueError(f"expected two whole numbers such as 8{separator}8")
    return int(parts[0]), int(parts[1])
