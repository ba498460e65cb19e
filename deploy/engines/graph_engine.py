"""The base class of engines that run exported graphs on a CPU."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple, cast

import numpy as np
from numpy.typing import NDArray

from crossnetpp.machine import count_cores, is_out_of_memory
from crossnetpp.networks.taps import Taps, make_bicubic_taps
from deploy.export.graphs import GraphSpec, Part, PixelType, list_parts
from deploy.export.session import RunGraph
from deploy.export.stored import get_or_export_graph, load_model_network
from deploy.protocol import (
    CONTEXT,
    EngineInfo,
    OutOfMemoryError,
    Pixels,
    Weights,
    complete_weights,
    find_scale,
    pad_to_multiple,
)

BYTES_PER_PIXEL = 900  # working memory per output pixel of a batch, measured for `fast` on a CPU


class _KeptReference(NamedTuple):
    """A reference of late and the tensors computed from it."""

    pixels: Pixels
    scale: int
    kernel: Taps
    prepared: list[NDArray[Any]]


class _GraphKey(NamedTuple):
    """What decides which graphs are used, besides the weights."""

    scale: int
    pixels: PixelType
    references: int

    def spec(self, part: Part) -> GraphSpec:
        """Return the options of the graph for `part`."""
        count = self.references if part == "frame" else 1
        return GraphSpec(part, self.scale, self.pixels, references=count)

    def frame_inputs(self, part: Part) -> tuple[str, ...]:
        """Return the names of the inputs of the graph that makes frames."""
        return self.spec(part).inputs


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
        self._graphs: dict[_GraphKey, list[bytes]] = {}
        self._runs: dict[tuple[_GraphKey, tuple[int, int] | None], list[RunGraph]] = {}
        self._lock = threading.Lock()
        self._kept: deque[_KeptReference] = deque(maxlen=1)
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
            raise OutOfMemoryError(
                f"found too little memory on {self.info.device} for {len(lr)} frames of "
                f"{refs[0].shape[2]}x{refs[0].shape[1]}; try a smaller --batch"
            ) from error

    def _enhance(
        self, lr: Pixels, refs: tuple[Pixels, ...], weights: Weights, taps: Taps, scale: int
    ) -> Pixels:
        height, width = refs[0].shape[1:3]
        multiple = self.info.multiple
        lr = pad_to_multiple(lr, multiple // scale)
        if len(self._parts) == 1:
            # the network cannot weigh several references
            refs = refs[:1]
        padded = [pad_to_multiple(ref, multiple) for ref in refs]
        key = _GraphKey(scale, cast(PixelType, str(lr.dtype)), len(padded))
        prepare, frame = self._runs_for(key, padded[0].shape[1:3])

        if len(padded) > (self._kept.maxlen or 0):
            self._kept = deque(self._kept, len(padded))
        prepared = [[self._prepare(prepare, each, scale, taps) for each in ref] for ref in padded]

        def run(i: int) -> NDArray[Any]:
            tensors: list[NDArray[Any]] = [lr[i : i + 1]]
            for ref, several in zip(padded, prepared, strict=True):
                tensors += [ref[i : i + 1], *several[i]]
            tensors += [taps, weights[i : i + 1]]
            # the weights of a single reference are no input
            return frame(dict(zip(key.frame_inputs(self._parts[-1]), tensors, strict=False)))[0]

        frames = list(self._pool.map(run, range(len(lr))))
        return cast(Pixels, np.concatenate(frames)[:, :height, :width])

    def _prepare(
        self, prepare: RunGraph | None, ref: Pixels, scale: int, taps: Taps
    ) -> list[NDArray[Any]]:
        """Return the tensors computed from one H x W x 3 reference, those in memory if possible."""
        if prepare is None:
            return []
        for i, kept in enumerate(self._kept):
            same = kept.scale == scale and np.array_equal(kept.kernel, taps)
            if same and np.array_equal(kept.pixels, ref):
                del self._kept[i]
                self._kept.append(kept)
                return kept.prepared

        prepared = prepare({"ref": ref[None], "taps": taps})
        self._kept.append(_KeptReference(ref.copy(), scale, taps, prepared))
        return prepared

    def _runs_for(self, key: _GraphKey, size: tuple[int, ...]) -> tuple[RunGraph | None, RunGraph]:
        """Return the functions that prepare a reference, if there is one, and that make frames."""
        with self._lock:
            graphs = self._graphs.get(key)
            if graphs is None:
                graphs = [
                    get_or_export_graph(self._model, key.spec(part)).read() for part in self._parts
                ]
                self._graphs[key] = graphs

            shape = (size[0], size[1]) if self.compiles_shapes else None
            if (key, shape) not in self._runs:
                self._runs[key, shape] = self._compile_graphs(graphs, shape, key.scale)
            runs = self._runs[key, shape]
        return (runs[0] if len(runs) > 1 else None), runs[-1]
