"""The interface of engines, which map pixels to pixels and hide all numerical details."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol, cast

import numpy as np
from numpy.typing import NDArray

from crossnetpp.networks.taps import Taps

# Width in output pixels of the border that is enhanced together with a tile. The receptive field of
# `fast` is wider, so tiling may change values: tests/deploy/test_tiling.py allows 1 in 10,000 to
# change by more than a level. The published networks have even wider receptive fields, so their
# tiles may show seams.
CONTEXT = 384

Pixels = NDArray[np.uint8] | NDArray[np.uint16]
Weights = NDArray[np.float32]  # N x K, all >= 0: the prior weights of each frame's references


class EngineError(Exception):
    """Raised if an engine is unavailable or fails; the message is one line."""


class OutOfMemoryError(EngineError):
    """Raised if a call needs more memory than the device has; a smaller call may succeed."""


def make_memory_error(device: str, shape: tuple[int, ...]) -> OutOfMemoryError:
    """Return the error for a batch that the device has too little memory to enhance.

    `shape` is that of the SR frames, and begins with N x H x W.
    """
    frames, height, width = shape[:3]
    advice = "free some memory, or try --engine bicubic"
    if frames > 1:
        advice = "try a smaller --batch"
    return OutOfMemoryError(
        f"there is too little memory on {device} for a batch of {frames} at {width}x{height}; "
        f"{advice}"
    )


class UnknownEngineError(EngineError):
    """Raised if no engine has the requested name."""


@dataclass(frozen=True)
class EngineInfo:
    """The properties of an engine."""

    name: str
    """A name in NETWORK_ENGINES, or `bicubic`."""
    device: str
    """The device, for example `cpu` or `cuda:0 NVIDIA H100`."""
    model: str
    """The name of a preset, or the path of a file of weights."""
    precision: str
    """fp32, fp16, bf16, int8 or integer."""
    multiple: int
    """The engine pads the output's height and width to multiples of this."""
    bytes_per_pixel: int
    """Working memory in bytes per output pixel of a batch."""
    reason: str
    """Why this engine was chosen."""
    borrows: bool = True
    """Whether the engine uses references; if not, none are decoded."""
    context: int = 0
    """Width in output pixels of the border enhanced with each tile; a multiple of 32."""


class Engine(Protocol):
    """Computes SR frames from LR frames and references on one device."""

    info: EngineInfo

    def enhance(
        self,
        lr: Pixels,
        *refs: Pixels,
        weights: Weights | None = None,
        kernel: Taps | None = None,
    ) -> Pixels:
        """Return SR frames, with the shape and dtype of a reference.

        `lr` is uint8 or uint16 N x h x w x 3 RGB. `refs` are K >= 1 arrays, of which the first
        contains the nearest reference of every frame. Each has the dtype of `lr`, and the shape
        N x H x W x 3 with H = s h and W = s w for a scale s of 2, 4 or 8. `weights` (N x K) are the
        references' prior weights: 1 for the nearest, less for farther ones, 0 for missing ones;
        None means 1 for all. `kernel` is the kernel that reduced HR to LR; None means antialiased
        bicubic downscaling.
        """
        ...


def find_scale(lr: Pixels, *refs: Pixels) -> int:
    """Return the scale from `lr` to `refs`: 2, 4 or 8. Raises EngineError if they do not match."""
    scale = 0
    for ref in refs:
        scale = ref.shape[1] // lr.shape[1]
        fits = ref.shape == (lr.shape[0], lr.shape[1] * scale, lr.shape[2] * scale, 3)
        if scale not in (2, 4, 8) or not fits or lr.dtype != ref.dtype or len(ref) != len(lr):
            raise EngineError(
                f"the references ({ref.dtype} {ref.shape}) do not match the frames ({lr.dtype} "
                f"{lr.shape}); each frame needs a reference of the same type that is 2, 4 or 8 "
                "times as wide and high; scale the references to the output size first"
            )
    if not scale or len({ref.shape for ref in refs}) > 1:
        raise EngineError(
            f"found references of shapes {[ref.shape for ref in refs]}, expected at least one, all "
            "of the same size; scale the references to the output size first"
        )
    return scale


def run_engine(
    engine: Engine,
    lr: Pixels,
    refs: Sequence[Pixels],
    weights: Weights | None = None,
    kernel: Taps | None = None,
) -> Pixels:
    """Return the SR frames that `engine` computes from `lr` and `refs`.

    With a single reference and the bicubic kernel, `weights` and `kernel` have no effect and are
    not passed. An engine that supports only this case can therefore define `enhance(lr, ref)`.
    """
    if len(refs) == 1 and kernel is None:
        return engine.enhance(lr, refs[0])
    return engine.enhance(lr, *refs, weights=weights, kernel=kernel)


def complete_weights(weights: Weights | None, frames: int, references: int) -> Weights:
    """Return `weights` as float32 N x K, or ones if `weights` is None.

    Raises EngineError if `weights` has another shape.
    """
    if weights is None:
        return np.ones((frames, references), np.float32)
    if weights.shape != (frames, references):
        raise EngineError(
            f"the weights have the shape {weights.shape}, expected {(frames, references)}; "
            "pass one weight for each reference of each frame"
        )
    return np.ascontiguousarray(weights, np.float32)


def pad_to_multiple(frames: Pixels, multiple: int) -> Pixels:
    """Return `frames` (N x H x W x 3), padded so that H and W are multiples of `multiple`.

    The padding repeats the last row and the last column.
    """
    height, width = frames.shape[1:3]
    rows = -height % multiple
    cols = -width % multiple
    if not rows and not cols:
        return frames
    return cast(Pixels, np.pad(frames, ((0, 0), (0, rows), (0, cols), (0, 0)), mode="edge"))
