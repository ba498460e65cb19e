"""The encoder settings of a plan."""

from __future__ import annotations

from pipeline.schema.clip import StaticHdr
from pipeline.schema.model import Model


class Encoding(Model):
    """Encoder settings, the same for every segment, so that packets can be joined."""

    codec: str = "libx264"
    crf: float | None = 16
    preset: str | None = "medium"
    pix_fmt: str = "yuv420p"
    profile: str | None = None
    hdr: StaticHdr | None = None
    threads: int = 0
    """Number of encoder threads; fixed in the plan because some encoders' output depends on it."""
