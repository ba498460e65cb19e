"""Recordings of clips as a camera would make them: pixel means, noise and a real H.264 encoder.

Everything is computed in memory. The same frames, capture and seed give the same bits, because the
encoder uses one thread and avoids x264's AVX-512 code, which reads uninitialised memory.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any, NamedTuple

import av
import cv2
import numpy as np
from av.codec.context import Flags
from av.filter import Graph
from av.video.codeccontext import VideoCodecContext
from av.video.frame import VideoFrame
from numpy.typing import NDArray

from crossnetpp.data.degradation import Kernel, reduce_levels

Picture = NDArray[np.uint8]  # H x W x 3 RGB

KEY_FRAME_EVERY = 15

_AVX512 = 256  # OpenCV's number for the AVX-512 subset that x264 uses
_WITHOUT_AVX512 = "MMX2,SSE2Fast,LZCNT,SSSE3,SSE4.2,AVX,FMA3,BMI2,AVX2"
_FLAGS = "bicubic+accurate_rnd+full_chroma_int+full_chroma_inp+bitexact"
_TICK = Fraction(1, 25)


@dataclass(frozen=True)
class Encoder:
    """A video encoder with left-sited 4:2:0 chroma, and the colour matrices used with it."""

    crf: float = 20
    """Constant rate factor of x264; for other codecs, the quantiser."""
    codec: str = "libx264"
    matrix: str = "bt709"
    read_matrix: str = "bt709"
    """Matrix with which the frames are read back; if it differs from `matrix`, colours shift."""


@dataclass(frozen=True)
class Capture:
    """How LR frames and HR key frames are recorded from HR frames."""

    kernel: Kernel = "bicubic"
    """Kernel that downscales HR to LR."""
    noise: float = 0.0
    """Standard deviation of the Gaussian noise added to LR before encoding, in 8-bit levels."""
    encoder: Encoder | None = None
    """Encoder of the LR frames; None means lossless."""
    key_noise: float = 0.0
    """Standard deviation of the key frames' noise in 8-bit levels."""
    key_encoder: Encoder | None = None
    """Encoder of the key frames; None means lossless."""


RECORDER_NOISE = 1.0  # standard deviation in 8-bit levels

# Name -> capture
CAPTURES = {
    "bicubic": Capture(),
    "sensor": Capture("area"),
    "recorded": Capture("area", RECORDER_NOISE, Encoder(20), 0.0, Encoder(10)),
    "recorded28": Capture("area", RECORDER_NOISE, Encoder(28), 0.0, Encoder(10)),
}


class Recorded(NamedTuple):
    """A low-resolution recording of a clip, and some of its frames at high resolution."""

    lr: list[Picture]
    """Every frame, uint8 h x w x 3 RGB."""
    keys: dict[int, Picture]
    """Frame number -> key frame, uint8 H x W x 3 RGB."""


def record_clip(
    frames: Sequence[Picture],
    scale: int,
    capture: Capture,
    seed: int = 0,
    every: int = KEY_FRAME_EVERY,
) -> Recorded:
    """Return the recording of HR `frames`, with every `every`-th frame as a key frame.

    The frames are uint8 H x W x 3 RGB of one size; H and W are multiples of `scale`. The key frames
    are encoded as a separate clip, because no HR camera records the frames between them.
    """
    rng = np.random.default_rng(seed)
    numbers = range(0, len(frames), every)

    lr = [
        _add_noise(rng, reduce_levels(f.astype(np.float32), scale, capture.kernel), capture.noise)
        for f in frames
    ]
    if capture.encoder is not None:
        lr = encode_and_decode(lr, capture.encoder)

    pictures = [_add_noise(rng, frames[n].astype(np.float32), capture.key_noise) for n in numbers]
    if capture.key_encoder is not None:
        pictures = encode_and_decode(pictures, capture.key_encoder)
    return Recorded(lr, dict(zip(numbers, pictures, strict=True)))


