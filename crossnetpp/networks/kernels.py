"""Constant kernels and weights as tensors on the right device."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

Kernel = NDArray[np.float32]


def is_traced() -> bool:
    """Return whether an exporter or compiler is tracing the network.

    Traced code may use only operations that graphs support, and must work for any image size.
    """
    tracing: bool = torch.jit.is_tracing()  # type: ignore[attr-defined, no-untyped-call]
    return tracing or torch.compiler.is_compiling()


def constant_like(kernel: Kernel, like: Tensor) -> Tensor:
    """Return `kernel` with the device and dtype of `like`; callers must not change the result.

    On a GPU the copy is cached, because a copy at each use would wait for the device and could not
    be captured in a CUDA graph.
    """
    if not like.is_cuda or is_traced():
        # With the device and dtype passed instead of `like`, an exporter sees a constant
        return torch.from_numpy(kernel).to(device=like.device, dtype=like.dtype)
    return _copy_to_device(kernel.tobytes(), kernel.shape, like.device, like.dtype)


@lru_cache(maxsize=64)
def _copy_to_device(
    kernel: bytes, shape: tuple[int, ...], device: torch.device, dtype: torch.dtype
) -> Tensor:
    values = np.frombuffer(kernel, np.float32).reshape(shape).copy()
    # Created outside inference mode, because training may use the tensor later
    with torch.inference_mode(False):
        return torch.from_numpy(values).to(device=device, dtype=dtype)
