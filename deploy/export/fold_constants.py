"""Constant folding for exported graphs, which otherwise compute constant pad sizes at run time."""

from __future__ import annotations

import tempfile
from pathlib import Path

from deploy.export.session import import_onnxruntime


def fold_constants(model: bytes) -> bytes:
    """Return the ONNX file `model` (bytes) with its constant expressions computed in advance.

    All remaining nodes are standard operators. Raises EngineError if onnxruntime is missing or
    broken.
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

    # onnxruntime declares all operator domains that it knows, even if the graph does not use them
    standard = [entry for entry in folded.opset_import if entry.domain == ""]
    del folded.opset_import[:]
    folded.opset_import.extend(standard)
    return bytes(folded.SerializeToString())
