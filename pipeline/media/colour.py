"""Convert between YUV and RGB with swscale, using the stream's matrix, range and chroma location.

PyAV's reformatter cannot set the chroma location, so a filter graph is used. If the location is not
set, swscale treats chroma as centred, even if the frame carries another location. That is half a
pixel away from where MPEG-2 and most later codecs place chroma.
"""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import cv2
import numpy as np
from av.filter import Graph
from av.filter.context import FilterContext
from av.video.format import VideoFormat
from av.video.frame import VideoFrame
from numpy.typing import NDArray

from pipeline.errors import MediaError
from pipeline.pixels import Pixels
from pipeline.schema.colour import ChromaLocation, Colour

_UNSPECIFIED = 2
UNTAGGED = (_UNSPECIFIED, 0)  # the matrix and the range of a frame without colour tags
_MATRICES = {
    0: "rgb",
    1: "bt709",
    4: "bt601",  # FCC differs from BT.601 by less than 1 level
    5: "bt601",
    6: "bt601",
    7: "bt709",  # SMPTE 240M has no name in the schema; BT.709 differs by at most 2 levels
    9: "bt2020",
    10: "bt2020",
}
# Luma weights of red and blue; green has the remainder.
_LUMA_WEIGHTS = {"bt601": (0.299, 0.114), "bt709": (0.2126, 0.0722), "bt2020": (0.2627, 0.0593)}

# Without accurate_rnd and full chroma, swscale is up to 5 levels off. With AVX2, these flags cost
# nothing when the target is planar gbrp. Packed rgb24 is five times slower, so frames are converted
# to gbrp first. bitexact costs nothing and gives the same bits on every processor of a cluster.
_FLAGS = "bicubic+accurate_rnd+full_chroma_int+full_chroma_inp+bitexact"
# Codecs that store grey levels without a tag for their range.
_FULL_GRAY = frozenset({
    "rawvideo", "png", "tiff", "bmp", "pgm", "huffyuv", "ffvhuff", "utvideo", "ffv1", "magicyuv",
    "jpeg2000", "jpegls",
})  # fmt: skip
_TICK = Fraction(1, 25)


def is_rgb(pix_fmt: str) -> bool:
    """Return whether a pixel format stores RGB rather than YUV, grey or a palette."""
    return VideoFormat(pix_fmt).is_rgb


def describe_colour(
    pix_fmt: str,
    width: int,
    height: int,
    *,
    codec: str = "",
    matrix: int = _UNSPECIFIED,
    colour_range: int = 0,
    primaries: int = _UNSPECIFIED,
    transfer: int = _UNSPECIFIED,
    chroma: ChromaLocation = "",
) -> Colour:
    """Return a stream's H.273 tags, and the matrix and range that its conversion uses.

    A matrix or range without a tag is guessed. Raises MediaError if the matrix is not supported.
    """
    if matrix not in _MATRICES and matrix != _UNSPECIFIED and matrix != 3:
        raise MediaError(
            f"colour matrix {matrix} is not supported; expected BT.601, BT.709 or BT.2020; "
            "convert the file first"
        )
    tags = Colour(
        matrix=matrix, range=colour_range, primaries=primaries, transfer=transfer, chroma=chroma
    )
    if is_rgb(pix_fmt) or pix_fmt == "pal8":
        return tags.model_copy(update={"used_matrix": "rgb", "used_range": "full"})
    # untagged grey in these codecs mostly comes from cameras and microscopes, which use all levels
    full_gray = pix_fmt.startswith("gray") and codec in _FULL_GRAY and not colour_range
    full_by_format = pix_fmt.startswith("yuvj") or full_gray
    guessed = matrix not in _MATRICES or matrix == 0 or (colour_range == 0 and not full_by_format)
    guessed = guessed and not full_gray
    used = _MATRICES.get(matrix, "rgb")
    if used == "rgb":
        used = "bt709" if height >= 720 or width >= 1280 else "bt601"
    full = full_by_format or colour_range == 2
    levels = "full" if full else "limited"
    return tags.model_copy(update={"used_matrix": used, "used_range": levels, "guessed": guessed})


def output_colour(colour: Colour, pix_fmt: str) -> Colour:
    """Return the tags, matrix and range of an output in `pix_fmt`, given those of its input."""
    if is_rgb(pix_fmt):
        return colour.model_copy(
            update={
                "matrix": 0 if colour.matrix != _UNSPECIFIED else _UNSPECIFIED,
                "range": 2 if colour.range else 0,
                "used_matrix": "rgb",
                "used_range": "full",
            }
        )
    if colour.used_matrix == "rgb":
        # RGB converted to YUV needs a tag for the matrix
        return colour.model_copy(
            update={"matrix": 1, "range": 1, "used_matrix": "bt709", "used_range": "limited"}
        )
    if colour.used_range == "full" and not colour.range:
        # the input's pixel format implies full range, but the output's does not
        return colour.model_copy(update={"range": 2})
    return colour


