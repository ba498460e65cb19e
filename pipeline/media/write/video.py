"""Write videos at a constant frame rate, without a source recording or other streams."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import av
from av.container import OutputContainer
from av.video.stream import VideoStream

from pipeline.errors import StageError, first_line
from pipeline.media.colour import FromRgb
from pipeline.media.container import MEDIA_ERRORS
from pipeline.pixels import Pixels
from pipeline.schema.colour import Colour


class VideoWriter:
    """Writes RGB frames to a video with a constant frame rate."""

    def __init__(
        self, path: Path, *, rate: Fraction = Fraction(25), lossless: bool = False
    ) -> None:
        self._path = path
        self._rate = rate
        self._lossless = lossless
        self._container: OutputContainer | None = None
        self._stream: VideoStream | None = None
        self._number = 0

    def write(self, rgb: Pixels) -> None:
        """Append a frame (uint8 or uint16 H x W x 3 RGB); a lossless video preserves all its bits.

        Raises StageError if the frame cannot be written.
        """
        try:
            if self._stream is None:
                self._open(rgb)
            assert self._stream is not None
            assert self._container is not None
            frame = self._convert(rgb)
            frame.pts = self._number
            frame.time_base = 1 / self._rate
            self._container.mux(self._stream.encode(frame))
        except MEDIA_ERRORS as error:
            raise StageError(
                f"{self._path} cannot be written ({first_line(error)}); "
                "check that the disk has room"
            ) from error
        self._number += 1

    def close(self) -> None:
        """Flush the encoder and close the file."""
        if self._container is not None and self._stream is not None:
            self._container.mux(self._stream.encode(None))
            self._container.close()
        self._container = self._stream = None

    def _open(self, rgb: Pixels) -> None:
        deep = rgb.dtype.itemsize > 1
        height, width = rgb.shape[:2]
        options: dict[str, str]
        if self._lossless and deep:
            codec = "ffv1"
            pix_fmt = "gbrp16le"
            options = {}
        elif self._lossless:
            codec = "libx264rgb"
            pix_fmt = "rgb24"
            options = {"qp": "0", "preset": "fast"}
        else:
            codec = "libx264"
            pix_fmt = "yuv420p"
            options = {"crf": "16"}

        colour = Colour(matrix=1, range=1, primaries=1, transfer=1)
        if self._lossless:
            colour = Colour(matrix=0, range=2, used_matrix="rgb", used_range="full")
        self._convert = FromRgb(colour, pix_fmt)
        container = av.open(str(self._path), "w")
        stream = container.add_stream(codec, rate=self._rate, options=options)
        assert isinstance(stream, VideoStream)
        context = stream.codec_context
        context.width = width
        context.height = height
        context.pix_fmt = pix_fmt
        context.time_base = 1 / self._rate
        context.colorspace, context.color_range = colour.matrix, colour.range
        context.color_primaries, context.color_trc = colour.primaries, colour.transfer
        self._container = container
        self._stream = stream
