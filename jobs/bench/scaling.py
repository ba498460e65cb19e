"""How the rate grows with the number of actors, with an engine that sleeps instead of computing.

    python -m jobs.bench.scaling

Sleeping leaves the cores to the pipeline itself, so that two of them can show what eight GPUs
would. Every actor gets the same number of equal segments. The clock starts when all actors have
loaded their engine and ends with the last commit: filling and emptying the pipeline count.
"""

from __future__ import annotations

import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import imageio.v3 as imageio
import numpy as np
import ray

from deploy.engines.bicubic_engine import BicubicEngine
from deploy.protocol import Engine, Pixels
from jobs.machine import write_result
from pipeline.errors import PipelineError
from pipeline.execution.cluster import pool as ray_runner
from pipeline.execution.cluster.actor import SegmentActor, Setup
from pipeline.execution.cluster.connection import cluster
from pipeline.execution.cluster.demand import Demand
from pipeline.execution.cluster.pool import RayPool
from pipeline.execution.stages import SegmentTask, header
from pipeline.interrupt import Interrupts
from pipeline.ledger.ledger import Ledger, RunFolder
from pipeline.progress import Silent
from pipeline.runs.run import prepare
from pipeline.schema.plan import SegmentRecord
from pipeline.schema.settings import RunSettings

SECONDS = 0.5
"""For one frame."""
SEGMENT = 12
"""Frames of a segment: FFV1 has a key frame every 12."""
EACH = 8
"""Segments for every actor."""
WORKERS = (1, 2, 8)


class Sleeping(BicubicEngine):
    """Take as long as a network for every frame, and no core."""

    def enhance(self, lr: Pixels, ref: Pixels) -> Pixels:
        """Return what bicubic returns, later."""
        time.sleep(SECONDS * len(lr))
        return super().enhance(lr, ref)


class SleepingActor(SegmentActor):
    """An actor whose engine sleeps, and which begins when all others are ready too."""

    @ray.method(concurrency_group="work")
    def run(self, job: str, setup: Setup, task: SegmentTask) -> SegmentRecord | PipelineError:
        """Do a segment as soon as the start is given."""
        while not _start(setup.folder).exists():
            time.sleep(0.01)
        return super().run(job, setup, task)

    def _engine(self, setup: Setup) -> Engine:
        if not self._engines:
            engine = Sleeping(threads=1)
            engine.info = replace(engine.info, borrows=True)
            self._engines["", "", None] = engine
        return self._engines["", "", None]


def _start(folder: RunFolder) -> Path:
    return folder.path.parent / "start"


def write_pair(folder: Path, frames: int) -> tuple[Path, Path]:
    """Write a clip of noise that moves, and the same at a quarter of its size."""
    ground = np.random.default_rng(1).integers(0, 255, (24, 64, 3), np.uint8)
    ground = cv2.resize(ground, (512, 192), interpolation=cv2.INTER_CUBIC).astype(np.uint8)
    sharp = [np.ascontiguousarray(np.roll(ground, i, axis=1)[:, :256]) for i in range(frames)]
    small = [cv2.resize(f, (64, 48), interpolation=cv2.INTER_AREA) for f in sharp]
    for name, pictures in (("lr", small), ("hr", sharp)):
        imageio.imwrite(folder / f"{name}.mkv", np.stack(pictures), plugin="pyav", codec="ffv1",
                        fps=25)  # fmt: skip
    return folder / "lr.mkv", folder / "hr.mkv"


def settings(folder: Path, workers: int) -> RunSettings:
    """Return a run of `EACH` segments for every actor."""
    lr, hr = write_pair(folder, workers * EACH * SEGMENT)
    return RunSettings(
        input=str(lr),
        ref_stream=str(hr),
        output=str(folder / "out.mkv"),
        engine="bicubic",
        segment=SEGMENT / 25,
        batch=1,
        preset="ultrafast",
    )


def rate(folder: Path, workers: int) -> dict[str, Any]:
    """Return frames per second with so many actors; the cluster must be connected."""
    plan = prepare(settings(folder, workers), Silent())
    assert [s.frames for s in plan.segments] == [SEGMENT] * (workers * EACH)
    pool = RayPool(Demand(workers=workers), Silent())
    with Ledger(plan) as ledger:
        try:
            pool.add("", ledger, Setup(header(plan), ledger.folder, "bicubic", plan.model, 1))
            while sum(slot.ready for slot in pool.slots()) < workers:
                pool.step()
            _start(ledger.folder).touch()
            start, driver = time.monotonic(), time.process_time()
            while not (ended := pool.step()):
                pass
            seconds, driver = time.monotonic() - start, time.process_time() - driver
        finally:
            pool.stop()
        assert ended == [("", None)], ended
        ledger.remove()
    return {
        "workers": workers,
        "frames": len(plan.reference_map),
        "seconds": round(seconds, 2),
        "fps": round(len(plan.reference_map) / seconds, 3),
        "driver_cpu": round(driver / seconds, 3),
    }


def main() -> None:
    """Measure and write jobs/results/scaling.json."""
    ray_runner.SegmentActor = SleepingActor  # type: ignore[misc]
    ray.cloudpickle.register_pickle_by_value(sys.modules[__name__])
    results = []
    with cluster(None, Interrupts(), workers=max(WORKERS)):
        for workers in WORKERS:
            with tempfile.TemporaryDirectory() as name:
                results.append(rate(Path(name), workers))
    times = {str(r["workers"]): round(r["fps"] / results[0]["fps"], 2) for r in results}
    print(results, times)  # noqa: T201 - not inside: there stdout is for the result alone
    write_result("scaling", {"seconds_per_frame": SECONDS, "results": results, "times_one": times})


if __name__ == "__main__":
    main()
