"""Recordings, servers, browsers and fakes that several test modules share."""

from pathlib import Path

ROOT = Path(__file__).parents[2]  # the checkout
DATA = ROOT / "tests" / "data"  # small real files, with origins and licences in SOURCES.md
