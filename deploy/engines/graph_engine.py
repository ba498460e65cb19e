"""The base class of engines that run exported graphs on a CPU."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple, cast

import numpy as np
from numpy.typing import NDArray

from crossnetpp.machine import count_cores
from deploy.export.graphs import GraphSpec, PixelType, list_parts
from deploy.export.session import RunGraph
from deploy.export.stored import get_or_export_graph, load_model_network
from deploy.memory import is_out_of_memory
from deploy.protocol import (
    CONTEXT,
    EngineInfo,
    OutOfMemoryError,
    Pixels,
    find_scale,
    pad_to_multiple,
)

BYTES_PER_PIXEL = 900  # working memory per output pixel of a batch, measured for `fast` on a CPU


class _LastReference(NamedTuple):
    """The last reference and the tensors computed from it."""

    pixels: Pixels
    scale: int
    prepared: list[NDArray[Any]]


class GraphEngine:
    """An engine whose exported graphs compute the frames of a batch in parallel on a CPU."""

    name: str
    compiles_shapes = False
    """Whether a graph is compiled separately for each height and width."""

    def __init__(
        self, model: str = "fast", *, threads: int | None = None, reason: str = "requested"
    ) -> None:
        device = self._load_library()
        network = load_model_network(model)
        self._model = model
        self._threads = threads or count_cores()
        self._parts = list_parts(network)
        self._pool = ThreadPoolExecutor(self._threads, thread_name_prefix=f"{self.name}-engine")
        self._graphs: dict[tuple[int, str], list[bytes]] = {}
        self._runs: dict[tuple[int, str, tuple[int, int] | None], list[RunGraph]] = {}
        self._lock = threading.Lock()
        self._last: _LastReference | None = None
        self.info = EngineInfo(
            name=self.name,
            device=device,
            model=model,
            precision="fp32",
            multiple=network.multiple,
            bytes_per_pixel=BYTES_PER_PIXEL,
            reason=reason,
            context=CONTEXT,
        )

    def _load_library(self) -> str:
        """Load the library and return the device. Raises EngineError if that fails."""
        raise NotImplementedError

    def _compile_graphs(
        self, graphs: Sequence[bytes], size: tuple[int, int] | None, scale: int
    ) -> list[RunGraph]:
        """Return a function that runs each graph, in the order of `graphs`.

        `size` is the height and width of the output, or None unless `compiles_shapes` is True.
        """
        raise NotImplementedError

    def enhance(self, lr: Pixels, ref: Pixels) -> Pixels:
        """Return SR frames, with the shape and dtype of `ref`; see Engine.enhance."""
        scale = find_scale(lr, ref)
        try:
            return self._enhance(lr, ref, scale)
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error):
                raise
            raise OutOfMemoryError(
                f"found too little memory on {self.info.device} for {len(lr)} frames of "
                f"{ref.shape[2]}x{ref.shape[1]}; try a smaller --batch"
            ) from error

    def _enhance(self, lr: Pixels, ref: Pixels, scale: int) -> Pixels:
        height, width = ref.shape[1:3]
        multiple = self.info.multiple
        lr = pad_to_multiple(lr, multiple // scale)
        ref = pad_to_multiple(ref, multiple)
        runs = self._runs_for(scale, cast(PixelType, str(ref.dtype)), ref.shape[1:3])

        prepared = [self._prepare(runs, frame, scale) for frame in ref]
        frames = self._pool.map(
            lambda i: runs[-1](self._inputs(lr[i : i + 1], ref[i : i + 1], prepared[i]))[0],
            range(len(lr)),
        )
        return cast(Pixels, np.concatenate(list(frames))[:, :height, :width])

    def _inputs(
        self, lr: Pixels, ref: Pixels, prepared: list[NDArray[Any]]
    ) -> dict[str, NDArray[Any]]:
        names = GraphSpec(self._parts[-1], 2).inputs
        return dict(zip(names, (lr, ref, *prepared), strict=True))

    def _prepare(self, runs: list[RunGraph], ref: Pixels, scale: int) -> list[NDArray[Any]]:
        """Return the tensors computed from `ref`, or the last ones if `ref` has not changed."""
        if len(self._parts) == 1:
            return []
        last = self._last
        if last is None or last.scale != scale or not np.array_equal(last.pixels, ref):
            last = _LastReference(ref.copy(), scale, runs[0]({"ref": ref[None]}))
            self._last = last
        return last.prepared

    def _runs_for(self, scale: int, pixels: PixelType, size: tuple[int, ...]) -> list[RunGraph]:
        with self._lock:
            graphs = self._graphs.get((scale, pixels))
            if graphs is None:
                specs = [GraphSpec(part, scale, pixels) for part in self._parts]
                graphs = [get_or_export_graph(self._model, spec).read() for spec in specs]
                self._graphs[scale, pixels] = graphs

            shape = (size[0], size[1]) if self.compiles_shapes else None
            if (scale, pixels, shape) not in self._runs:
                self._runs[scale, pixels, shape] = self._compile_graphs(graphs, shape, scale)
            return self._runs[scale, pixels, shape]
