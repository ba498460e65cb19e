"""What the engine asks of CUDA: buffers, three kinds of waiting, and recorded work."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any, Protocol

import torch
from torch import Tensor

from deploy.trt.gpu import Gpu, find_gpu
from deploy.trt.library import TensorrtError

Stream = Any
"""torch.cuda.Stream; its `cuda_stream` is what libraries want."""
Event = Any
"""torch.cuda.Event"""


class Device(Protocol):
    """A GPU, or what stands in for one in tests."""

    name: str
    gpu: Gpu

    def buffer(self, shape: tuple[int, ...], dtype: torch.dtype) -> Tensor:
        """Return memory of the device."""
        ...

    def pinned(self, shape: tuple[int, ...], dtype: torch.dtype) -> Tensor:
        """Return memory of the host that the device copies from and to by itself."""
        ...

    def stream(self) -> Stream:
        """Return a queue of its own, never the default one."""
        ...

    def event(self) -> Event:
        """Return a mark with `record(stream)`, `wait(stream)` and `synchronize()`."""
        ...

    def on(self, stream: Stream) -> AbstractContextManager[Any]:
        """Let PyTorch's work go to `stream`."""
        ...

    def recorded(self, stream: Stream, work: Callable[[int], None]) -> Callable[[], None]:
        """Return a function that replays `work(queue)`; `work` itself where that cannot be."""
        ...

    def forget(self) -> None:
        """Give back memory that nobody uses."""
        ...


class Cuda:
    """The GPU at hand; EngineError, in one line, where there is none."""

    def __init__(self, index: int = 0) -> None:
        self.gpu = find_gpu(index)
        self._device = torch.device("cuda", index)
        self.name = f"{self._device} {self.gpu.name}"

    def buffer(self, shape: tuple[int, ...], dtype: torch.dtype) -> Tensor:
        """Return memory of the GPU."""
        return torch.empty(shape, dtype=dtype, device=self._device)

    def pinned(self, shape: tuple[int, ...], dtype: torch.dtype) -> Tensor:
        """Return page-locked memory: copies from any other are not asynchronous."""
        return torch.empty(shape, dtype=dtype, pin_memory=True)

    def stream(self) -> Stream:
        """Return a stream of its own."""
        return torch.cuda.Stream(self._device)  # type: ignore[no-untyped-call]

    def event(self) -> Event:
        """Return an event."""
        return torch.cuda.Event()  # type: ignore[no-untyped-call]

    def on(self, stream: Stream) -> AbstractContextManager[Any]:
        """Let PyTorch's work go to `stream`."""
        return torch.cuda.stream(stream)

    def recorded(self, stream: Stream, work: Callable[[int], None]) -> Callable[[], None]:
        """Return a CUDA graph of `work`, which has run once before and allocates nothing."""
        stream.synchronize()
        graph = torch.cuda.CUDAGraph()
        try:
            # what other threads ask of the GPU meanwhile does not spoil it
            with torch.cuda.graph(graph, stream=stream, capture_error_mode="thread_local"):
                work(torch.cuda.current_stream().cuda_stream)
        except (RuntimeError, TensorrtError):
            # some work cannot be recorded; it is then handed out anew each time
            return lambda: work(stream.cuda_stream)
        return graph.replay

    def forget(self) -> None:
        """Give PyTorch's unused memory back."""
        torch.cuda.empty_cache()
