"""The choice behind `--engine auto`: measure the engines that run here, and pick one.

The chosen engine is the one that finishes a run first, loading included. An engine that takes long
to load, because it compiles for each size of frames, pays only for many frames. The registry keeps
speeds and load times for a month. Figures from a busy machine are measured again when it is idle,
at first after an hour, and then ever more rarely, because some machines are never quiet.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping
from functools import partial
from typing import NamedTuple, cast

import cv2
import numpy as np
import psutil

from deploy.export.stored import describe_network
from deploy.machine import device_facts
from deploy.protocol import Engine, EngineError, Pixels
from deploy.registry import JsonObject, Registry

MEASUREMENT_VERSION = 2  # rises with every change to engines that makes stored speeds wrong
SPEED_MARGIN = 1.05  # factor by which an engine must beat PyTorch; a smaller one may be chance
FRAMES = 2  # frames per measured call
SCALE = 4
TURNS = 3  # measured calls; the best one counts
_HEIGHT = 320
_WIDTH = 512
_SMALL = (128, 192)  # height and width for the published networks, which are slow

# For fewer output pixels, measuring takes longer than the best engine can save: 100 frames of
# 512x320, or a picture of 16 megapixels
LEAST_PIXELS = 100 * _HEIGHT * _WIDTH

MOST_SPREAD = 0.3  # slowest turn over fastest, minus 1; more means that the machine was busy
MOST_AGE = 30 * 24 * 3600  # seconds for which measurements are used
MOST_AGE_IF_BUSY = 3600  # the same for measurements on a busy machine, once it is idle
AGE_FACTOR = 4  # by which that time grows with every further disturbed record in a row


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
    return frames / min(_time_turns(engine, lr, refs, turns))


class Measurement(NamedTuple):
    """The figures that determine when an engine would finish a run."""

    pixels_per_second: float
    """Output pixels per second, once the engine is loaded."""
    fps: float
    """The same speed in frames of the measured size per second."""
    load_seconds: float
    """Time to load the engine and get the first result, minus the time of an ordinary call."""
    spread: float
    """Slowest turn over fastest turn, minus 1."""


def measure_engine(load: Callable[[], Engine]) -> Measurement:
    """Return the speed and the load time of the engine that `load` returns.

    The engine is loaded twice, because the first time may include its self-test.
    """
    load()
    start = time.perf_counter()
    engine = load()
    # the published networks pad to multiples of 64 and are slow, so measure a small size
    is_slow = engine.info.multiple > 32
    height, width = _SMALL if is_slow else (_HEIGHT, _WIDTH)
    lr, refs = make_sample_frames(height, width, FRAMES)
    engine.enhance(lr, refs)
    first = time.perf_counter() - start

    seconds = _time_turns(engine, lr, refs, 1 if is_slow else TURNS)
    best = min(seconds)
    return Measurement(
        pixels_per_second=FRAMES * height * width / best,
        fps=FRAMES / best,
        load_seconds=max(0.0, first - best),
        spread=max(seconds) / best - 1,
    )


def _time_turns(engine: Engine, lr: Pixels, refs: Pixels, turns: int) -> list[float]:
    """Return the seconds that each of `turns` calls takes."""
    seconds = []
    for _ in range(turns):
        start = time.perf_counter()
        engine.enhance(lr, refs)
        seconds.append(time.perf_counter() - start)
    return seconds


def is_machine_busy() -> bool:
    """Return whether, over the last minute, more processes wanted to run than there are cores."""
    return bool(psutil.getloadavg()[0] > (os.cpu_count() or 1))


def make_sample_frames(height: int, width: int, frames: int) -> tuple[Pixels, Pixels]:
    """Return an LR frame and its reference (`height` x `width`), each repeated `frames` times."""
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
    pixels: int | None = None,
    remeasure: bool = False,
    now: Callable[[], float] = time.time,
    is_busy: Callable[[], bool] = is_machine_busy,
) -> Choice:
    """Return the engine in `candidates` that would finish `pixels` output pixels first here.

    If `pixels` is None, return the fastest. The registry keeps the measurements, so they are
    repeated only if they are no longer current or `remeasure` is True. If there are no current ones
    and the work is too small to be worth measuring, the choice is PyTorch, if it is a candidate.

    `load` returns an engine that has passed its self-test, or raises EngineError; `notify` receives
    a line before the measurements start; `now` returns seconds since 1970.

    Raises EngineError if none of the engines runs, and RegistryError if the measurements cannot be
    stored.
    """
    key = make_key(model, candidates, threads)
    was_busy = is_busy()

    def is_usable(facts: JsonObject) -> bool:
        return is_current(facts, now(), busy_now=was_busy)

    def measure() -> tuple[bytes, JsonObject]:
        notify(
            f"engine auto: measuring {', '.join(candidates)} on this device; the result is stored; "
            "select an engine with --engine to skip this"
        )
        found: dict[str, Measurement] = {}
        failed: dict[str, str] = {}
        for name in candidates:
            try:
                found[name] = measure_engine(partial(load, name))
            except EngineError as error:
                failed[name] = str(error)
        times = count_disturbed(stored.facts) if stored is not None else 0
        return b"", make_record(
            found, failed, measured_at=now(), busy=was_busy, disturbed_before=times
        )

    stored = registry.get(key)
    is_known = stored is not None and is_usable(stored.facts)
    is_small = pixels is not None and pixels < LEAST_PIXELS
    if is_small and not is_known and not remeasure and "torch" in candidates:
        return Choice("torch", "auto: too few pixels to be worth measuring the engines")

    facts = registry.get_or_make(key, "speed", measure, force=remeasure, is_usable=is_usable).facts
    if pixels is None:
        return pick_fastest(facts["fps"], facts["failed"])
    return pick_first_to_end(facts, pixels)


def find_record(
    model: str, candidates: tuple[str, ...], registry: Registry, *, threads: int | None
) -> JsonObject | None:
    """Return the stored measurements of `candidates` on this device, or None."""
    stored = registry.get(make_key(model, candidates, threads))
    return stored.facts if stored is not None else None


def make_key(model: str, candidates: tuple[str, ...], threads: int | None) -> JsonObject:
    """Return everything that measurements depend on."""
    return {
        "kind": "speed",
        "version": MEASUREMENT_VERSION,
        "network": describe_network(model),
        "candidates": list(candidates),
        "threads": threads or 0,
        **device_facts(),
    }


def make_record(
    found: Mapping[str, Measurement],
    failed: Mapping[str, str],
    *,
    measured_at: float,
    busy: bool,
    disturbed_before: int = 0,
) -> JsonObject:
    """Return the record of measurements that the registry stores.

    `measured_at` is in seconds since 1970, `busy` is whether the machine was busy at that time, and
    `disturbed_before` is the number of disturbed records in a row before this one.
    """
    disturbed = busy or any(each.spread > MOST_SPREAD for each in found.values())
    return {
        "fps": {name: round(each.fps, 3) for name, each in found.items()},
        "pixels_per_second": {name: round(each.pixels_per_second) for name, each in found.items()},
        "load_seconds": {name: round(each.load_seconds, 3) for name, each in found.items()},
        "failed": dict(failed),
        "busy": disturbed,
        "disturbed": disturbed_before + 1 if disturbed else 0,
        "measured_at": int(measured_at),
    }


def is_current(facts: JsonObject, now: float, *, busy_now: bool) -> bool:
    """Return whether a record may still be used; `now` is in seconds since 1970.

    Records by earlier versions, which have no load times, may not.
    """
    if "load_seconds" not in facts:
        return False
    age = now - facts["measured_at"]
    if not 0 <= age <= MOST_AGE:
        return False
    if not facts["busy"] or busy_now:
        return True
    return bool(age <= MOST_AGE_IF_BUSY * AGE_FACTOR ** max(0, count_disturbed(facts) - 1))


def count_disturbed(facts: JsonObject) -> int:
    """Return how many records in a row, up to this one, were disturbed by other programs."""
    return int(facts.get("disturbed", 1 if facts.get("busy") else 0))


def pick_first_to_end(facts: JsonObject, pixels: int) -> Choice:
    """Return the engine in a record that finishes `pixels` output pixels first, loading included.

    Return PyTorch if it finishes about as early. Raises EngineError if no engine ran.
    """
    fastest = pick_fastest(facts["fps"], facts["failed"])
    seconds = {
        name: facts["load_seconds"][name] + pixels / speed
        for name, speed in facts["pixels_per_second"].items()
    }
    first = min(seconds, key=lambda each: seconds[each])
    is_close = "torch" in seconds and seconds["torch"] < SPEED_MARGIN * seconds[first]
    name = "torch" if is_close else first

    if name == fastest.name:
        return fastest
    loads = f"{fastest.name} takes {facts['load_seconds'][fastest.name]:.3g} s to load"
    ends = "ends first" if name == first else "ends about as early"
    return Choice(name, f"{fastest.why}; {loads}, so {name} {ends}")


def pick_fastest(speeds: Mapping[str, float], failed: Mapping[str, str]) -> Choice:
    """Return the engine with the highest of `speeds`, or PyTorch if it is about as fast.

    Raises EngineError, with the reasons in `failed`, if no engine ran.
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
