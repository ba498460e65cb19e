"""Find an engine by name; `auto` takes the fastest that this device can run."""

from __future__ import annotations

from deploy.engines.bicubic_engine import BicubicEngine
from deploy.protocol import Engine, EngineError, EngineInfo, Pixels, UnknownEngineError

__all__ = [
    "ENGINES",
    "Engine",
    "EngineError",
    "EngineInfo",
    "Pixels",
    "UnknownEngineError",
    "load_engine",
]

ENGINES = ("auto", "torch", "onnx", "openvino", "bicubic")


def load_engine(name: str = "auto", *, model: str = "fast", threads: int | None = None) -> Engine:
    """Return the engine `name` (auto, torch, bicubic) running `model` (fast, paper, a file).

    `threads` bounds the CPU threads of one worker. Raises UnknownEngineError for names that do
    not exist and EngineError for engines or weights that cannot be used on this device.
    """
    if name not in ENGINES:
        raise UnknownEngineError(
            f"found the engine '{name}', expected one of {', '.join(ENGINES)}; try --engine auto"
        )
    if name == "bicubic":
        return BicubicEngine(threads=threads)
    # torch takes seconds to import, and the bicubic engine does without
    from crossnetpp.checkpoint import WeightsError
    from deploy.engines.torch_engine import TorchEngine

    reason = "asked for" if name != "auto" else "auto: nothing was measured here"
    try:
        if name == "onnx":
            from deploy.engines.onnx_engine import OnnxEngine

            return OnnxEngine(model, threads=threads, reason=reason)
        if name == "openvino":
            from deploy.engines.openvino_engine import OpenvinoEngine

            return OpenvinoEngine(model, threads=threads, reason=reason)
        return TorchEngine(model, threads=threads, reason=reason)
    except WeightsError as error:
        raise EngineError(str(error)) from error
