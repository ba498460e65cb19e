"""The engine that uses onnxruntime, on the CPU or, if its CUDA provider is installed, on a GPU."""

from __future__ import annotations

from deploy.engines.graph_engine import GraphEngine, Size
from deploy.export.session import RunGraph, create_session, has_cuda_provider


class OnnxEngine(GraphEngine):
    """An engine that runs the exported network on onnxruntime, with one thread per frame."""

    name = "onnx"

    def _load_library(self) -> str:
        return "cuda:0" if has_cuda_provider() else "cpu"

    def _load_graph(self, content: bytes) -> RunGraph:
        return create_session(content, threads=1)

    def _compile_graph(self, graph: RunGraph, size: Size | None, scale: int) -> RunGraph:
        return graph
