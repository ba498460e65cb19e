"""The seam between pictures and networks: everything numeric is behind `Engine.enhance`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol, cast

import numpy as np
from numpy.typing import NDArray

ENGINES = ("auto", "tensorrt", "torch", "onnx", "openvino", "bicubic")
"""Names of engines, known without loading any of them."""
Pixels = NDArray[np.uint8] | NDArray[np.uint16]


class EngineError(Exception):
    """Report an engine that cannot be had or that failed, in one line."""


class OutOfMemory(EngineError):  # noqa: N818 - what it is, not that it is one
    """Report that a call needs more memory than the device has: a smaller one may do."""


class UnknownEngineError(EngineError):
    """Report an engine or model name that does not exist."""


@dataclass(frozen=True)
class EngineInfo:
    """What an engine states about itself."""

    name: str
    """torch, bicubic, ..."""
    device: str
    """For example `cpu` or `cuda:0 NVIDIA H100`."""
    model: str
    precision: str
    multiple: int
    """Height and width are padded to a multiple of this inside the engine."""
    bytes_per_pixel: int
    """Working memory for each output pixel of a batch."""
    reason: str
    """Why it was chosen."""
    borrows: bool = True
    """Whether it looks at references; for one that does not, none is decoded."""
    context: int = 0
    """Output pixels around a tile that have a say in it; a multiple of 32."""


class Engine(Protocol):
    """A device that makes HR frames out of LR frames and references."""

    info: EngineInfo

    def enhance(self, lr: Pixels, ref: Pixels) -> Pixels:
        """Return SR frames.

        `lr` is uint8 or uint16 N x h x w x 3 RGB, `ref` the same dtype N x H x W x 3 with
        H = s h and W = s w, s in {2, 4, 8}; the result has the shape and dtype of `ref`.
        """
        ...


CONTEXT = 384
"""Pixels; what `fast` sees farther away changes no more than 1 pixel in 100,000 by over a level."""


def find_scale(lr: Pixels, ref: Pixels) -> int:
    """Return the scale between `lr` and `ref`; raise EngineError when they do not fit."""
    scale: int = ref.shape[1] // lr.shape[1]
    fits = ref.shape == (lr.shape[0], lr.shape[1] * scale, lr.shape[2] * scale, 3)
    if scale not in (2, 4, 8) or not fits or lr.dtype != ref.dtype:
        raise EngineError(
            f"found frames {lr.shape} {lr.dtype} with references {ref.shape} {ref.dtype}, "
            "expected references 2, 4 or 8 times as large and of the same type; "
            "scale the references to the output size first"
        )
    return scale


def pad_to_multiple(frames: Pixels, multiple: int) -> Pixels:
    """Return N x H x W x 3 frames whose last row and column are repeated up to a multiple."""
    height, width = frames.shape[1:3]
    spare = (0, -height % multiple), (0, -width % multiple)
    if not any(after for _, after in spare):
        return frames
    return cast(Pixels, np.pad(frames, ((0, 0), *spare, (0, 0)), mode="edge"))
