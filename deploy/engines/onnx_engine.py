"""The engine for onnxruntime, on the CPU or, if its CUDA provider is installed, on a GPU."""

from __future__ import annotations

from collections.abc import Sequence

from deploy.engines.graph_engine import GraphEngine
from deploy.export.session import RunGraph, create_session, has_cuda_provider


class OnnxEngine(GraphEngine):
    """Run the exported network on onnxruntime, each frame on one thread."""

    name = "onnx"

    def _load_library(self) -> str:
        return "cuda:0" if has_cuda_provider() else "cpu"

    def _compile_graphs(
        self, graphs: Sequence[bytes], size: tuple[int, int] | None, scale: int
    ) -> list[RunGraph]:
        return [create_session(graph, threads=1) for graph in graphs]
