"""What `auto` means: the engine that was measured to be the fastest of those that pass."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import NamedTuple, cast

import cv2
import numpy as np

from deploy.export.stored import weights_sha256
from deploy.machine import device_facts
from deploy.protocol import Engine, EngineError, Pixels
from deploy.registry import Facts, Registry

SPEED_MARGIN = 1.05
"""An engine takes PyTorch's place when it is faster by this: below, measurements decide by luck."""
FRAMES, SCALE, TURNS = 2, 4, 3
_HEIGHT, _WIDTH = 320, 512


class Choice(NamedTuple):
    """What was chosen, and why."""

    name: str
    why: str


def measure_fps(
    engine: Engine,
    *,
    height: int = _HEIGHT,
    width: int = _WIDTH,
    frames: int = FRAMES,
    turns: int = TURNS,
) -> float:
    """Return how many output frames of `height` x `width` an engine makes in a second, at best.

    As in a clip, one reference serves all of them; the first call, which compiles, is not counted.
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
    """Return LR frames, all the same, and their reference `frames` times (`height` x `width`)."""
    rng = np.random.default_rng(0)
    ref = cv2.GaussianBlur(rng.random((height, width, 3), dtype=np.float32), (0, 0), 1.0)
    ref = np.asarray(cv2.normalize(ref, ref, 0, 255, cv2.NORM_MINMAX)).astype(np.uint8)
    small = (width // SCALE, height // SCALE)
    one = cv2.resize(np.roll(ref, (2, 3), axis=(0, 1)), small, interpolation=cv2.INTER_AREA)
    return cast(Pixels, np.stack([one] * frames)), cast(Pixels, np.stack([ref] * frames))


def choose_engine(
    model: str,
    candidates: tuple[str, ...],
    load: Callable[[str], Engine],
    registry: Registry,
    *,
    threads: int | None,
    say: Callable[[str], None],
    anew: bool = False,
) -> Choice:
    """Return the fastest of `candidates` on this device; measured once and kept, unless `anew`.

    `load` returns an engine that has passed its self-test, or raises EngineError.
    """
    key = {
        "kind": "speed",
        "weights": weights_sha256(model),
        "candidates": list(candidates),
        "threads": threads or 0,
        **device_facts(),
    }

    def measure() -> tuple[bytes, Facts]:
        say(
            f"engine auto: trying {', '.join(candidates)} on this device, once; "
            "an engine named by --engine skips this"
        )
        speeds: dict[str, float] = {}
        failed: dict[str, str] = {}
        for name in candidates:
            try:
                engine = load(name)
                # what 64 does not divide is padded: the published networks are measured small
                heavy = engine.info.multiple > 32
                size = {"height": 128, "width": 192, "turns": 1} if heavy else {}
                speeds[name] = round(measure_fps(engine, **size), 3)
            except EngineError as error:
                failed[name] = str(error)
        return b"", {"fps": speeds, "failed": failed}

    facts = registry.get_or_make(key, "speed", measure, anew=anew).facts
    return pick_fastest(facts["fps"], facts["failed"])


def pick_fastest(speeds: Mapping[str, float], failed: Mapping[str, str]) -> Choice:
    """Return the fastest engine, PyTorch where it is as good as that; EngineError if none ran."""
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
