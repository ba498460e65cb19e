"""The choice behind `--engine auto`: measure the engines that run here and pick the fastest."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import NamedTuple, cast

import cv2
import numpy as np

from deploy.export.stored import weights_sha256
from deploy.machine import device_facts
from deploy.protocol import Engine, EngineError, Pixels
from deploy.registry import JsonObject, Registry

SPEED_MARGIN = 1.05  # an engine must beat PyTorch by this factor, more than measurements vary
FRAMES = 2  # frames per measured call
SCALE = 4
TURNS = 3  # measured calls; the best one counts
_HEIGHT = 320
_WIDTH = 512


class Choice(NamedTuple):
    """The chosen engine."""

    name: str
    why: str
    """The measurements behind the choice, in one line."""


def measure_fps(
    engine: Engine,
    *,
    height: int = _HEIGHT,
    width: int = _WIDTH,
    frames: int = FRAMES,
    turns: int = TURNS,
) -> float:
    """Return an engine's best speed in several turns, in frames of `height` x `width` per second.

    All frames share one reference, as in a clip. The first call, which compiles, does not count.
    """
    lr, refs = make_sample_frames(height, width, frames)
    engine.enhance(lr, refs)

    best = np.inf
    for _ in range(turns):
        start = time.perf_counter()
        engine.enhance(lr, refs)
        best = min(best, time.perf_counter() - start)
    return frames / best


def make_sample_frames(height: int, width: int, frames: int) -> tuple[Pixels, Pixels]:
    """Return one LR frame and its reference (`height` x `width`), both repeated `frames` times."""
    rng = np.random.default_rng(0)
    noise = cv2.GaussianBlur(rng.random((height, width, 3), dtype=np.float32), (0, 0), 1.0)
    ref = np.asarray(cv2.normalize(noise, noise, 0, 255, cv2.NORM_MINMAX)).astype(np.uint8)

    small = (width // SCALE, height // SCALE)
    lr = cv2.resize(np.roll(ref, (2, 3), axis=(0, 1)), small, interpolation=cv2.INTER_AREA)
    return cast(Pixels, np.stack([lr] * frames)), cast(Pixels, np.stack([ref] * frames))


def choose_engine(
    model: str,
    candidates: tuple[str, ...],
    load: Callable[[str], Engine],
    registry: Registry,
    *,
    threads: int | None,
    notify: Callable[[str], None],
    remeasure: bool = False,
) -> Choice:
    """Return the fastest of `candidates` on this device.

    The registry keeps the measurements, so they are made only once unless `remeasure` is True.
    `load` returns an engine that has passed its self-test, or raises EngineError; `notify` receives
    a line before the measurements start.
    """
    key = {
        "kind": "speed",
        "weights": weights_sha256(model),
        "candidates": list(candidates),
        "threads": threads or 0,
        **device_facts(),
    }

    def measure() -> tuple[bytes, JsonObject]:
        notify(
            f"engine auto: measuring {', '.join(candidates)} on this device, only once; "
            "name one with --engine to skip this"
        )
        speeds: dict[str, float] = {}
        failed: dict[str, str] = {}
        for name in candidates:
            try:
                engine = load(name)
                # the published networks pad to multiples of 64 and are slow, so measure a small
                # size
                is_slow = engine.info.multiple > 32
                size = {"height": 128, "width": 192, "turns": 1} if is_slow else {}
                speeds[name] = round(measure_fps(engine, **size), 3)
            except EngineError as error:
                failed[name] = str(error)
        return b"", {"fps": speeds, "failed": failed}

    facts = registry.get_or_make(key, "speed", measure, force=remeasure).facts
    return pick_fastest(facts["fps"], facts["failed"])


def pick_fastest(speeds: Mapping[str, float], failed: Mapping[str, str]) -> Choice:
    """Return the fastest engine, or PyTorch if it is about as fast.

    Raises EngineError if no engine ran.
    """
    if not speeds:
        raise EngineError(
            "found no engine that runs here: "
            + "; ".join(f"{name} {why}" for name, why in failed.items())
        )

    name = max(speeds, key=lambda each: speeds[each])
    if name != "torch" and speeds[name] < SPEED_MARGIN * speeds.get("torch", 0.0):
        name = "torch"

    ranked = sorted(speeds.items(), key=lambda item: -item[1])
    measured = ", ".join(f"{each} {fps:.3g}" for each, fps in ranked)
    why = f"auto: measured here in frames per second {measured}"
    if failed:
        why += "; " + ", ".join(f"{each} not usable" for each in failed)
    return Choice(name, why)
