"""Compare the rates at which the CPU cuts training pairs and at which a device composes them.

    python -m jobs.bench.pairs --data DATA [--size 256] [--batch 16] [--seconds 20]

Both use the same photographs. A pair that the CPU cuts from a photograph has one reference, and
does not have an LR picture yet. A pair that the device (the GPU, if there is one) composes has one
or two references, an LR picture, a kernel and possibly faults. The figures go to
`jobs/results/training_pairs.json`, under the name of the device.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch

from crossnetpp.data.photographs import Photographs
from crossnetpp.data.sample import DataError
from crossnetpp.data.synthetic.generator import GeneratorSettings, PairGenerator
from jobs.machine import RESULTS, describe_machine, write_result

NAME = "training_pairs"


def count_per_second(draw: Callable[[int], int], seconds: float) -> float:
    """Call `draw` for `seconds` seconds, and return how many samples per second it makes.

    `draw` receives the number of the call and returns how many samples it made. The first call
    (number 0) is a warm-up that is not timed.
    """
    draw(0)
    _wait_for_device()
    start = time.perf_counter()
    made = 0
    calls = 0
    while time.perf_counter() - start < seconds:
        calls += 1
        made += draw(calls)
    _wait_for_device()
    return made / (time.perf_counter() - start)


def _wait_for_device() -> None:
    if torch.cuda.is_available():
        torch.cuda.synchronize()


def main() -> int:
    """Measure both rates, and add them to the result file; return 2 if the data is unusable."""
    parser = argparse.ArgumentParser(
        prog="python -m jobs.bench.pairs",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--data", type=Path, required=True, help="folder of the training data")
    parser.add_argument("--size", type=int, default=256, help="side of a pair in pixels")
    parser.add_argument("--batch", type=int, default=16, help="composed pairs per call")
    parser.add_argument("--seconds", type=float, default=20.0, help="length of each measurement")
    options = parser.parse_args()

    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    paths = sorted((options.data / "photos").glob("kodak_*.jpg"))
    try:
        photographs = Photographs(paths)
        generator = PairGenerator.from_files(paths, GeneratorSettings(), device)
    except DataError as error:
        sys.stderr.write(f"{error}\n")
        return 2

    def draw_photographs(number: int) -> int:
        photographs.draw(np.random.default_rng(number), options.size, 1.0)
        return 1

    def compose(number: int) -> int:
        generator.draw((number,), options.batch, options.size)
        return int(options.batch)

    drawn = count_per_second(draw_photographs, options.seconds)
    composed = count_per_second(compose, options.seconds)
    name = torch.cuda.get_device_name() if device.type == "cuda" else "cpu"
    path = RESULTS / f"{NAME}.json"
    earlier = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    write_result(
        NAME,
        {
            "devices": earlier.get("devices", {})
            | {
                name: {
                    "machine": describe_machine(),
                    "size": options.size,
                    "batch": options.batch,
                    "threads": torch.get_num_threads(),
                    "photographs_per_second_on_one_core": round(drawn, 2),
                    "composed_per_second": round(composed, 2),
                    "ratio": round(composed / drawn, 3),
                }
            }
        },
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
