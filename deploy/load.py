"""Load an engine by name; `auto` selects the tested engine that would finish the run first."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from deploy.adapted_models import is_adapted, limit_adapted_models
from deploy.engines.bicubic_engine import BicubicEngine
from deploy.names import ENGINES
from deploy.protocol import (
    Engine,
    EngineError,
    EngineInfo,
    Pixels,
    UnknownEngineError,
)
from deploy.registry import Registry, RegistryError
from deploy.tiling import TilingEngine

__all__ = [
    "Engine",
    "EngineError",
    "EngineInfo",
    "Pixels",
    "UnknownEngineError",
    "load_engine",
]

# Engines that need no compilation, usually fastest first on processors that support them all.
PYTORCH_ENGINES = ("bf16", "int8", "torch")


def _ignore(_: str) -> None:
    pass


def load_engine(
    name: str = "auto",
    *,
    model: str = "fast",
    threads: int | None = None,
    registry: Registry | None = None,
    notify: Callable[[str], None] = _ignore,
    pixels: int | None = None,
    remeasure: bool = False,
) -> Engine:
    """Return the engine `name` (one of ENGINES) with the weights of `model` (a preset or a file).

    `threads` limits the number of CPU threads. `notify` receives a line of text before the engines
    are measured. For `auto`, the result is the engine that would be the first to finish `pixels`
    output pixels, or the fastest if `pixels` is None; if `remeasure` is True, all engines are
    measured again. With adapted weights, `auto` selects `bf16`, `int8` or `torch`. A named engine
    that fails its self-test is quarantined and replaced by PyTorch in float32; `info.reason` states
    why.

    If the registry cannot be used, `auto` and `torch` fall back to PyTorch in float32.

    Raises UnknownEngineError if the name is unknown, RegistryError if any other engine is requested
    and the registry cannot be used, and EngineError if the engine or the weights do not work on
    this device.
    """
    if name not in ENGINES:
        raise UnknownEngineError(
            f"there is no engine '{name}'; expected one of {', '.join(ENGINES)}; try --engine auto"
        )
    if name == "bicubic":
        return TilingEngine(BicubicEngine(threads=threads))

    # imported only now, because torch takes seconds to import and `bicubic` does not need it
    from deploy.choice import choose_engine
    from deploy.selftest import is_baseline, load_baseline_engine

    if name == "torch":
        engine = create_engine(name, model, threads)
        # the baseline of the self-tests needs neither a test nor the registry
        if is_baseline(engine.info):
            return TilingEngine(engine)

    try:
        registry = registry or Registry()
        limit_adapted_models(model, registry)
    except RegistryError as error:
        if name not in ("auto", "torch"):
            raise
        baseline = load_baseline_engine(model, threads=threads)
        what = "measurements" if name == "auto" else "self-tests"
        baseline.info = replace(baseline.info, reason=f"{name}: {what} cannot be stored: {error}")
        return TilingEngine(baseline)

    if name != "auto":
        return TilingEngine(load_or_fall_back(name, model, threads, registry))

    def load(each: str, reason: str = "requested") -> Engine:
        # PyTorch's engines fall back to the baseline, so that `auto` always finds an engine
        make = load_or_fall_back if each in PYTORCH_ENGINES else load_tested_engine
        return make(each, model, threads, registry, reason=reason)

    if is_adapted(model):
        why = "auto: compiling another engine for these adapted weights would take minutes"
        usable = [name for name in PYTORCH_ENGINES if name in list_candidates()]
        return TilingEngine(load(usable[0], why))

    candidates = list_candidates()
    choice = choose_engine(
        model,
        candidates,
        load,
        registry,
        threads=threads,
        notify=notify,
        pixels=pixels,
        remeasure=remeasure,
    )
    return TilingEngine(load(choice.name, choice.why))


def list_candidates() -> tuple[str, ...]:
    """Return the names of the engines that `auto` compares on this device."""
    import torch

    from deploy.engines.bf16_engine import is_bf16_fast
    from deploy.engines.int8 import is_int8_fast

    if torch.cuda.is_available():
        return ("tensorrt", "torch")
    bf16 = ("bf16",) if is_bf16_fast() else ()
    int8 = ("int8",) if is_int8_fast() else ()
    return ("torch", *bf16, *int8, "onnx", "openvino")


def create_engine(
    name: str, model: str, threads: int | None, *, reason: str = "requested"
) -> Engine:
    """Return the engine `name`, without testing it.

    Raises EngineError if the engine does not work on this machine.
    """
    if name == "onnx":
        from deploy.engines.onnx_engine import OnnxEngine

        return OnnxEngine(model, threads=threads, reason=reason)

    if name == "openvino":
        from deploy.engines.openvino_engine import OpenvinoEngine

        return OpenvinoEngine(model, threads=threads, reason=reason)

    if name == "tensorrt":
        from deploy.engines.tensorrt_engine import TensorrtEngine

        return TensorrtEngine(model, threads=threads, reason=reason)

    if name == "bf16":
        from deploy.engines.bf16_engine import Bf16Engine

        return Bf16Engine(model, threads=threads, reason=reason)

    if name == "int8":
        from deploy.engines.int8_engine import Int8Engine

        return Int8Engine(model, threads=threads, reason=reason)

    from deploy.engines.torch_engine import TorchEngine

    return TorchEngine(model, threads=threads, reason=reason)


def load_tested_engine(
    name: str,
    model: str,
    threads: int | None,
    registry: Registry,
    *,
    reason: str = "requested",
) -> Engine:
    """Return the engine `name`, which has passed its self-test or is itself the baseline.

    Raises SelfTestError if the engine fails the test, and EngineError if it does not work on this
    machine.
    """
    from deploy.selftest import is_baseline, load_baseline_engine, require_selftest

    engine = create_engine(name, model, threads, reason=reason)
    if not is_baseline(engine.info):
        require_selftest(engine, registry, lambda: load_baseline_engine(model, threads=threads))
    return engine


def load_or_fall_back(
    name: str,
    model: str,
    threads: int | None,
    registry: Registry,
    *,
    reason: str = "requested",
) -> Engine:
    """Return the engine `name` if it passes its self-test, or else the PyTorch engine in float32.

    After a failed test, `info.reason` states why. Raises EngineError if the engine does not work on
    this machine.
    """
    from deploy.selftest import SelfTestError, load_baseline_engine

    try:
        return load_tested_engine(name, model, threads, registry, reason=reason)
    except SelfTestError as error:
        baseline = load_baseline_engine(model, threads=threads)
        why = f"{name}: {error}; torch fp32 runs instead"
        baseline.info = replace(baseline.info, reason=why)
        return baseline
