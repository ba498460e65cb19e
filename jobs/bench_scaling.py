"""How the rate grows with the number of actors, with an engine that sleeps instead of computing.

    python -m jobs.bench_scaling

Sleeping leaves the cores to the pipeline itself, so that two of them can show what eight GPUs
would. The rate leaves out the start of actors: it counts from the first commit to the last.
"""

from __future__ import annotations

import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import cv2
import imageio.v3 as imageio
import numpy as np
import ray

from deploy.engines.bicubic_engine import BicubicEngine
from deploy.protocol import Engine, Pixels
from jobs.machine import write_result
from pipeline import ray_runner
from pipeline.interrupt import Interrupts
from pipeline.job import prepare
from pipeline.ledger import Ledger
from pipeline.progress import Silent
from pipeline.ray_actor import SegmentActor, Setup
from pipeline.ray_cluster import cluster
from pipeline.ray_runner import Demand, run_on_ray
from pipeline.schema import Plan, SegmentRecord
from pipeline.settings import RunSettings
from pipeline.stages import header

SECONDS = 0.5
"""For one frame."""
FRAMES = 320
WORKERS = (1, 2, 8)


class Sleeping(BicubicEngine):
    """Take as long as a network for every frame, and no core."""

    def enhance(self, lr: Pixels, ref: Pixels) -> Pixels:
        """Return what bicubic returns, later."""
        time.sleep(SECONDS * len(lr))
        return super().enhance(lr, ref)


class SleepingActor(SegmentActor):
    """An actor whose engine sleeps."""

    def _engine(self, setup: Setup) -> Engine:
        from dataclasses import replace

        if not self._engines:
            engine = Sleeping(threads=1)
            engine.info = replace(engine.info, borrows=True)
            self._engines["", "", None] = engine
        return self._engines["", "", None]


class Timed(Ledger):
    """A ledger that knows when each segment was committed."""

    def __init__(self, plan: Plan) -> None:
        super().__init__(plan)
        self.times: list[tuple[float, int]] = []

    def add(self, record: SegmentRecord) -> None:
        """Note the segment and the moment."""
        super().add(record)
        self.times.append((time.monotonic(), record.frames))


def write_pair(folder: Path) -> tuple[Path, Path]:
    """Write a clip of noise that moves, and the same at a quarter of its size."""
    ground = np.random.default_rng(1).integers(0, 255, (24, 64, 3), np.uint8)
    ground = cv2.resize(ground, (512, 192), interpolation=cv2.INTER_CUBIC).astype(np.uint8)
    sharp = [np.ascontiguousarray(np.roll(ground, i, axis=1)[:, :256]) for i in range(FRAMES)]
    small = [cv2.resize(f, (64, 48), interpolation=cv2.INTER_AREA) for f in sharp]
    for name, frames in (("lr", small), ("hr", sharp)):
        imageio.imwrite(folder / f"{name}.mp4", np.stack(frames), plugin="pyav", codec="libx264",
                        fps=25)  # fmt: skip
    return folder / "lr.mp4", folder / "hr.mp4"


def rate(settings: RunSettings, workers: int) -> dict[str, Any]:
    """Return frames per second with so many actors."""
    plan = prepare(settings, Silent())
    with Timed(plan) as ledger:
        setup = Setup(header(plan), ledger.folder, plan.engine, plan.model, 1)
        run_on_ray(ledger, setup, Silent(), Demand(workers=workers))
        times = sorted(ledger.times)
        ledger.remove()
    # every actor commits its first segment at nearly one moment: count what comes after those
    late = times[workers:]
    seconds = late[-1][0] - times[workers - 1][0]
    return {"workers": workers, "fps": round(sum(frames for _, frames in late) / seconds, 3)}


def main() -> None:
    """Measure and write jobs/results/scaling.json."""
    ray_runner.SegmentActor = SleepingActor  # type: ignore[misc]
    ray.cloudpickle.register_pickle_by_value(sys.modules[__name__])
    results = []
    with tempfile.TemporaryDirectory() as name, cluster(None, Interrupts(), workers=max(WORKERS)):
        lr, hr = write_pair(Path(name))
        settings = RunSettings(
            input=str(lr),
            ref_stream=str(hr),
            output=str(Path(name) / "out.mp4"),
            engine="bicubic",
            segment=0.2,
            batch=1,
            preset="ultrafast",
        )
        for workers in WORKERS:
            results.append(rate(settings, workers))
            print(results[-1], flush=True)  # noqa: T201
    one = results[0]["fps"]
    times = {str(r["workers"]): round(r["fps"] / one, 2) for r in results}
    print(times)  # noqa: T201
    write_result("scaling", {"seconds_per_frame": SECONDS, "results": results, "times_one": times})


if __name__ == "__main__":
    main()
