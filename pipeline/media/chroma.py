"""Find the location of a video's chroma samples.

FFmpeg's scaler ignores the location in a decoded frame, and PyAV does not expose it. However,
FFmpeg's Matroska muxer writes the location into the header of a file, where this module finds it.
"""

from __future__ import annotations

import io
import re

import av
from av.video.format import VideoFormat
from av.video.stream import VideoStream

from pipeline.media.container import MEDIA_ERRORS
from pipeline.schema.colour import ChromaLocation

# Matroska's elements ChromaSitingHorz and ChromaSitingVert, each with a value of one byte. The
# muxer writes one right after the other; matching both avoids mistaking other bytes for them.
_SITING = re.compile(rb"\x55\xb7\x81([\x01\x02])\x55\xb8\x81([\x01\x02])")
# In both, 1 means at the first luma sample, and 2 means half-way to the next.
_LOCATIONS: dict[tuple[bytes, ...], ChromaLocation] = {
    (b"\x01", b"\x02"): "left",
    (b"\x02", b"\x02"): "center",
    (b"\x01", b"\x01"): "topleft",
    (b"\x02", b"\x01"): "top",
}
_BLOCK = 16  # pixels; a multiple of every chroma subsampling factor


def find_chroma_location(stream: VideoStream, pix_fmt: str) -> ChromaLocation:
    """Return the location of an opened stream's chroma samples relative to the luma samples.

    If the stream does not signal a location, the result is "left", the default of MPEG-2 and later
    codecs. It is "" for RGB, for grey and for formats without horizontal chroma subsampling.
    """
    chroma = VideoFormat(pix_fmt, _BLOCK, _BLOCK)
    if chroma.is_rgb or len(chroma.components) < 3 or chroma.chroma_width(_BLOCK) == _BLOCK:
        return ""

    file = io.BytesIO()
    try:
        with av.open(file, "w", format="matroska") as container:
            container.add_stream_from_template(stream)
            container.start_encoding()
    except (*MEDIA_ERRORS, ValueError):
        return "left"  # Matroska does not support the codec

    found = _SITING.search(file.getvalue())
    return "left" if found is None else _LOCATIONS[found.groups()]
