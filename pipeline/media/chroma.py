"""Find the location of a video's chroma samples.

FFmpeg's scaler ignores the location that a decoded frame carries, and PyAV does not expose it. But
FFmpeg's Matroska muxer writes the location to the header of a file, from which it is read here.
"""

from __future__ import annotations

import io

import av
from av.video.format import VideoFormat
from av.video.stream import VideoStream

from pipeline.media.container import MEDIA_ERRORS
from pipeline.schema.colour import ChromaLocation

# Matroska's elements ChromaSitingHorz and ChromaSitingVert, each with a value of one byte.
_HORIZONTAL, _VERTICAL = b"\x55\xb7\x81", b"\x55\xb8\x81"
# In both, 1 means at the first luma sample, and 2 means half-way to the next.
_LOCATIONS: dict[tuple[int, int], ChromaLocation] = {
    (1, 2): "left",
    (2, 2): "center",
    (1, 1): "topleft",
    (2, 1): "top",
}
_BLOCK = 16  # pixels; a multiple of every chroma step


def find_chroma_location(stream: VideoStream, pix_fmt: str) -> ChromaLocation:
    """Return the location of an opened stream's chroma samples relative to the luma samples.

    If the stream does not signal a location, it is "left", as MPEG-2 and later codecs define. The
    result is "" for RGB, for grey and for formats without horizontal chroma subsampling.
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
        return "left"  # Matroska cannot hold the codec

    header = file.getvalue()
    found = [header.find(name) + len(name) for name in (_HORIZONTAL, _VERTICAL)]
    values = [header[place] if place >= len(_VERTICAL) else 0 for place in found]
    return _LOCATIONS.get((values[0], values[1]), "left")
