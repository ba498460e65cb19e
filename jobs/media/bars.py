"""Draw and read test pictures that show their frame number, and colours with known code values.

The upper half shows eight colour bars, and the lower half shows the frame number as eight binary
digits; each bar and digit is CELL pixels wide. The code values are computed by the equations in
ITU-T H.273, not by the pipeline's own code.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from av.video.format import VideoFormat
from av.video.frame import VideoFrame
from numpy.typing import NDArray

CELL = 12  # pixels
WIDTH = 8 * CELL
HEIGHT = 6 * CELL
# matrix -> weights of red and blue in luma
_LUMA = {"bt601": (0.299, 0.114), "bt709": (0.2126, 0.0722), "bt2020": (0.2627, 0.0593)}
# R'G'B' of the bars, which lie within every gamut and range
COLOURS = np.array(
    [
        [0.9, 0.9, 0.9],
        [0.75, 0.7, 0.2],
        [0.2, 0.7, 0.75],
        [0.2, 0.65, 0.25],
        [0.7, 0.25, 0.65],
        [0.75, 0.2, 0.2],
        [0.25, 0.25, 0.7],
        [0.1, 0.1, 0.1],
    ]
)


@dataclass(frozen=True)
class PictureFormat:
    """The pixel format, size, matrix (a key of _LUMA) and range of test pictures."""

    pix_fmt: str
    width: int
    height: int
    matrix: str
    full: bool

    @property
    def depth(self) -> int:
        """The bit depth, in bits per component."""
        return max(c.bits for c in VideoFormat(self.pix_fmt).components)


def encode_colours(rgb: NDArray[np.float64], form: PictureFormat) -> NDArray[np.float64]:
    """Return the unrounded Y'CbCr or RGB code values of `rgb` (... x 3, R'G'B' in 0..1).

    Source: ITU-T H.273, clause 8.3.
    """
    most = 2**form.depth - 1
    if VideoFormat(form.pix_fmt).is_rgb:
        return rgb * most

    red, blue = _LUMA[form.matrix]
    luma = red * rgb[..., 0] + (1 - red - blue) * rgb[..., 1] + blue * rgb[..., 2]
    cb = (rgb[..., 2] - luma) / (2 * (1 - blue))
    cr = (rgb[..., 0] - luma) / (2 * (1 - red))

    unit = 2 ** (form.depth - 8)
    if form.full:
        middle = 2 ** (form.depth - 1)
        return np.stack([luma * most, cb * most + middle, cr * most + middle], axis=-1)
    return np.stack(
        [(219 * luma + 16) * unit, (224 * cb + 128) * unit, (224 * cr + 128) * unit], axis=-1
    )


def draw_picture(number: int, form: PictureFormat) -> VideoFrame:
    """Return the picture for frame `number` (0 to 255)."""
    rgb = np.empty((form.height, form.width, 3))
    column = np.minimum(np.arange(form.width) // CELL, 7)
    rgb[: HEIGHT // 2] = COLOURS[column]
    rgb[HEIGHT // 2 :] = np.where((number >> (7 - column)) & 1, 0.9, 0.1)[:, None]
    depth = np.uint16 if form.depth > 8 else np.uint8
    values = np.rint(encode_colours(rgb, form)).astype(depth)

    frame = VideoFrame(form.width, form.height, form.pix_fmt)
    if form.pix_fmt in ("rgb24", "bgr0"):
        order = values if form.pix_fmt == "rgb24" else values[..., ::-1]
        packed = np.full((form.height, form.width, 3 + (form.pix_fmt == "bgr0")), 255, np.uint8)
        packed[..., :3] = order
        _fill(frame.planes[0], packed.reshape(form.height, -1))
        return frame

    layers = (1, 2, 0) if VideoFormat(form.pix_fmt).is_rgb else (0, 1, 2)
    for plane, layer in zip(frame.planes, layers, strict=False):
        down = -(-form.height // plane.height)
        across = -(-form.width // plane.width)
        _fill(plane, values[::down, ::across, layer])
    return frame


def _fill(plane: Any, values: NDArray[Any]) -> None:
    rows = np.frombuffer(plane, values.dtype).reshape(plane.height, -1)
    rows[:, : values.shape[1]] = values


@dataclass(frozen=True)
class Reading:
    """A picture's number, and the code values of its colour bars (8 bars x 3 components)."""

    number: int
    bars: NDArray[np.float64]


def read_picture(frame: VideoFrame, scale: int = 1) -> Reading:
    """Return the number and the colour bars in a picture that was enlarged by `scale`.

    A grey picture has a single component, so its bars are 8 x 1.
    """
    layers = _layers(frame)
    bits = _cells(layers[0], frame, scale, row=4.5)
    bars = np.stack([_cells(layer, frame, scale, row=1.5) for layer in layers], axis=-1)
    middle = (bars[0, 0] + bars[7, 0]) / 2  # white and black
    number = int("".join("1" if bit > middle else "0" for bit in bits), 2)
    return Reading(number, bars)


def _layers(frame: VideoFrame) -> list[NDArray[np.float64]]:
    if frame.format.is_rgb:
        deep = max(c.bits for c in frame.format.components) > 8
        rgb = frame.to_ndarray(format="gbrp16le" if deep else "rgb24")
        return [rgb[..., i].astype(np.float64) for i in range(3)]

    kind = np.uint16 if max(c.bits for c in frame.format.components) > 8 else np.uint8
    layers = []
    for plane in list(frame.planes)[:3]:
        buffer: Any = plane
        rows = np.frombuffer(buffer, kind).reshape(plane.height, -1)[:, : plane.width]
        layers.append(rows.astype(np.float64))
    return layers


def _cells(
    layer: NDArray[np.float64], frame: VideoFrame, scale: int, row: float
) -> NDArray[np.float64]:
    """Return the mean values (8) at the centres of the cells, `row` cell heights from the top."""
    down = layer.shape[0] / frame.height
    across = layer.shape[1] / frame.width
    y = round(row * CELL * scale * down)
    xs = [round((i + 0.5) * CELL * scale * across) for i in range(8)]
    return np.array([layer[y - 1 : y + 1, x - 1 : x + 1].mean() for x in xs])
