"""The choice behind `--engine auto`: measure the engines that run here, and pick one.

The chosen engine is the one that would finish the run first, loading included. An engine that takes
long to load, because it compiles for each frame size, pays off only for many frames. The registry
stores speeds and load times for a month. Measurements from a busy machine are repeated once the
machine is idle: after an hour at first, and then at ever longer intervals, because the speeds of
some machines are never steady.
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

MEASUREMENT_VERSION = 3  # increase when a change to an engine makes stored speeds wrong
SPEED_MARGIN = 1.05  # factor by which an engine must beat PyTorch; a smaller lead may be chance
FRAMES = 2  # frames per measured call
SCALE = 4
TURNS = 3  # number of measured calls, of which the fastest counts
_HEIGHT = 320
_WIDTH = 512
_SMALL = (128, 192)  # height and width for the published networks, which are slow

# Number of output pixels below which measuring would take longer than the best engine could save:
# 100 frames of 512x320, or one picture of 16 megapixels.
LEAST_PIXELS = 100 * _HEIGHT * _WIDTH

MOST_SPREAD = 0.3  # slowest / fastest turn - 1; above this, the machine counts as busy
MOST_AGE = 30 * 24 * 3600  # seconds after which measurements expire
MOST_AGE_IF_BUSY = 3600  # the same for measurements from a busy machine, once it is idle
AGE_FACTOR = 4  # by which MOST_AGE_IF_BUSY grows with each consecutive disturbed record


class Choice(NamedTuple):
    """The chosen engine, and the reason for the choice."""

    name: str
    why: str
    """One line that states the measurements behind the choice, or why nothing was measured."""


def measure_fps(
    engine: Engine,
    *,
    height: int = _HEIGHT,
    width: int = _WIDTH,
    frames: int = FRAMES,
    turns: int = TURNS,
) -> float:
    """Return an engine's best speed in `turns` calls, in `height` x `width` frames per second.

    All frames share one reference, as in a clip. A first call, during which the engine may compile,
    is not timed.
    """
    lr, refs = make_sample_frames(height, width, frames)
    engine.enhance(lr, refs)
    return frames / min(_time_turns(engine, lr, refs, turns))


class Measurement(NamedTuple):
    """An engine's measured speed and load time, which determine how soon it finishes a run."""

    pixels_per_second: float
    """Output pixels per second, once the engine is loaded."""
    fps: float
    """The same speed in frames per second, at the measured frame size."""
    load_seconds: float
    """Time to load the engine and get the first result, minus the time of a later call."""
    spread: float
    """Slowest turn / fastest turn - 1."""


def measure_engine(load: Callable[[], Engine]) -> Measurement:
    """Measure the speed and the load time of the engine that `load` returns.

    The engine is loaded twice, because the first time may include the self-test.
    """
    load()
    start = time.perf_counter()
    engine = load()
    # only the published networks, which are slow, pad to multiples of 64
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
    """Return the duration in seconds of each of `turns` calls."""
    seconds = []
    for _ in range(turns):
        start = time.perf_counter()
        engine.enhance(lr, refs)
        seconds.append(time.perf_counter() - start)
    return seconds


def is_machine_busy() -> bool:
    """Return whether the load average of the last minute exceeds the number of cores."""
    return bool(psutil.getloadavg()[0] > (os.cpu_count() or 1))


def make_sample_frames(height: int, width: int, frames: int) -> tuple[Pixels, Pixels]:
    """Return `frames` copies of a synthetic LR frame, and as many copies of its reference.

    Both are uint8 N x H x W x 3. The reference is `height` x `width`, SCALE times the LR size.
    """
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
    """Return the engine in `candidates` that would be the first to finish `pixels` output pixels.

    If `pixels` is None, return the fastest engine. The registry stores the measurements, which are
    repeated only if they have expired or `remeasure` is True. If there are no current measurements
    and `pixels` is too small to justify new ones, the choice is PyTorch if it is a candidate.

    `load` returns an engine that has passed its self-test, or raises EngineError. `notify` receives
    a line of text before the measurements start. `now` returns seconds since 1970.

    Raises EngineError if none of the engines runs, and RegistryError if the measurements cannot be
    stored.
    """
    key = make_key(model, candidates, threads)
    was_busy = is_busy()

    def is_usable(facts: JsonObject) -> bool:
        return is_current(facts, now(), busy_now=was_busy)

    def measure() -> tuple[bytes, JsonObject]:
        notify(
            f"engine auto: measuring {', '.join(candidates)} on this device and storing the "
            "result; to skip this, select an engine with --engine"
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
    """Return the stored measurements of `candidates` on this device, or None if there are none."""
    stored = registry.get(make_key(model, candidates, threads))
    return stored.facts if stored is not None else None


def make_key(model: str, candidates: tuple[str, ...], threads: int | None) -> JsonObject:
    """Return the registry key of the measurements, with everything that affects them."""
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
    """Return measurements as a record for the registry.

    `failed` maps each engine that does not work to the reason. `measured_at` is in seconds since
    1970, and `busy` states whether the machine was busy then. `disturbed_before` is the number of
    consecutive disturbed records before this one.
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

    A record from a busy machine expires early, unless the machine is busy now as well (`busy_now`).
    Records that lack load times, because an earlier version wrote them, may not be used.
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
    """Return how many records in a row, ending with this one, were disturbed by other programs."""
    return int(facts.get("disturbed", 1 if facts.get("busy") else 0))


def pick_first_to_end(facts: JsonObject, pixels: int) -> Choice:
    """Return the engine in a record that would finish `pixels` output pixels first.

    The time includes loading. If PyTorch would finish at about the same time, return PyTorch.
    Raises EngineError if no engine ran.
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
    ends = "finishes first" if name == first else "finishes about as early"
    return Choice(name, f"{fastest.why}; {loads}, so {name} {ends}")


def pick_fastest(speeds: Mapping[str, float], failed: Mapping[str, str]) -> Choice:
    """Return the engine with the highest speed, or PyTorch if it is about as fast.

    `speeds` are in frames per second. Raises EngineError, with the reasons in `failed`, if no
    engine ran.
    """
    if not speeds:
        raise EngineError(
            "no engine works on this machine: "
            + "; ".join(f"{name}: {why}" for name, why in failed.items())
        )

    name = max(speeds, key=lambda each: speeds[each])
    if name != "torch" and speeds[name] < SPEED_MARGIN * speeds.get("torch", 0.0):
        name = "torch"

    ranked = sorted(speeds.items(), key=lambda item: -item[1])
    measured = ", ".join(f"{each} {fps:.3g}" for each, fps in ranked)
    why = f"auto: frames per second measured here: {measured}"
    if failed:
        why += f"; not usable: {', '.join(failed)}"
    return Choice(name, why)
