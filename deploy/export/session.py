"""Run an ONNX graph on onnxruntime, as a function of named arrays."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from crossnetpp.machine import is_out_of_memory
from deploy.distribution import describe_install
from deploy.protocol import EngineError

# a function that runs a graph; it maps the named inputs to a list of outputs
RunGraph = Callable[[Mapping[str, NDArray[Any]]], list[NDArray[Any]]]
CUDA_PROVIDER = "CUDAExecutionProvider"


def import_onnxruntime() -> Any:
    """Return the module `onnxruntime`. Raises EngineError if it is missing or broken."""
    try:
        import onnxruntime as ort
    except (ImportError, OSError) as error:
        raise EngineError(
            f"cannot load onnxruntime ({error}), which is needed to run exported graphs; "
            f"try {describe_install('onnx')}, or --engine torch"
        ) from error
    return ort


def create_session(model: bytes, *, threads: int) -> RunGraph:
    """Return a function that runs the graph in an ONNX file, given as bytes.

    On a CPU, the graph runs on `threads` threads. Raises EngineError if onnxruntime is missing or
    broken, or rejects the file. The returned function raises EngineError if onnxruntime fails to
    run the graph. Both functions raise MemoryError if memory runs out.
    """
    ort = import_onnxruntime()
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    # threads that wait in busy loops would slow down decoding and encoding
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.log_severity_level = 3

    available = ort.get_available_providers()
    providers = [name for name in (CUDA_PROVIDER, "CPUExecutionProvider") if name in available]
    try:
        session = ort.InferenceSession(model, options, providers=providers)
    except Exception as error:
        raise _translate(error, "rejects the graph") from error

    # the exporter drops inputs that the outputs do not depend on
    names = {node.name for node in session.get_inputs()}

    def run(inputs: Mapping[str, NDArray[Any]]) -> list[NDArray[Any]]:
        used = {name: array for name, array in inputs.items() if name in names}
        try:
            outputs = session.run(None, used)
        except Exception as error:
            raise _translate(error, "failed") from error
        return [np.asarray(output) for output in outputs]

    return run


def _translate(error: Exception, what: str) -> Exception:
    """Return the exception to raise instead of `error`, which onnxruntime raised.

    `what` states in a few words what onnxruntime did, for example "failed".
    """
    line = " ".join(str(error).split())
    if is_out_of_memory(error):
        return MemoryError(line)
    return EngineError(f"onnxruntime {what}: {line[:300]}; try --engine torch")


def has_cuda_provider() -> bool:
    """Return whether the installed onnxruntime includes its CUDA provider.

    Raises EngineError if onnxruntime is missing or broken.
    """
    return CUDA_PROVIDER in import_onnxruntime().get_available_providers()
