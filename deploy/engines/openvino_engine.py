"""The engine for OpenVINO, on the CPU."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from deploy.distribution import describe_install
from deploy.engines.graph_engine import GraphEngine
from deploy.export.graphs import PREPARED_TENSORS
from deploy.export.session import RunGraph
from deploy.protocol import EngineError


def import_openvino() -> Any:
    """Return the package `openvino`. Raises EngineError if it is missing or broken.

    The package sends telemetry only from `convert_model`, which is not used here.
    """
    try:
        import openvino as ov
    except (ImportError, OSError) as error:
        raise EngineError(
            f"found no OpenVINO that can be loaded ({error}), expected one; "
            f"try {describe_install('openvino')}, or --engine torch"
        ) from error
    return ov


class OpenvinoEngine(GraphEngine):
    """Run the exported network on OpenVINO, each frame on one thread.

    The network is compiled for each size, because a graph of fixed size runs faster than one of
    dynamic size.
    """

    name = "openvino"
    compiles_shapes = True

    def _load_library(self) -> str:
        self._core = import_openvino().Core()
        return "cpu"

    def _compile_graphs(
        self, graphs: Sequence[bytes], size: tuple[int, int] | None, scale: int
    ) -> list[RunGraph]:
        assert size is not None
        return [self._compile_graph(graph, size, scale) for graph in graphs]

    def _compile_graph(self, graph: bytes, size: tuple[int, int], scale: int) -> RunGraph:
        try:
            model = self._core.read_model(graph)
            shapes = {i.any_name: _input_shape(i.any_name, size, scale) for i in model.inputs}
            for parameter in model.inputs:
                known = parameter.partial_shape
                shapes[parameter.any_name] = [
                    known[axis].get_length() if length is None else length
                    for axis, length in enumerate(shapes[parameter.any_name])
                ]
            model.reshape(shapes)
            compiled = self._core.compile_model(
                model,
                "CPU",
                {
                    "INFERENCE_PRECISION_HINT": "f32",
                    "INFERENCE_NUM_THREADS": self._threads,
                    # one stream per thread, so that each frame runs on one thread
                    "NUM_STREAMS": self._threads,
                    "ENABLE_CPU_PINNING": False,
                },
            )
        except RuntimeError as error:
            raise EngineError(f"OpenVINO rejects the graph: {error}; try --engine torch") from error

        # the exporter drops inputs that the outputs do not depend on
        names = set(shapes)

        def run(inputs: Mapping[str, NDArray[Any]]) -> list[NDArray[Any]]:
            request = compiled.create_infer_request()
            request.infer({name: array for name, array in inputs.items() if name in names})
            # copied, because the outputs are freed with the request
            return [np.array(output.data) for output in request.output_tensors]

        return run


def _input_shape(name: str, size: tuple[int, int], scale: int) -> list[int | None]:
    """Return the shape of the input `name` for output frames of `size` (height, width).

    Channels that the graph itself determines are None.
    """
    height, width = size
    # the tensors of further references are called ref_2, unsharp_2 and so on
    name = name.partition("_")[0]
    if name == "taps":
        return [None, None, None]
    if name == "weights":
        return [1, None]
    if name == "lr":
        return [1, height // scale, width // scale, 3]
    if name == "ref":
        return [1, height, width, 3]
    divisor = 1 if name == PREPARED_TENSORS[0] else int(name[1:])
    return [1, None, height // divisor, width // divisor]
