"""The interface of engines, which take and return pixels and hide all numerics."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol, cast

import numpy as np
from numpy.typing import NDArray

# Pixels around a tile that are enhanced together with it. `fast` sees farther, so tiling may change
# values: tests/deploy/test_tiling.py allows 1 in 10,000 to change by more than a level. The
# published networks see farther still, so their tiles may show seams.
CONTEXT = 384

Pixels = NDArray[np.uint8] | NDArray[np.uint16]


class EngineError(Exception):
    """Raised if an engine is unavailable or has failed; the message is one line."""


class OutOfMemoryError(EngineError):
    """Raised if a call needs more memory than the device has; a smaller call may succeed."""


class UnknownEngineError(EngineError):
    """Raised if there is no engine of the requested name."""


@dataclass(frozen=True)
class EngineInfo:
    """The properties of an engine."""

    name: str
    """The name in NETWORK_ENGINES, or `bicubic`."""
    device: str
    """For example `cpu` or `cuda:0 NVIDIA H100`."""
    model: str
    """Preset, or path of the weights."""
    precision: str
    """fp32, tf32, fp16 or integer."""
    multiple: int
    """The engine pads height and width to a multiple of this."""
    bytes_per_pixel: int
    """Working memory in bytes per output pixel of a batch."""
    reason: str
    """Why this engine was chosen."""
    borrows: bool = True
    """Whether the engine uses references; if not, none is decoded."""
    context: int = 0
    """Output pixels around a tile that are enhanced with it; a multiple of 32."""


class Engine(Protocol):
    """Computes SR frames from LR frames and references on one device."""

    info: EngineInfo

    def enhance(self, lr: Pixels, ref: Pixels) -> Pixels:
        """Return SR frames, with the shape and dtype of `ref`.

        `lr` is uint8 or uint16 N x h x w x 3 RGB. `ref` has the same dtype and is N x H x W x 3,
        where H = s h and W = s w for a scale s of 2, 4 or 8.
        """
        ...


def find_scale(lr: Pixels, ref: Pixels) -> int:
    """Return the scale from `lr` to `ref`. Raises EngineError if they do not fit together."""
    scale: int = ref.shape[1] // lr.shape[1]
    fits = ref.shape == (lr.shape[0], lr.shape[1] * scale, lr.shape[2] * scale, 3)
    if scale not in (2, 4, 8) or not fits or lr.dtype != ref.dtype:
        raise EngineError(
            f"found frames {lr.shape} {lr.dtype} with references {ref.shape} {ref.dtype}, "
            "expected references 2, 4 or 8 times as wide and high and of the same type; "
            "scale the references to the output size first"
        )
    return scale


def pad_to_multiple(frames: Pixels, multiple: int) -> Pixels:
    """Return `frames` (N x H x W x 3), padded until H and W are multiples of `multiple`.

    The last row and the last column are repeated.
    """
    height, width = frames.shape[1:3]
    rows = -height % multiple
    cols = -width % multiple
    if not rows and not cols:
        return frames
    return cast(Pixels, np.pad(frames, ((0, 0), (0, rows), (0, cols), (0, 0)), mode="edge"))
