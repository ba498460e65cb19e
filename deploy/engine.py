"""The seam between pictures and networks: everything numeric is behind `Engine.enhance`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

Pixels = NDArray[np.uint8] | NDArray[np.uint16]


class EngineError(Exception):
    """Report an engine that cannot be had or that failed, in one line."""


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
    """Working memory for each output pixel of a batch, measured."""
    reason: str
    """Why `auto` chose it, or "asked for"."""


class Engine(Protocol):
    """A device that makes HR frames out of LR frames and references."""

    info: EngineInfo

    def enhance(self, lr: Pixels, ref: Pixels) -> Pixels:
        """Return SR frames.

        `lr` is uint8 or uint16 N x h x w x 3 RGB, `ref` the same dtype N x H x W x 3 with
        H = s h and W = s w, s in {2, 4, 8}; the result has the shape and dtype of `ref`.
        """
        ...


def load_engine(name: str = "auto", *, model: str = "fast", threads: int | None = None) -> Engine:
    """Return the engine `name` (auto, torch, bicubic) running `model` (fast, paper, a file).

    `threads` bounds the CPU threads of one worker. Raises UnknownEngineError for names that do
    not exist and EngineError for engines that cannot run on this device.
    """
    raise EngineError("not built yet")
