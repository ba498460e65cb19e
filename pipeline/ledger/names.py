"""The names of files in a run folder, whether on a file system or at a URL."""

from __future__ import annotations

PLAN = "plan.json"
PUBLISHING = "publishing.json"  # contains the digest of the output that is being published
ADAPTED = "adapted.safetensors"
RECORDS = "[0-9]*.json"  # glob pattern that matches the records of all segments


def record_name(segment: int) -> str:
    """Return the name of a segment's record."""
    return f"{segment:05d}.json"
