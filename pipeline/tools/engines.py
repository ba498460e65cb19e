"""Self-tests and timings of engines on this machine, and plans for cards of other kinds."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from deploy.choice import measure_fps
from deploy.export.graphs import GraphSpec, list_parts
from deploy.export.stored import load_model_network
from deploy.load import create_engine, load_tested_engine
from deploy.protocol import Engine, EngineError
from deploy.registry import Registry
from deploy.selftest import LOWEST_PSNR, SelfTestError, load_baseline_engine, require_selftest
from deploy.trt.library import find_library
from deploy.trt.stored_plans import check_targets, cross_build_plans
from pipeline.errors import InputError


@dataclass(frozen=True)
class Outcome:
    """The outcome of one test or build, as text."""

    text: str
    failed: bool = False


def open_registry() -> Registry:
    """Return the registry of this machine; raises InputError if it cannot be used."""
    try:
        return Registry()
    except EngineError as error:
        raise InputError(str(error)) from error


def retest_engines(
    model: str, names: Sequence[str], registry: Registry, *, optional: bool
) -> Iterator[Outcome]:
    """Test engines against PyTorch again; those that pass leave quarantine.

    Engines that cannot be loaded are reported if they are `optional`, else raise InputError.
    """
    for name in names:
        try:
            engine = create_engine(name, model, None)
            if name == "torch":
                yield Outcome(f"torch on {engine.info.device}: the baseline for the others")
                continue

            facts = require_selftest(
                engine, registry, lambda: load_baseline_engine(model), retest=True
            )
            yield Outcome(
                f"{name} on {engine.info.device}: PSNR {facts['psnr']:.1f} dB against PyTorch "
                f"({LOWEST_PSNR[engine.info.precision]:g} needed), differs by at most "
                f"{facts['largest_difference']:.0f} levels"
            )
        except SelfTestError as error:
            yield Outcome(f"{name} FAILED and is not used: {error}", failed=True)
        except EngineError as error:
            if not optional:
                raise InputError(str(error)) from error
            yield Outcome(f"{name} is not available: {error}")


def cross_build(
    model: str, targets: Sequence[str], out: Path | None, progress: Callable[[str, int, int], None]
) -> Iterator[Outcome]:
    """Build TensorRT plans for RTX cards that are not in this machine, such as sm89 and sm120.

    Raises InputError for an unknown target or model, or without TensorRT for RTX.
    """
    try:
        check_targets(targets, find_library(rtx=True))
        parts = list_parts(load_model_network(model))
    except EngineError as error:
        raise InputError(str(error)) from error

    for scale in (2, 4, 8):
        for part in parts:
            spec = GraphSpec(part, scale, "uint8", "fp16", target="tensorrt")
            try:
                (entry,) = cross_build_plans(model, [spec], targets, out, progress=progress)
            except EngineError as error:
                # a compiler that fails at one scale may succeed at the others
                yield Outcome(f"{spec.name} FAILED: {error}", failed=True)
                continue

            size = entry.path.stat().st_size / 1e6
            yield Outcome(f"{entry.path} {spec.name} for {', '.join(targets)}: {size:.1f} MB")


def parse_size(text: str) -> tuple[int, int]:
    """Return the height and width of "320x512"; raises InputError unless engines can time it."""
    try:
        height, width = (int(part) for part in text.lower().split("x"))
    except ValueError:
        height = width = 0
    if min(height, width) < 32 or height % 8 or width % 8:
        raise InputError(
            f"found --size {text}, expected HEIGHTxWIDTH, both multiples of 8 and at least 32; "
            "try 320x512"
        )
    return height, width


def time_engines(
    model: str, names: Sequence[str], size: tuple[int, int], *, frames: int, turns: int
) -> list[dict[str, Any]]:
    """Return a row for each engine: its best speed in frames per second, or why it failed.

    The engines take turns, so that a busy moment of the machine affects all of them.
    """
    registry = open_registry()
    engines: dict[str, Engine] = {}
    rows: dict[str, dict[str, Any]] = {name: {"engine": name} for name in names}
    for name in names:
        try:
            engines[name] = load_tested_engine(name, model, None, registry)
        except EngineError as error:
            rows[name]["failed"] = str(error)

    height, width = size
    best = dict.fromkeys(engines, 0.0)
    for _ in range(turns):
        for name, engine in engines.items():
            fps = measure_fps(engine, height=height, width=width, frames=frames, turns=1)
            best[name] = max(best[name], fps)

    for name, engine in engines.items():
        info = engine.info
        rows[name] |= {"device": info.device, "precision": info.precision, "fps": best[name]}
    return list(rows.values())
