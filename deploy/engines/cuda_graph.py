"""A network's run on a GPU, recorded once for a size and played again.

`fast` is about a thousand small kernels: handing them over one by one takes 16 ms a call on any
GPU, whatever the picture's size. As a CUDA graph they are handed over together.
"""

from __future__ import annotations

import logging
from collections import OrderedDict
from collections.abc import Callable, Hashable, Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from deploy.memory import is_out_of_memory

if TYPE_CHECKING:
    from torch.cuda import _POOL_HANDLE

logger = logging.getLogger(__name__)

MOST_GRAPHS = 3
"""Sizes that stay recorded: a clip has whole batches and a last one, tiles have a few more."""
WARM_UP_RUNS = 2
"""Runs before one is recorded: libraries choose their kernels and take their workspace in them."""

Work = Callable[..., Tensor]


class CudaGraph:
    """One piece of work for inputs of fixed sizes."""

    def __init__(self, work: Work, inputs: Sequence[Tensor], pool: _POOL_HANDLE) -> None:
        self._inputs = [given.clone() for given in inputs]
        aside = torch.cuda.Stream()  # type: ignore[no-untyped-call]
        aside.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(aside):
            for _ in range(WARM_UP_RUNS):
                work(*self._inputs)
        torch.cuda.current_stream().wait_stream(aside)
        self._graph = torch.cuda.CUDAGraph()
        # the threads that decode and encode may go on meanwhile
        with torch.cuda.graph(self._graph, pool=pool, capture_error_mode="thread_local"):
            self._output = work(*self._inputs)

    def __call__(self, inputs: Sequence[Tensor]) -> Tensor:
        """Return what the work makes of `inputs`; it is overwritten by the next call."""
        for held, given in zip(self._inputs, inputs, strict=True):
            held.copy_(given)
        self._graph.replay()
        return self._output


class CudaGraphCache:
    """The recordings of one network, the sizes used last, in one pool of memory.

    They share memory, so what one returned has to be read before another plays.
    """

    def __init__(self) -> None:
        self._kept: OrderedDict[Hashable, CudaGraph] = OrderedDict()
        self._plain: set[Hashable] = set()
        """What could not be recorded."""
        self._pool: _POOL_HANDLE | None = None

    def play(self, key: Hashable, work: Work, inputs: Sequence[Tensor]) -> Tensor:
        """Return `work(*inputs)`, recorded under `key` at the first call.

        `key` stands for the work and for the sizes and types of the inputs. Where it cannot be
        recorded (mostly for want of memory), the work is done as it is; raises what it raises then.
        """
        if key in self._plain:
            return work(*inputs)
        recording = self._kept.pop(key, None)
        if recording is None:
            while len(self._kept) >= MOST_GRAPHS:
                self._kept.popitem(last=False)
            try:
                recording = self._record(work, inputs)
            except RuntimeError as error:  # torch.OutOfMemoryError is one
                if not is_out_of_memory(error):
                    logger.warning("no CUDA graph is recorded: %s", str(error).partition("\n")[0])
                self._plain.add(key)
                self._forget()
                return work(*inputs)
        self._kept[key] = recording
        return recording(inputs)

    def _record(self, work: Work, inputs: Sequence[Tensor]) -> CudaGraph:
        if self._pool is None:
            self._pool = torch.cuda.graph_pool_handle()
        return CudaGraph(work, inputs, self._pool)

    def _forget(self) -> None:
        self._kept.clear()
        self._pool = None
        torch.cuda.empty_cache()
