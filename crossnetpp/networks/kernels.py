"""Kernels and weights that are known beforehand, as tensors where they are wanted."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

Kernel = NDArray[np.float32]


def is_traced() -> bool:
    """Return whether an exporter or compiler traces this call.

    It then wants operations that exist in its graphs, for any height and width.
    """
    tracing: bool = torch.jit.is_tracing()  # type: ignore[attr-defined, no-untyped-call]
    return tracing or torch.compiler.is_compiling()


def constant(kernel: Kernel, like: Tensor) -> Tensor:
    """Return `kernel` on the device and in the type of `like`; not to be written to.

    On a GPU it is copied there once: a copy at each use would wait for the device, and could not be
    recorded in a CUDA graph.
    """
    if not like.is_cuda or is_traced():
        # by device and type, not by `like`: an exporter then sees a constant
        return torch.from_numpy(kernel).to(device=like.device, dtype=like.dtype)
    return _on_device(kernel.tobytes(), kernel.shape, like.device, like.dtype)


@lru_cache(maxsize=64)
def _on_device(
    kernel: bytes, shape: tuple[int, ...], device: torch.device, dtype: torch.dtype
) -> Tensor:
    values = np.frombuffer(kernel, np.float32).reshape(shape).copy()
    # made outside any inference mode: training may use it next
    with torch.inference_mode(False):
        return torch.from_numpy(values).to(device=device, dtype=dtype)
