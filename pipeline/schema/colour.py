"""Descriptions of a stream's colours: its tags, its conversion to RGB, and HDR metadata."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import SerializerFunctionWrapHandler, model_serializer

from pipeline.schema import texts
from pipeline.schema.model import Model

ChromaLocation = Literal["", "left", "center", "topleft", "top"]


class Colour(Model):
    """The colour tags of a stream, and the matrix and range with which it is converted.

    The tags `matrix`, `primaries` and `transfer` are codes from ITU-T H.273 (2 = unspecified).
    """

    matrix: int = 2
    range: int = 0
    """0 unspecified, 1 limited (16..235), 2 full (0..255); FFmpeg's AVColorRange."""
    primaries: int = 2
    transfer: int = 2
    used_matrix: Literal["rgb", "bt601", "bt709", "bt2020"] = "bt709"
    used_range: Literal["limited", "full"] = "limited"
    guessed: bool = False
    """Whether the matrix or the range is a guess, because the stream has no tag for it."""
    chroma: ChromaLocation = ""
    """Position of subsampled chroma; "" if chroma is not subsampled, and in older plans."""

    @model_serializer(mode="wrap")
    def _leave_out_chroma(self, serialize: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Omit an empty `chroma`, so that the digests of older plans stay the same."""
        values: dict[str, Any] = serialize(self)
        if not self.chroma:
            values.pop("chroma", None)
        return values


class StaticHdr(Model):
    """The mastering display and content light level, which apply to the whole recording."""

    display: texts.MasteringDisplay = ""
    """The mastering display as x265 writes it, G(x,y)B(x,y)R(x,y)WP(x,y)L(max,min): chromaticities
    in units of 0.00002, and luminances in units of 0.0001 cd/m2."""
    light: tuple[texts.Luminance, texts.Luminance] | None = None
    """Maximum content light level and maximum frame-average light level, in cd/m2."""
