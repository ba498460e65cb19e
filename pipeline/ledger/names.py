"""The names of files in a run folder, on a file system and at a URL."""

from __future__ import annotations

PLAN = "plan.json"
PUBLISHING = "publishing.json"  # holds the digest of what is about to become the output
ADAPTED = "adapted.safetensors"
RECORDS = "[0-9]*.json"  # pattern of the records of all segments


def record_name(segment: int) -> str:
    """Return the name of a segment's record."""
    return f"{segment:05d}.json"
