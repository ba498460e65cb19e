"""CUDA graphs: the kernels of a network, captured once per input size and replayed afterwards.

`fast` consists of many small kernels. For small frames, launching them one by one takes longer than
computing them; a CUDA graph launches them together. `python -m jobs.gpu.check` measures both
(`recorded_fps` and `plain_fps` in jobs/results/gpu_check.json).
"""

from __future__ import annotations

import logging
from collections import OrderedDict
from collections.abc import Callable, Hashable, Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from crossnetpp.machine import is_out_of_memory

if TYPE_CHECKING:
    from torch.cuda import _POOL_HANDLE

logger = logging.getLogger(__name__)

# Number of graphs to keep. A clip needs up to four: for full batches and for the shorter last one,
# each with one or two references per frame. A row of tiles needs up to three, one per tile width,
# if the tiles are wider than their context. Rows of different heights, or narrower tiles, may need
# more graphs than are kept, which are then captured again for every frame.
MOST_GRAPHS = 6
WARM_UP_RUNS = 2  # before the capture, so that libraries can choose kernels and allocate workspace

Work = Callable[..., Tensor]


class CudaGraph:
    """A function from tensors to a tensor, captured as a CUDA graph for inputs of fixed sizes."""

    def __init__(self, work: Work, inputs: Sequence[Tensor], pool: _POOL_HANDLE) -> None:
        self._inputs = [tensor.clone() for tensor in inputs]

        side_stream = torch.cuda.Stream()  # type: ignore[no-untyped-call]
        side_stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(side_stream):
            for _ in range(WARM_UP_RUNS):
                work(*self._inputs)
        torch.cuda.current_stream().wait_stream(side_stream)

        self._graph = torch.cuda.CUDAGraph()
        # thread_local, so that CUDA calls in decoding and encoding threads do not break the capture
        with torch.cuda.graph(self._graph, pool=pool, capture_error_mode="thread_local"):
            self._output = work(*self._inputs)

    def __call__(self, inputs: Sequence[Tensor]) -> Tensor:
        """Return the output for `inputs`, in a tensor that the next call overwrites."""
        for static, tensor in zip(self._inputs, inputs, strict=True):
            static.copy_(tensor)
        self._graph.replay()
        return self._output


class CudaGraphCache:
    """A cache of one network's CUDA graphs for the most recently used sizes, in one memory pool.

    The graphs share memory, so each graph's output must be read before another graph is replayed.
    """

    def __init__(self) -> None:
        self._graphs: OrderedDict[Hashable, CudaGraph] = OrderedDict()
        self._uncapturable: set[Hashable] = set()
        self._pool: _POOL_HANDLE | None = None

    def run(self, key: Hashable, work: Work, inputs: Sequence[Tensor]) -> Tensor:
        """Return `work(*inputs)`. The first call with `key` captures a graph, later ones replay it.

        `key` identifies the work and the sizes and types of the inputs. Work that cannot be
        captured, usually because memory is short, is called directly and raises its own errors.
        """
        if key in self._uncapturable:
            return work(*inputs)

        graph = self._graphs.pop(key, None)
        if graph is None:
            while len(self._graphs) >= MOST_GRAPHS:
                self._graphs.popitem(last=False)
            try:
                graph = self._capture(work, inputs)
            except RuntimeError as error:  # includes torch.OutOfMemoryError
                if not is_out_of_memory(error):
                    first_line = str(error).partition("\n")[0]
                    logger.warning("cannot capture a CUDA graph: %s", first_line)
                self._uncapturable.add(key)
                self._release_graphs()
                return work(*inputs)

        # insert the graph at the end, as the most recently used one
        self._graphs[key] = graph
        return graph(inputs)

    def _capture(self, work: Work, inputs: Sequence[Tensor]) -> CudaGraph:
        if self._pool is None:
            self._pool = torch.cuda.graph_pool_handle()
        return CudaGraph(work, inputs, self._pool)

    def _release_graphs(self) -> None:
        self._graphs.clear()
        self._pool = None
        torch.cuda.empty_cache()
