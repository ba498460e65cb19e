"""The encoder settings of a plan."""

from __future__ import annotations

from pipeline.schema.clip import StaticHdr
from pipeline.schema.model import Model
from pipeline.schema.texts import Word


class Encoding(Model):
    """Encoder settings, which are the same for all segments so that their packets can be joined."""

    codec: Word = "libx264"
    crf: float | None = 16
    preset: Word | None = "medium"
    pix_fmt: Word = "yuv420p"
    profile: Word | None = None
    hdr: StaticHdr | None = None
    threads: int = 0
    """Number of encoder threads; part of the plan, because some encoders' output depends on it."""