def encode_and_decode(pictures: Sequence[Picture], encoder: Encoder) -> list[Picture]:
    """Return `pictures` (uint8 H x W x 3 RGB of one size) after lossy encoding and decoding.

    Pictures with odd sizes are padded for the encoder by replication, and cropped afterwards.
    """
    if not pictures:
        return []
    height, width = pictures[0].shape[:2]
    to_yuv = _Converter("rgb24", "yuv420p", f"out_color_matrix={encoder.matrix}:out_range=tv")
    to_rgb = _Converter("yuv420p", "rgb24", f"in_color_matrix={encoder.read_matrix}:in_range=tv")

    context = _open_encoder(encoder, height + height % 2, width + width % 2)
    packets = []
    for number, picture in enumerate(pictures):
        frame = to_yuv(VideoFrame.from_ndarray(_pad_to_even(picture), format="rgb24"))
        frame.pts = number
        frame.time_base = _TICK
        packets += context.encode(frame)
    packets += context.encode(None)

    reader = av.CodecContext.create(_name_decoder(encoder.codec), "r")
    assert isinstance(reader, VideoCodecContext)
    reader.thread_count = 1
    reader.extradata = context.extradata
    decoded = [frame for packet in packets for frame in reader.decode(packet)]
    decoded += reader.decode(None)
    assert len(decoded) == len(pictures)
    return [np.ascontiguousarray(to_rgb(f).to_ndarray()[:height, :width]) for f in decoded]


def _add_noise(rng: np.random.Generator, levels: NDArray[np.float32], spread: float) -> Picture:
    """Return `levels` (0..255) with Gaussian noise of standard deviation `spread`, rounded."""
    if spread > 0:
        levels = levels + np.float32(spread) * rng.standard_normal(levels.shape, dtype=np.float32)
    return np.asarray(levels.round().clip(0, 255), dtype=np.uint8)


def _open_encoder(encoder: Encoder, height: int, width: int) -> VideoCodecContext:
    context = av.CodecContext.create(encoder.codec, "w")
    assert isinstance(context, VideoCodecContext)
    context.width = width
    context.height = height
    context.pix_fmt = "yuv420p"
    context.time_base = _TICK
    context.framerate = 1 / _TICK
    context.thread_count = 1
    context.flags |= Flags.bitexact | Flags.global_header
    if encoder.codec == "libx264":
        context.options = {"crf": f"{encoder.crf:g}", "preset": "medium"}
        if cv2.checkHardwareSupport(_AVX512):
            context.options |= {"x264-params": f"asm={_WITHOUT_AVX512}"}
    else:
        context.flags |= Flags.qscale
        context.options = {"global_quality": f"{round(encoder.crf * 118)}"}  # FF_QP2LAMBDA
    return context


def _name_decoder(codec: str) -> str:
    return "h264" if codec == "libx264" else codec


def _pad_to_even(picture: Picture) -> Picture:
    height, width = picture.shape[:2]
    padding = ((0, height % 2), (0, width % 2), (0, 0))
    return np.ascontiguousarray(np.pad(picture, padding, mode="edge"))


class _Converter:
    """A swscale filter graph that converts between RGB and left-sited 4:2:0, as in H.264.

    Without an explicit location, swscale would site the chroma in the centre.
    """

    def __init__(self, source: str, target: str, matrix: str) -> None:
        location = "in" if source == "yuv420p" else "out"
        self._source = source
        self._steps = (
            ("scale", f"{matrix}:{location}_chroma_loc=left:flags={_FLAGS}"),
            ("format", target),
        )
        self._ends: tuple[Any, Any] | None = None
        self._graph = Graph()

    def __call__(self, frame: VideoFrame) -> VideoFrame:
        """Return the converted frame, without colour tags."""
        frame.colorspace = 2  # unspecified, because the filters set the matrix
        frame.color_range = 0
        if self._ends is None:
            self._ends = self._build(frame)
        first, last = self._ends
        first.push(frame)
        converted = last.pull()
        assert isinstance(converted, VideoFrame)
        return converted

    def _build(self, frame: VideoFrame) -> tuple[Any, Any]:
        self._graph.threads = 1
        tags = {} if frame.format.is_rgb else {"colorspace": "unknown", "range": "unknown"}
        first = self._graph.add(
            "buffer",
            video_size=f"{frame.width}x{frame.height}",
            pix_fmt=self._source,
            time_base=str(_TICK),
            pixel_aspect="1/1",
            **tags,
        )
        steps = [self._graph.add(name, arguments) for name, arguments in self._steps]
        last = self._graph.add("buffersink")
        self._graph.link_nodes(first, *steps, last)
        self._graph.configure()
        return first, last
