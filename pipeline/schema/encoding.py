"""The encoder settings of a plan."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from pipeline.schema.colour import StaticHdr
from pipeline.schema.model import Model
from pipeline.schema.texts import Word

# A number of threads, which libraries store in a C int.
Threads = Annotated[int, Field(ge=0, le=4096)]


class Encoding(Model):
    """The encoder settings of all segments, which must agree so that packets can be joined."""

    codec: Word = "libx264"
    crf: float | None = 16
    preset: Word | None = "medium"
    pix_fmt: Word = "yuv420p"
    profile: Word | None = None
    hdr: StaticHdr | None = None
    threads: Threads = 0
    """Number of encoder threads; part of the plan, because some encoders' output depends on it."""
