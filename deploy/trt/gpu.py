"""Find the GPU before TensorRT is loaded, because TensorRT may crash without a driver."""

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
    """Major version of PyTorch's CUDA runtime."""
    memory: int
    """Total memory in bytes."""


def find_gpu(index: int = 0) -> Gpu:
    """Return the properties of the GPU with the given index.

    Raises EngineError if there is no driver or no GPU, or if PyTorch cannot use CUDA.
    """
    try:
        driver: Any = ctypes.CDLL("libcuda.so.1")
    except OSError as error:
        raise EngineError(
            "TensorRT needs an NVIDIA driver, but libcuda.so.1 cannot be loaded; try --engine torch"
        ) from error

    if status := driver.cuInit(0):
        raise EngineError(
            f"TensorRT needs an NVIDIA GPU, but the driver finds none that it can use (error "
            f"{status}); try --engine torch"
        )
    if torch.version.cuda is None or not torch.cuda.is_available():
        raise EngineError(
            f"PyTorch {torch.__version__} cannot use this machine's GPU, which TensorRT needs; "
            "install a PyTorch with CUDA support for this GPU, or try --engine torch"
        )

    properties = torch.cuda.get_device_properties(index)
    return Gpu(
        name=properties.name,
        capability=f"sm{properties.major}{properties.minor}",
        cuda=int(torch.version.cuda.split(".")[0]),
        memory=int(properties.total_memory),
    )
