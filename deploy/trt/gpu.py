"""Facts about the GPU, queried before TensorRT loads, because it may crash without a driver."""

from __future__ import annotations

import ctypes
from typing import Any, NamedTuple

import torch

from deploy.protocol import EngineError


class Gpu(NamedTuple):
    """The properties of a GPU that determine which plans it can run."""

    name: str
    capability: str
    """For example `sm90`."""
    cuda: int
    """Major version of the CUDA runtime that comes with PyTorch."""
    memory: int
    """Total memory in bytes."""


def find_gpu(index: int = 0) -> Gpu:
    """Return this machine's GPU number `index`.

    Raises EngineError if there is no driver or no GPU, or if PyTorch cannot use CUDA.
    """
    try:
        driver: Any = ctypes.CDLL("libcuda.so.1")
    except OSError as error:
        raise EngineError(
            "found no NVIDIA driver (libcuda.so.1), expected one for TensorRT; try --engine torch"
        ) from error

    if status := driver.cuInit(0):
        raise EngineError(
            f"found an NVIDIA driver but no GPU that it can use (error {status}), expected one for "
            "TensorRT; try --engine torch"
        )
    if torch.version.cuda is None or not torch.cuda.is_available():
        raise EngineError(
            f"found a GPU that PyTorch {torch.__version__} cannot use, expected PyTorch with CUDA "
            "for it; install that, or try --engine torch"
        )

    properties = torch.cuda.get_device_properties(index)
    return Gpu(
        name=properties.name,
        capability=f"sm{properties.major}{properties.minor}",
        cuda=int(torch.version.cuda.split(".")[0]),
        memory=int(properties.total_memory),
    )
