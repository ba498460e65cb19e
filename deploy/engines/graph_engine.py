"""The base class of engines that run exported graphs in a runtime library, usually on a CPU."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeAlias, cast

import numpy as np
from numpy.typing import NDArray

from crossnetpp.machine import count_cores, is_out_of_memory
from crossnetpp.networks.taps import Taps, make_bicubic_taps
from deploy.engines.kept_references import KeptReferences
from deploy.export.graphs import GraphSpec, PixelType, list_parts
from deploy.export.session import RunGraph
from deploy.export.stored import get_or_export_graph, load_model_network
from deploy.protocol import (
    CONTEXT,
    EngineInfo,
    Pixels,
    Weights,
    complete_weights,
    find_scale,
    make_memory_error,
    pad_to_multiple,
)

Size: TypeAlias = tuple[int, int]  # height and width of the output
BYTES_PER_PIXEL = 900  # working memory per output pixel of a batch, measured for `fast` on a CPU


class GraphEngine:
    """An engine that runs exported graphs, using one thread for each frame of a batch."""

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
        self._graphs: dict[GraphSpec, Any] = {}
        """The loaded graphs, as `_load_graph` returned them."""
        self._runs: dict[tuple[GraphSpec, Size | None], RunGraph] = {}
        self._lock = threading.Lock()
        self._kept = KeptReferences[list[NDArray[Any]]]()
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
        """Load the library and return the device it runs on, such as `cpu`.

        Raises EngineError if the library cannot be loaded.
        """
        raise NotImplementedError

    def _load_graph(self, content: bytes) -> Any:
        """Return the graph in an ONNX file, in the form that `_compile_graph` expects.

        Raises EngineError if the library rejects it.
        """
        raise NotImplementedError

    def _compile_graph(self, graph: Any, size: Size | None, scale: int) -> RunGraph:
        """Return a function that runs a loaded graph.

        `size` is the height and width of the output if `compiles_shapes` is True, else None.
        Raises EngineError if the library rejects the graph.
        """
        raise NotImplementedError

    def enhance(
        self,
        lr: Pixels,
        *refs: Pixels,
        weights: Weights | None = None,
        kernel: Taps | None = None,
    ) -> Pixels:
        """Return SR frames, with the shape and dtype of a reference; see Engine.enhance."""
        scale = find_scale(lr, *refs)
        weights = complete_weights(weights, len(lr), len(refs))
        taps = make_bicubic_taps(scale) if kernel is None else kernel
        try:
            return self._enhance(lr, refs, weights, taps, scale)
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error):
                raise
            raise make_memory_error(self.info.device, refs[0].shape) from error

    def _enhance(
        self, lr: Pixels, refs: tuple[Pixels, ...], weights: Weights, taps: Taps, scale: int
    ) -> Pixels:
        height, width = refs[0].shape[1:3]
        multiple = self.info.multiple
        lr = pad_to_multiple(lr, multiple // scale)
        if len(self._parts) == 1:
            # the network supports only one reference
            refs = refs[:1]
        padded = [pad_to_multiple(ref, multiple) for ref in refs]

        # one graph prepares references, if the network supports that, and another computes frames
        pixels = cast(PixelType, str(lr.dtype))
        size = (padded[0].shape[1], padded[0].shape[2])
        specs = [
            GraphSpec(part, scale, pixels, references=len(padded) if part == "frame" else 1)
            for part in self._parts
        ]
        *first, frame = [self._find_run(spec, size) for spec in specs]
        prepare = first[0] if first else None

        self._kept.make_room(len(padded))
        prepared = [[self._prepare(prepare, each, scale, taps) for each in ref] for ref in padded]

        def run(i: int) -> NDArray[Any]:
            tensors: list[NDArray[Any]] = [lr[i : i + 1]]
            for ref, several in zip(padded, prepared, strict=True):
                tensors += [ref[i : i + 1], *several[i]]
            tensors += [taps, weights[i : i + 1]]
            # not strict, because the graph for a single reference has no input for weights
            return frame(dict(zip(specs[-1].inputs, tensors, strict=False)))[0]

        frames = list(self._pool.map(run, range(len(lr))))
        return cast(Pixels, np.concatenate(frames)[:, :height, :width])

    def _prepare(
        self, prepare: RunGraph | None, ref: Pixels, scale: int, taps: Taps
    ) -> list[NDArray[Any]]:
        """Return the tensors computed from one reference (H x W x 3), reusing stored ones.

        If `prepare` is None, the list is empty.
        """
        if prepare is None:
            return []
        inputs = {"ref": ref[None], "taps": taps}
        return self._kept.get_or_compute(ref, scale, taps, lambda: prepare(inputs))

    def _find_run(self, spec: GraphSpec, size: Size) -> RunGraph:
        """Return the function that runs the graph of `spec` for an output of `size`.

        Each graph is loaded once and compiled once, or once per size if `compiles_shapes` is True.
        """
        shape = size if self.compiles_shapes else None
        with self._lock:
            if spec not in self._graphs:
                content = get_or_export_graph(self._model, spec).read()
                self._graphs[spec] = self._load_graph(content)
            if (spec, shape) not in self._runs:
                self._runs[spec, shape] = self._compile_graph(self._graphs[spec], shape, spec.scale)
            return self._runs[spec, shape]
