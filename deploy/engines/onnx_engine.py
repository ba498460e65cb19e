"""onnxruntime on the CPU, or on a CUDA device where its provider is installed."""

from __future__ import annotations

from collections.abc import Sequence

from deploy.engines.graph_engine import GraphEngine
from deploy.export.session import Run, on_cuda, session


class OnnxEngine(GraphEngine):
    """Run the exported network by onnxruntime, each frame on one thread."""

    name = "onnx"

    def _start(self) -> str:
        return "cuda:0" if on_cuda() else "cpu"

    def _compile(
        self, graphs: Sequence[bytes], size: tuple[int, int] | None, scale: int
    ) -> list[Run]:
        return [session(graph, threads=1) for graph in graphs]
