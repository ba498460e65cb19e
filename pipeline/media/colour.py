"""YUV <-> RGB by a stream's own matrix, range and chroma position, with swscale.

The filter graph is used and not PyAV's reformatter because only the filter takes a chroma position:
without it swscale takes 4:2:0 chroma as centred, half a pixel beside where MPEG-like codecs put it.
"""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import av
import numpy as np
from av.filter import Graph
from av.filter.context import FilterContext
from av.video.format import VideoFormat
from av.video.frame import VideoFrame
from numpy.typing import NDArray

from pipeline.errors import MediaError
from pipeline.schema import Colour

Pixels = NDArray[np.uint8] | NDArray[np.uint16]

_UNSPECIFIED = 2
_MATRICES = {
    0: "rgb",
    1: "bt709",
    4: "bt601",  # FCC differs from BT.601 by less than 1 level
    5: "bt601",
    6: "bt601",
    7: "bt709",  # SMPTE 240M has no name in the schema; BT.709 is 2 levels off at most
    9: "bt2020",
    10: "bt2020",
}
_MATRIX_TAG = {"bt709": 1, "bt601": 6, "bt2020": 9}
_RANGE_TAG = {"limited": 1, "full": 2}
# accurate_rnd and full chroma: without them swscale is up to 5 levels off; into planar gbrp they
# are as fast as without (AVX2), into packed rgb24 five times slower: hence the detour
# (bitexact costs nothing and gives the same bits on every processor of a cluster)
_FLAGS = "bicubic+accurate_rnd+full_chroma_int+full_chroma_inp+bitexact"
_LEFT_UNSIGNALLED = frozenset({"vp8", "vp9"})
"""Codecs that cannot signal where 4:2:0 chroma lies, and whose decoders do not tell."""
_TICK = Fraction(1, 25)


def is_rgb(pix_fmt: str) -> bool:
    """Tell whether a pixel format holds RGB."""
    return VideoFormat(pix_fmt).is_rgb


def describe_colour(
    pix_fmt: str,
    width: int,
    height: int,
    *,
    matrix: int = _UNSPECIFIED,
    colour_range: int = 0,
    primaries: int = _UNSPECIFIED,
    transfer: int = _UNSPECIFIED,
) -> Colour:
    """Keep a stream's H.273 tags and decide by what to convert it, guessed where untagged."""
    if matrix not in _MATRICES and matrix != _UNSPECIFIED and matrix != 3:
        raise MediaError(
            f"colour matrix {matrix} is not supported; expected BT.601, BT.709 or BT.2020; "
            "convert the file first"
        )
    tags = {
        "matrix": matrix,
        "range": colour_range,
        "primaries": primaries,
        "transfer": transfer,
    }
    if is_rgb(pix_fmt) or pix_fmt == "pal8":
        return Colour(**tags, used_matrix="rgb", used_range="full")
    full_by_format = pix_fmt.startswith("yuvj")
    guessed = matrix not in _MATRICES or matrix == 0 or (colour_range == 0 and not full_by_format)
    used = _MATRICES.get(matrix, "rgb")
    if used == "rgb":
        used = "bt709" if height >= 720 or width >= 1280 else "bt601"
    full = full_by_format or colour_range == 2
    return Colour(
        **tags, used_matrix=used, used_range="full" if full else "limited", guessed=guessed
    )


def output_colour(colour: Colour, pix_fmt: str) -> Colour:
    """Return the tags and conversion of an output in `pix_fmt` made from a clip of `colour`."""
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
        # RGB turned to YUV must say by which matrix
        return colour.model_copy(
            update={"matrix": 1, "range": 1, "used_matrix": "bt709", "used_range": "limited"}
        )
    return colour


def contiguous(pixels: NDArray[Any]) -> Pixels:
    """Return uint8 or uint16 pixels without gaps between rows, copied only where there are any."""
    if pixels.dtype == np.uint8:
        return np.ascontiguousarray(pixels, dtype=np.uint8)
    return np.ascontiguousarray(pixels, dtype=np.uint16)


