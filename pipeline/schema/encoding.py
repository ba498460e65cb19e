"""The encoder settings of a plan."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from pipeline.schema.colour import StaticHdr
from pipeline.schema.model import Model
from pipeline.schema.texts import Word

# A number of threads, limited because libraries store it in a C int.
Threads = Annotated[int, Field(ge=0, le=4096)]


class Encoding(Model):
    """The encoder settings, which all segments share so that their packets can be joined."""

    codec: Word = "libx264"
    crf: float | None = 16
    preset: Word | None = "medium"
    pix_fmt: Word = "yuv420p"
    profile: Word | None = None
    hdr: StaticHdr | None = None
    threads: Threads = 0
    """Number of encoder threads; in the plan, because the output of some encoders depends on it."""
