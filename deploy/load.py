"""Find an engine by name; `auto` takes the fastest that passes its self-test on this device."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from deploy.engines.bicubic_engine import BicubicEngine
from deploy.protocol import (
    ENGINES,
    Engine,
    EngineError,
    EngineInfo,
    Pixels,
    UnknownEngineError,
)
from deploy.registry import Registry, RegistryError
from deploy.tiling import TilingEngine

__all__ = [
    "ENGINES",
    "Engine",
    "EngineError",
    "EngineInfo",
    "Pixels",
    "UnknownEngineError",
    "load_engine",
]


def _silent(_: str) -> None:
    pass


def load_engine(
    name: str = "auto",
    *,
    model: str = "fast",
    threads: int | None = None,
    registry: Registry | None = None,
    say: Callable[[str], None] = _silent,
    anew: bool = False,
) -> Engine:
    """Return the engine `name` (one of ENGINES) running `model` (fast, paper, a file).

    `threads` bounds the CPU threads of one worker; `say` is told what takes time; with `anew`, auto
    measures again. An engine that fails its self-test is quarantined and PyTorch runs in its place,
    as `info.reason` says. Raises UnknownEngineError for names that do not exist and EngineError for
    engines or weights that cannot be used on this device.
    """
    if name not in ENGINES:
        raise UnknownEngineError(
            f"found the engine '{name}', expected one of {', '.join(ENGINES)}; try --engine auto"
        )
    if name == "bicubic":
        return TilingEngine(BicubicEngine(threads=threads))
    # torch takes seconds to import, and the bicubic engine does without
    from deploy.choice import choose_engine
    from deploy.selftest import load_baseline_engine

    if name == "torch":
        engine = create_engine(name, model, threads)
        if engine.info.precision == "fp32":
            return TilingEngine(engine)  # the judge itself: there is nothing to test and to keep
    try:
        registry = registry or Registry()
    except RegistryError as error:
        if name != "auto":
            raise
        judge = load_baseline_engine(model, threads=threads)
        judge.info = replace(judge.info, reason=f"auto: nothing can be kept here: {error}")
        return TilingEngine(judge)
    if name == "auto":
        choice = choose_engine(
            model,
            list_candidates(),
            lambda each: load_tested_engine(each, model, threads, registry),
            registry,
            threads=threads,
            say=say,
            anew=anew,
        )
        return TilingEngine(
            load_tested_engine(choice.name, model, threads, registry, reason=choice.why)
        )
    return TilingEngine(load_or_fall_back(name, model, threads, registry))


def list_candidates() -> tuple[str, ...]:
    """Return the engines that `auto` looks at on this device."""
    import torch

    if torch.cuda.is_available():
        return ("tensorrt", "torch")
    return ("torch", "onnx", "openvino")


def create_engine(
    name: str, model: str, threads: int | None, *, reason: str = "asked for"
) -> Engine:
    """Return an engine that nobody has tested; EngineError where it cannot be had."""
    from crossnetpp.checkpoint import WeightsError

    try:
        if name == "onnx":
            from deploy.engines.onnx_engine import OnnxEngine

            return OnnxEngine(model, threads=threads, reason=reason)
        if name == "openvino":
            from deploy.engines.openvino_engine import OpenvinoEngine

            return OpenvinoEngine(model, threads=threads, reason=reason)
        if name == "tensorrt":
            from deploy.engines.tensorrt_engine import TensorrtEngine

            return TensorrtEngine(model, threads=threads, reason=reason)
        from deploy.engines.torch_engine import TorchEngine

        return TorchEngine(model, threads=threads, reason=reason)
    except WeightsError as error:
        raise EngineError(str(error)) from error


def load_tested_engine(
    name: str,
    model: str,
    threads: int | None,
    registry: Registry,
    *,
    reason: str = "asked for",
    anew: bool = False,
) -> Engine:
    """Return an engine that has passed its self-test; SelfTestError for one that fails it."""
    from deploy.selftest import load_baseline_engine, require_selftest

    engine = create_engine(name, model, threads, reason=reason)
    if (name, engine.info.precision) != ("torch", "fp32"):
        require_selftest(
            engine, registry, lambda: load_baseline_engine(model, threads=threads), anew=anew
        )
    return engine


def load_or_fall_back(name: str, model: str, threads: int | None, registry: Registry) -> Engine:
    """Return a trusted engine, or PyTorch, which then says why."""
    from deploy.selftest import SelfTestError, load_baseline_engine

    try:
        return load_tested_engine(name, model, threads, registry)
    except SelfTestError as error:
        judge = load_baseline_engine(model, threads=threads)
        judge.info = replace(judge.info, reason=f"{name} {error}; torch fp32 runs in its place")
        return judge
