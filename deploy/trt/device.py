"""The CUDA functions that the engine needs: memory, streams, events and CUDA graphs."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any, Protocol

import torch
from torch import Tensor

from deploy.trt.gpu import Gpu, find_gpu
from deploy.trt.library import TensorrtError

Stream = Any  # torch.cuda.Stream; libraries use its handle `cuda_stream`
Event = Any  # torch.cuda.Event


class Device(Protocol):
    """A GPU, or a stand-in for one in tests."""

    name: str
    gpu: Gpu

    def allocate(self, shape: tuple[int, ...], dtype: torch.dtype) -> Tensor:
        """Return an uninitialised tensor on the device."""
        ...

    def allocate_pinned(self, shape: tuple[int, ...], dtype: torch.dtype) -> Tensor:
        """Return an uninitialised page-locked tensor on the host, for asynchronous copies."""
        ...

    def create_stream(self) -> Stream:
        """Return a new stream; work on it may overlap with work on other streams."""
        ...

    def create_event(self) -> Event:
        """Return an event with `record(stream)`, `wait(stream)` and `synchronize()`."""
        ...

    def use_stream(self, stream: Stream) -> AbstractContextManager[Any]:
        """Return a context in which PyTorch queues its work on `stream`."""
        ...

    def capture(self, stream: Stream, work: Callable[[int], None]) -> Callable[[], None]:
        """Return a function that replays `work`, or calls it if it cannot be captured.

        `work` receives the handle of the stream on which it queues its kernels. It must have run
        at least once before.
        """
        ...

    def release_memory(self) -> None:
        """Return unused memory to the driver."""
        ...


class Cuda:
    """A GPU of this machine. Raises EngineError if PyTorch cannot use it."""

    def __init__(self, index: int = 0) -> None:
        self.gpu = find_gpu(index)
        self._device = torch.device("cuda", index)
        self.name = f"{self._device} {self.gpu.name}"

    def allocate(self, shape: tuple[int, ...], dtype: torch.dtype) -> Tensor:
        """Return an uninitialised tensor on the GPU."""
        return torch.empty(shape, dtype=dtype, device=self._device)

    def allocate_pinned(self, shape: tuple[int, ...], dtype: torch.dtype) -> Tensor:
        """Return an uninitialised page-locked tensor on the host, for asynchronous copies."""
        return torch.empty(shape, dtype=dtype, pin_memory=True)

    def create_stream(self) -> Stream:
        """Return a new stream."""
        return torch.cuda.Stream(self._device)  # type: ignore[no-untyped-call]

    def create_event(self) -> Event:
        """Return a new event."""
        return torch.cuda.Event()  # type: ignore[no-untyped-call]

    def use_stream(self, stream: Stream) -> AbstractContextManager[Any]:
        """Return a context in which PyTorch queues its work on `stream`."""
        return torch.cuda.stream(stream)

    def capture(self, stream: Stream, work: Callable[[int], None]) -> Callable[[], None]:
        """Return a function that replays `work` as a CUDA graph; see Device.capture."""
        stream.synchronize()
        graph = torch.cuda.CUDAGraph()
        try:
            # thread_local, so that GPU calls in other threads do not break the capture
            with torch.cuda.graph(graph, stream=stream, capture_error_mode="thread_local"):
                work(torch.cuda.current_stream().cuda_stream)
        except (RuntimeError, TensorrtError):
            # work that cannot be captured is queued directly in every call
            return lambda: work(stream.cuda_stream)
        return graph.replay

    def release_memory(self) -> None:
        """Return PyTorch's unused memory to the driver."""
        torch.cuda.empty_cache()