class _Scaler:
    """A swscale filter graph for frames of one size and format."""

    def __init__(self, frame: VideoFrame, steps: list[str], threads: int) -> None:
        self._graph = Graph()
        self._graph.threads = threads
        # the graph is built for untagged frames and each frame is untagged before: the tags are
        # given to the filter by name, so a stream that changes its tags cannot change the result
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
        """Convert one frame; swscale frames go in and out one by one."""
        self._source.push(frame)
        converted = self._sink.pull()
        assert isinstance(converted, VideoFrame)
        return converted


class ToRgb:
    """Convert decoded frames to uint8 (8 bit) or uint16 (more; full scale) H x W x 3 RGB."""

    def __init__(self, colour: Colour, *, codec: str = "", threads: int = 1) -> None:
        self._colour = colour
        # otherwise each frame says it itself
        self._chroma = ":in_chroma_loc=left" if codec in _LEFT_UNSIGNALLED else ""
        self._threads = threads
        self._scalers: dict[tuple[str, int, int], _Scaler] = {}

    def __call__(self, frame: VideoFrame) -> Pixels:
        """Return the pixels of a decoded frame, which loses its colour tags."""
        deep = max(component.bits for component in frame.format.components) > 8
        packed = "rgb48le" if deep else "rgb24"
        if frame.format.name != packed:
            key = (frame.format.name, frame.width, frame.height)
            if key not in self._scalers:
                self._scalers[key] = _Scaler(frame, self._steps(frame, packed), self._threads)
            frame.colorspace, frame.color_range = _UNSPECIFIED, 0
            frame = self._scalers[key](frame)
        return contiguous(frame.to_ndarray())

    def _steps(self, frame: VideoFrame, packed: str) -> list[str]:
        if frame.format.is_rgb or frame.format.name == "pal8":
            return [f"scale=flags={_FLAGS}", f"format={packed}"]
        planar = "gbrp16le" if packed == "rgb48le" else "gbrp"
        matrix, scale = self._colour.used_matrix, self._colour.used_range
        return [
            f"scale=in_color_matrix={matrix}:in_range={scale}{self._chroma}:flags={_FLAGS}",
            f"format={planar}",
            f"scale=flags={_FLAGS}",
            f"format={packed}",
        ]


class FromRgb:
    """Convert uint8 or uint16 H x W x 3 RGB to frames in an encoder's pixel format."""

    def __init__(self, colour: Colour, pix_fmt: str, *, threads: int = 1) -> None:
        self._colour = output_colour(colour, pix_fmt)
        self._pix_fmt = pix_fmt
        self._threads = threads
        self._scalers: dict[tuple[str, int, int], _Scaler] = {}

    def __call__(self, rgb: Pixels) -> VideoFrame:
        """Return an untimed frame, tagged as the output is."""
        packed = "rgb24" if rgb.dtype == np.uint8 else "rgb48le"
        pixels: Any = np.ascontiguousarray(rgb)  # PyAV's stub asks for one dtype, not either
        frame = av.VideoFrame.from_numpy_buffer(pixels, packed)
        if packed != self._pix_fmt:
            key = (packed, frame.width, frame.height)
            if key not in self._scalers:
                self._scalers[key] = _Scaler(frame, self._steps(), self._threads)
            frame = self._scalers[key](frame)
        frame.colorspace, frame.color_range = self._colour.matrix, self._colour.range
        return frame

    def _steps(self) -> list[str]:
        if is_rgb(self._pix_fmt):
            return [f"scale=flags={_FLAGS}", f"format={self._pix_fmt}"]
        # H.264, H.265 and VP9 take unsignalled 4:2:0 chroma as left
        return [
            f"scale=out_color_matrix={self._colour.used_matrix}"
            f":out_range={self._colour.used_range}:out_chroma_loc=left:flags={_FLAGS}",
            f"format={self._pix_fmt}",
        ]
