"""Compare the speed of the engines on this machine's CPU.

    python -m jobs.bench.engines [--turns N]

The engines are timed alternately, so that load on a shared host slows them all alike, and each
engine's median is reported. The four frames of each call share one reference, as in a clip.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from typing import Any

from deploy.choice import measure_fps
from deploy.load import load_engine, load_tested_engine
from deploy.protocol import Engine, EngineError
from deploy.registry import Registry
from jobs.machine import write_result

NAMES = ("torch", "bf16", "int8", "onnx", "openvino")
GFLOP = 15.7  # billions of operations per 512x320 frame of `fast`, checked by a test


def measure_matrix_rate() -> float:
    """Return the GFLOP/s of a 2048 x 2048 float32 matrix product on all cores, the best of five."""
    import torch

    left = torch.rand(2048, 2048)
    right = torch.rand(2048, 2048)
    best = 0.0
    for _ in range(5):
        start = time.perf_counter()
        torch.mm(left, right)
        best = max(best, 2 * 2048**3 / (time.perf_counter() - start) / 1e9)
    return round(best, 1)


def compare_engines(
    engines: dict[str, Engine], height: int, width: int, turns: int
) -> dict[str, Any]:
    """Return each engine's frames per second at one output size, and the ratio to torch."""
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
    rate = measure_matrix_rate()
    small = compare_engines(engines, 320, 512, turns)
    chosen = load_engine("auto", registry=registry)
    fps = small["frames_per_second"]

    result = {
        "matrix_gflops": rate,
        "320x512": small,
        "480x720": compare_engines(engines, 480, 720, max(3, turns // 2)),
        "share_of_matrix_rate": {k: round(v * GFLOP / rate, 2) for k, v in fps.items()},
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
