"""The GPU at hand, asked for before any library of TensorRT's may crash for want of a driver."""

from __future__ import annotations

import ctypes
from typing import Any, NamedTuple

import torch

from deploy.protocol import EngineError


class Gpu(NamedTuple):
    """What a plan belongs to."""

    name: str
    capability: str
    """For example `sm90`."""
    cuda: int
    """Major version of CUDA that PyTorch brings."""
    memory: int
    """Bytes, all of it."""


def find_gpu(index: int = 0) -> Gpu:
    """Return the GPU at hand; EngineError without a driver, a GPU, or CUDA in PyTorch."""
    try:
        driver: Any = ctypes.CDLL("libcuda.so.1")
    except OSError as error:
        raise EngineError(
            "found no NVIDIA driver (libcuda.so.1), expected one for TensorRT; try --engine torch"
        ) from error
    if status := driver.cuInit(0):
        raise EngineError(
            f"found an NVIDIA driver but no GPU that it can use (error {status}); "
            "try --engine torch"
        )
    if torch.version.cuda is None or not torch.cuda.is_available():
        raise EngineError(
            f"found a GPU but PyTorch {torch.__version__} without CUDA for it; "
            "install PyTorch with CUDA, or try --engine torch"
        )
    found = torch.cuda.get_device_properties(index)
    return Gpu(
        found.name,
        f"sm{found.major}{found.minor}",
        int(torch.version.cuda.split(".")[0]),
        int(found.total_memory),
    )
