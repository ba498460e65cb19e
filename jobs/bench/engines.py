"""Compare the speed of the engines on this machine's CPU.

    python -m jobs.bench.engines [--turns N]

The engines are timed in turn, so that load on a shared host slows them all alike, and each engine's
median is reported. The four frames of each call share one reference, as in a clip.
"""

from __future__ import annotations

import argparse
import statistics
import sys
from typing import Any

from deploy.choice import measure_fps
from deploy.load import load_engine, load_tested_engine
from deploy.protocol import Engine, EngineError
from deploy.registry import Registry
from jobs.machine import write_result

NAMES = ("torch", "bf16", "int8", "onnx", "openvino")


def compare_engines(
    engines: dict[str, Engine], height: int, width: int, turns: int
) -> dict[str, Any]:
    """Return each engine's frames per second at one output size, and the ratios to `torch`."""
    rates: dict[str, list[float]] = {name: [] for name in engines}
    for _ in range(turns):
        for name, engine in engines.items():
            options = {"height": height, "width": width, "frames": 4, "turns": 1}
            rates[name].append(measure_fps(engine, **options))

    median = {name: statistics.median(values) for name, values in rates.items()}
    return {
        "frames_per_second": {name: round(value, 2) for name, value in median.items()},
        "best_turn": {name: round(max(values), 2) for name, values in rates.items()},
        "of_torch": {name: round(value / median["torch"], 2) for name, value in median.items()},
    }


def load_engines(registry: Registry) -> dict[str, Engine]:
    """Return the engines that work on this machine; print to stderr why the others do not."""
    engines: dict[str, Engine] = {}
    for name in NAMES:
        try:
            engines[name] = load_tested_engine(name, "fast", None, registry)
        except EngineError as error:
            sys.stderr.write(f"{name}: {error}\n")
    return engines


def main() -> None:
    """Run the benchmark, print the result and write jobs/results/bench_engines.json."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--turns", type=int, default=7, help="calls of each engine (default 7)")
    turns = parser.parse_args().turns

    registry = Registry()
    engines = load_engines(registry)
    small = compare_engines(engines, 320, 512, turns)
    chosen = load_engine("auto", registry=registry)

    result = {
        "320x512": small,
        "480x720": compare_engines(engines, 480, 720, max(3, turns // 2)),
        "auto": {"engine": chosen.info.name, "reason": chosen.info.reason},
        "psnr_against_torch": {
            entry["key"]["engine"]: entry["facts"]["psnr"]
            for entry in registry.entries()
            if entry["key"].get("kind") == "selftest" and entry["state"] == "ok"
        },
    }
    result["bytes_per_pixel"] = {name: e.info.bytes_per_pixel for name, e in engines.items()}
    path = write_result("bench_engines", result)
    sys.stdout.write(f"{result}\n{path}\n")


if __name__ == "__main__":
    main()