def make_contiguous(pixels: NDArray[Any]) -> Pixels:
    """Return uint8 or uint16 pixels as a contiguous array, copied only if necessary."""
    if pixels.dtype == np.uint8:
        return np.ascontiguousarray(pixels, dtype=np.uint8)
    return np.ascontiguousarray(pixels, dtype=np.uint16)


class Scaler:
    """A swscale filter graph that converts frames of one size and format."""

    def __init__(self, frame: VideoFrame, steps: list[str], threads: int) -> None:
        self._graph = Graph()
        self._graph.threads = threads
        # The graph is built for untagged frames, and callers remove the tags from every frame. The
        # steps state the matrix and range, so a stream whose tags change is converted consistently.
        source = self._graph.add(
            "buffer",
            video_size=f"{frame.width}x{frame.height}",
            pix_fmt=frame.format.name,
            time_base=str(_TICK),
            pixel_aspect="1/1",
            **({} if frame.format.is_rgb else {"colorspace": "unknown", "range": "unknown"}),
        )
        nodes: list[FilterContext] = [source]
        for step in steps:
            name, _, arguments = step.partition("=")
            nodes.append(self._graph.add(name, arguments))
        sink = self._graph.add("buffersink")
        self._graph.link_nodes(*nodes, sink)
        self._graph.configure()
        self._source, self._sink = source, sink

    def __call__(self, frame: VideoFrame) -> VideoFrame:
        """Return the converted frame."""
        self._source.push(frame)
        converted = self._sink.pull()
        assert isinstance(converted, VideoFrame)
        return converted


def _depth(frame_format: VideoFormat) -> int:
    return max(component.bits for component in frame_format.components)


class ToRgb:
    """Converts decoded frames to H x W x 3 RGB: 8 bits to uint8, more to full-scale uint16."""

    def __init__(self, colour: Colour, *, threads: int = 1) -> None:
        self._colour = colour
        self._chroma = f":in_chroma_loc={colour.chroma}" if colour.chroma else ""
        self._threads = threads
        self._scalers: dict[tuple[str, int, int], Scaler] = {}

    def __call__(self, frame: VideoFrame) -> Pixels:
        """Return a decoded frame's pixels; this may remove the frame's colour tags."""
        depth = _depth(frame.format)
        rgb = frame.format.is_rgb or frame.format.name == "pal8"
        packed = "rgb48le" if depth > 8 else "rgb24"
        if frame.format.name != packed:
            key = (frame.format.name, frame.width, frame.height)
            if key not in self._scalers:
                steps = self._steps(packed, rgb, len(frame.format.components) < 3)
                self._scalers[key] = Scaler(frame, steps, self._threads)
            frame.colorspace, frame.color_range = UNTAGGED
            frame = self._scalers[key](frame)
        pixels = make_contiguous(frame.to_ndarray())
        if depth == 8 or rgb:
            return pixels
        # swscale shifts levels to 16 bits instead of scaling them, so its white is below 65535
        limited = self._colour.used_range == "limited"
        white = 255 << 8 if limited else (2**depth - 1) << (16 - depth)
        flat = pixels.reshape(len(pixels), -1)
        factor: Any = 65535 / white  # OpenCV's stub accepts no scalars
        return make_contiguous(cv2.multiply(flat, factor)).reshape(pixels.shape)

    def _steps(self, packed: str, rgb: bool, grey: bool) -> list[str]:
        if rgb:
            return [f"scale=flags={_FLAGS}", f"format={packed}"]
        deep = packed == "rgb48le"
        matrix, scale = self._colour.used_matrix, self._colour.used_range
        steps = []
        if grey:
            # swscale treats every grey format as full range, so luma is copied to YUV unchanged
            steps = [
                f"scale=in_range=full:out_range=full:flags={_FLAGS}",
                f"format={'yuv444p16le' if deep else 'yuv444p'}",
            ]
        return [
            *steps,
            f"scale=in_color_matrix={matrix}:in_range={scale}{self._chroma}:flags={_FLAGS}",
            f"format={'gbrp16le' if deep else 'gbrp'}",
            f"scale=flags={_FLAGS}",
            f"format={packed}",
        ]


