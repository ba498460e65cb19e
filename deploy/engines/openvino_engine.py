"""The engine that uses OpenVINO, on the CPU."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from crossnetpp.machine import is_out_of_memory
from deploy.distribution import describe_install
from deploy.engines.graph_engine import GraphEngine, Size
from deploy.export.session import RunGraph
from deploy.protocol import EngineError
from deploy.trt.profiles import input_shape


def import_openvino() -> Any:
    """Return the module `openvino`. Raises EngineError if it is missing or broken.

    OpenVINO sends telemetry only in `convert_model`, which is never called.
    """
    try:
        import openvino as ov
    except (ImportError, OSError) as error:
        raise EngineError(
            f"cannot load OpenVINO ({error}), which is needed for --engine openvino; "
            f"try {describe_install('openvino')}, or --engine torch"
        ) from error
    return ov


class OpenvinoEngine(GraphEngine):
    """An engine that runs the exported network on OpenVINO, with one thread per frame.

    The network is compiled separately for every frame size, because graphs with static shapes run
    faster than graphs with dynamic shapes.
    """

    name = "openvino"
    compiles_shapes = True

    def _load_library(self) -> str:
        self._core = import_openvino().Core()
        return "cpu"

    def _load_graph(self, content: bytes) -> Any:
        try:
            return self._core.read_model(content)
        except RuntimeError as error:
            if is_out_of_memory(error):
                raise
            raise _reject(error) from error

    def _compile_graph(self, graph: Any, size: Size | None, scale: int) -> RunGraph:
        assert size is not None
        shapes = {
            node.any_name: input_shape(
                node.any_name, _declared_shape(node.partial_shape), (1, *size), scale
            )
            for node in graph.inputs
        }
        try:
            # a copy, because the graph may also be compiled for other sizes
            model = graph.clone()
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
            if is_out_of_memory(error):
                raise
            raise _reject(error) from error

        # the exporter drops inputs that the outputs do not depend on
        names = set(shapes)

        def run(inputs: Mapping[str, NDArray[Any]]) -> list[NDArray[Any]]:
            request = compiled.create_infer_request()
            request.infer({name: array for name, array in inputs.items() if name in names})
            # copied, because the outputs are freed with the request
            return [np.array(output.data) for output in request.output_tensors]

        return run


def _declared_shape(shape: Any) -> tuple[int, ...]:
    """Return an OpenVINO `PartialShape` as a tuple, with -1 for each dynamic axis."""
    return tuple(axis.get_length() if axis.is_static else -1 for axis in shape)


def _reject(error: RuntimeError) -> EngineError:
    """Return a one-line EngineError for a rejected graph, without OpenVINO's source locations."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    reason = " ".join(line for line in lines if not line.startswith("Exception from ")) or "unknown"
    return EngineError(f"OpenVINO rejects the graph: {reason[:300]}; try --engine torch")
