"""Constant folding for exported graphs, which compute even constant pad sizes at run time."""

from __future__ import annotations

import tempfile
from pathlib import Path

from deploy.export.session import import_onnxruntime


def fold_constants(model: bytes) -> bytes:
    """Return an equivalent ONNX file with fewer nodes, all of which are standard operators.

    Raises EngineError if onnxruntime is missing or broken.
    """
    import onnx  # optional, like onnxruntime

    ort = import_onnxruntime()
    options = ort.SessionOptions()
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_ENABLE_BASIC
    options.log_severity_level = 3
    with tempfile.TemporaryDirectory() as folder:
        options.optimized_model_filepath = str(Path(folder) / "folded.onnx")
        ort.InferenceSession(model, options, providers=["CPUExecutionProvider"])
        folded = onnx.load(options.optimized_model_filepath)

    # onnxruntime declares every operator domain that it knows, even if it is not used
    standard = [entry for entry in folded.opset_import if entry.domain == ""]
    del folded.opset_import[:]
    folded.opset_import.extend(standard)
    return bytes(folded.SerializeToString())