class FromRgb:
    """Converts uint8 or uint16 H x W x 3 RGB to frames in an encoder's pixel format."""

    def __init__(self, colour: Colour, pix_fmt: str, *, threads: int = 1) -> None:
        self._colour = output_colour(colour, pix_fmt)
        self._pix_fmt = pix_fmt
        self._depth = _depth(VideoFormat(pix_fmt))
        self._threads = threads
        self._scalers: dict[tuple[str, int, int], Scaler] = {}

    def __call__(self, rgb: Pixels) -> VideoFrame:
        """Return a frame that has the output's colour tags but no time.

        `rgb` may also be planes in the encoder's format, an array of shape `PlaneFormat.shape`.
        """
        if rgb.ndim == 2:
            frame = VideoFrame.from_ndarray(rgb, format=self._pix_fmt)
        else:
            frame = self._convert_rgb(rgb)
        frame.colorspace, frame.color_range = self._colour.matrix, self._colour.range
        return frame

    def _convert_rgb(self, rgb: Pixels) -> VideoFrame:
        """Return a frame in the encoder's pixel format, without colour tags."""
        # swscale is exact to half a level when it converts 8 bits to limited range. In full range,
        # its chroma is half a level too low, and with more bits, its white is 4 levels too high. In
        # these cases, `_by_matrix` converts the frame instead.
        plain = is_rgb(self._pix_fmt) or (
            self._depth == 8 and rgb.dtype == np.uint8 and self._colour.used_range == "limited"
        )
        frame = _packed(rgb) if plain else self._by_matrix(rgb)
        if frame.format.name != self._pix_fmt:
            key = (frame.format.name, frame.width, frame.height)
            if key not in self._scalers:
                self._scalers[key] = Scaler(frame, self._steps(plain), self._threads)
            frame.colorspace, frame.color_range = UNTAGGED
            frame = self._scalers[key](frame)
        return frame

    def _by_matrix(self, rgb: Pixels) -> VideoFrame:
        """Return RGB pixels as a 4:4:4 YUV frame with the output's matrix, range and bit depth."""
        matrix = _rgb_to_codes(self._colour, self._depth)
        matrix[:, :3] /= np.iinfo(rgb.dtype).max
        if self._depth > 8 and rgb.dtype == np.uint8:
            rgb = rgb.astype(np.uint16)
        codes = make_contiguous(cv2.transform(rgb, matrix))
        if self._depth == 8 and codes.dtype != np.uint8:
            codes = codes.astype(np.uint8)
        name = "yuv444p" if self._depth == 8 else f"yuv444p{self._depth}le"
        frame = VideoFrame(rgb.shape[1], rgb.shape[0], name)
        for index in range(3):
            plane: Any = frame.planes[index]
            rows = np.frombuffer(plane, codes.dtype).reshape(plane.height, -1)
            rows[:, : plane.width] = codes[..., index]
        return frame

    def _steps(self, plain: bool) -> list[str]:
        if is_rgb(self._pix_fmt):
            return [f"scale=flags={_FLAGS}", f"format={self._pix_fmt}"]
        matrix, scale = self._colour.used_matrix, self._colour.used_range
        source = "" if plain else f"in_color_matrix={matrix}:in_range={scale}:"
        # in H.264, H.265 and VP9, 4:2:0 chroma is on the left unless another location is signalled
        return [
            f"scale={source}out_color_matrix={matrix}:out_range={scale}"
            f":out_chroma_loc=left:flags={_FLAGS}",
            f"format={self._pix_fmt}",
        ]


def _packed(rgb: Pixels) -> VideoFrame:
    pixels: Any = np.ascontiguousarray(rgb)  # PyAV's stub accepts only one of the dtypes
    return VideoFrame.from_numpy_buffer(pixels, "rgb24" if rgb.dtype == np.uint8 else "rgb48le")


def _rgb_to_codes(colour: Colour, depth: int) -> NDArray[np.float64]:
    """Return the 3 x 4 matrix that converts RGB in 0..1 to Y'CbCr codes of `depth` bits.

    Source: H.273, equations 35 and following.
    """
    red, blue = _LUMA_WEIGHTS[colour.used_matrix]
    green = 1 - red - blue
    matrix = np.zeros((3, 4))
    matrix[0, :3] = red, green, blue
    matrix[1, :3] = np.array([-red, -green, 1 - blue]) / (2 * (1 - blue))
    matrix[2, :3] = np.array([1 - red, -green, -blue]) / (2 * (1 - red))
    if colour.used_range == "full":
        matrix *= 2**depth - 1
        matrix[1:, 3] = 2 ** (depth - 1)
    else:
        unit = 2 ** (depth - 8)
        matrix *= np.array([[219.0], [224.0], [224.0]]) * unit
        matrix[:, 3] = np.array([16, 128, 128]) * unit
    return matrix
