"""Recordings, servers and stand-ins that several test modules share."""

from pathlib import Path

ROOT = Path(__file__).parents[2]
"""The checkout."""
DATA = ROOT / "tests" / "data"
"""Small real files; SOURCES.md there names their origins and licences."""
