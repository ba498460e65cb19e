"""Enlarge 4:2:0 video plane by plane, without converting it to RGB."""

from __future__ import annotations

from typing import NamedTuple

from av.video.frame import VideoFrame

from pipeline.media.colour import UNTAGGED, Scaler
from pipeline.pixels import Pixels, as_pixels
from pipeline.schema.clip import Recording, VideoClip
from pipeline.schema.colour import Colour
from pipeline.schema.encoding import Encoding

# Pixel format of a recording -> the formats in which its planes can be encoded.
_FORMATS = {
    "yuv420p": ("yuv420p", "nv12"),
    "yuvj420p": ("yuv420p", "nv12"),
    "yuv420p10le": ("yuv420p10le",),
}

# param0 and param1 select the kernel of OpenCV's bicubic interpolation, with which RGB frames are
# enlarged. With bitexact, the result is the same on every processor.
_FLAGS = "bicubic+accurate_rnd+full_chroma_inp+bitexact:param0=0:param1=0.75"


class PlaneFormat(NamedTuple):
    """The size and the pixel format of enlarged planes."""

    width: int
    height: int
    pix_fmt: str

    @property
    def shape(self) -> tuple[int, int]:
        """The shape (rows, columns) of an array that contains the planes one below the other."""
        return self.height * 3 // 2, self.width


def can_scale_planes(recording: Recording, encoding: Encoding, width: int, height: int) -> bool:
    """Return whether a recording's planes can be enlarged to width x height for the encoder."""
    return (
        isinstance(recording, VideoClip)
        and not recording.alpha
        and encoding.pix_fmt in _FORMATS.get(recording.pix_fmt, ())
        and not any(side % 2 for side in (recording.width, recording.height, width, height))
    )


class PlaneScaler:
    """Enlarges the planes of decoded 4:2:0 frames."""

    def __init__(self, colour: Colour, made: PlaneFormat) -> None:
        matrix, levels = colour.used_matrix, colour.used_range
        location = f":in_chroma_loc={colour.chroma}" if colour.chroma else ""
        self._steps = [
            f"scale={made.width}:{made.height}:in_color_matrix={matrix}:out_color_matrix={matrix}"
            f":in_range={levels}:out_range={levels}"
            f"{location}:out_chroma_loc=left:flags={_FLAGS}",
            f"format={made.pix_fmt}",
        ]
        self._scalers: dict[tuple[str, int, int], Scaler] = {}

    def __call__(self, frame: VideoFrame) -> Pixels:
        """Return the enlarged planes in an array of `PlaneFormat.shape`.

        The values are uint8 or uint16 codes of Y', Cb and Cr. In planar formats, each row of the
        array contains two rows of Cb or of Cr, which are half as long as a row of Y'. This method
        removes the frame's colour tags.
        """
        key = (frame.format.name, frame.width, frame.height)
        if key not in self._scalers:
            self._scalers[key] = Scaler(frame, self._steps, threads=1)
        frame.colorspace, frame.color_range = UNTAGGED
        return as_pixels(self._scalers[key](frame).to_ndarray())
