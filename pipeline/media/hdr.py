"""Read static HDR metadata: mastering display (SMPTE ST 2086) and light level (CTA-861.3)."""

from __future__ import annotations

from contextlib import suppress
from fractions import Fraction
from typing import Any

from av.sidedata.sidedata import SideData, SideDataContainer
from av.video.frame import VideoFrame

from pipeline.schema.colour import StaticHdr

# Kinds of side data with HDR metadata for each scene or frame, which none of the encoders writes.
DYNAMIC_HDR = frozenset(
    {"DYNAMIC_HDR_PLUS", "DYNAMIC_HDR_VIVID", "DOVI_METADATA", "DOVI_RPU_BUFFER"}
)
HDR_ENCODERS = frozenset({"libx265"})  # encoders that write the static metadata

# Steps per unit of chromaticity and per cd/m2 of luminance in H.265's mastering display message.
_CHROMATICITY = 50000
_LUMINANCE = 10000


def read_side_data(frame: VideoFrame) -> list[SideData]:
    """Return a decoded frame's side data, up to the first item of a kind that PyAV cannot name."""
    # `frame.side_data` itself raises ValueError if one kind is newer than PyAV's table
    held: Any = SideDataContainer.__new__(SideDataContainer)
    with suppress(ValueError):
        held.__init__(frame)
    data = [held[number] for number in range(len(held))]
    return [item for item in data if isinstance(item, SideData) and _is_named(item)]


def has_unknown_side_data(frame: VideoFrame) -> bool:
    """Return whether a frame carries side data of a kind that PyAV cannot name."""
    try:
        len(frame.side_data)
    except ValueError:
        return True
    return False


def _is_named(data: SideData) -> bool:
    try:
        return bool(data.type.name)
    except ValueError:
        return False


def read_static_hdr(frame: VideoFrame) -> StaticHdr | None:
    """Return a frame's static HDR metadata, or None if it has no usable metadata."""
    found = {data.type.name: bytes(data) for data in read_side_data(frame)}
    display = ""
    light = None
    mastering = found.get("MASTERING_DISPLAY_METADATA")
    if mastering is not None:
        display = _display(memoryview(mastering).cast("i"))
    if "CONTENT_LIGHT_LEVEL" in found:
        numbers = memoryview(found["CONTENT_LIGHT_LEVEL"]).cast("I")
        light = (numbers[0], numbers[1])
    return StaticHdr(display=display, light=light) if display or light else None


def has_dynamic_hdr(frame: VideoFrame) -> bool:
    """Return whether a frame carries dynamic metadata (Dolby Vision, HDR10+ or HDR Vivid)."""
    return any(data.type.name in DYNAMIC_HDR for data in read_side_data(frame))


def _display(numbers: Any) -> str:
    """Return FFmpeg's AVMasteringDisplayMetadata in x265's notation; "" if it is unusable."""
    pairs = zip(numbers[0:20:2], numbers[1:20:2], strict=True)
    values = [Fraction(a, b) if b else Fraction(0) for a, b in pairs]
    if not (numbers[20] and numbers[21]):
        return ""
    if min(values) < 0 or max(values) * _CHROMATICITY >= 1 << 32:
        return ""  # damaged

    red, green, blue, white = (
        tuple(round(v * _CHROMATICITY) for v in values[i : i + 2]) for i in (0, 2, 4, 6)
    )
    least, most = (round(v * _LUMINANCE) for v in values[8:10])
    points = zip(["G", "B", "R", "WP"], (green, blue, red, white), strict=True)
    return "".join(f"{name}({x},{y})" for name, (x, y) in points) + f"L({most},{least})"


def hdr_x265_params(hdr: StaticHdr | None) -> str:
    """Return the part of x265-params that sets the HDR metadata; "" if there is none."""
    if hdr is None:
        return ""
    display = f":master-display={hdr.display}" if hdr.display else ""
    light = f":max-cll={hdr.light[0]},{hdr.light[1]}" if hdr.light else ""
    return f"{display}{light}"
