"""Measure how the frame rate grows with the number of actors.

    python -m jobs.bench.scaling

The engine sleeps for as long as a network would compute. That leaves the cores to the pipeline
itself, so a two-core machine can show how eight GPUs would scale. The number of segments per actor
and the length of the segments are always the same. The clock starts when all actors have loaded
their engines, and stops when the last segment has been committed, so the measured time includes
filling and draining the pipeline.
"""

from __future__ import annotations

import argparse
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
from pipeline.execution.cluster.actor import SegmentActor, WorkerSetup, make_setup
from pipeline.execution.cluster.actor_request import ActorRequest
from pipeline.execution.cluster.connection import cluster
from pipeline.execution.cluster.pool import RayPool
from pipeline.execution.task import SegmentTask
from pipeline.interrupt import Interrupts
from pipeline.ledger.ledger import Ledger
from pipeline.ledger.run_folder import RunFolder
from pipeline.progress import SilentReporter
from pipeline.runs.conductor import prepare_plan
from pipeline.schema.plan import Plan, SegmentRecord
from pipeline.schema.settings import RunSettings

SECONDS_PER_FRAME = 0.5
FRAMES_PER_SEGMENT = 12  # the FFV1 encoder writes a key frame every 12 frames
SEGMENTS_PER_ACTOR = 8
WORKERS = (1, 2, 8)


class SleepingEngine(BicubicEngine):
    """A bicubic engine that sleeps for as long as a network would compute."""

    def enhance(self, lr: Pixels, *refs: Pixels, **options: Any) -> Pixels:
        """Sleep, then return the bicubic result."""
        time.sleep(SECONDS_PER_FRAME * len(lr))
        return super().enhance(lr, *refs, **options)


class SleepingActor(SegmentActor):
    """An actor with a sleeping engine; it starts no segment until all actors are ready."""

    @ray.method(concurrency_group="work")
    def run(self, job: str, setup: WorkerSetup, task: SegmentTask) -> SegmentRecord | PipelineError:
        """Wait for the start signal, then run a segment."""
        while not _start_signal(setup.folder).exists():
            time.sleep(0.01)
        return super().run(job, setup, task)

    def load_engine(self, plan: Plan, pixels: int) -> Engine:
        """Return a sleeping engine instead of the plan's engine."""
        engine = SleepingEngine(threads=1)
        engine.info = replace(engine.info, borrows=True)
        return engine


def _start_signal(folder: RunFolder) -> Path:
    return folder.path.parent / "start"


def write_pair(folder: Path, frames: int) -> tuple[Path, Path]:
    """Write a pan across noise to lr.mkv (64x48) and hr.mkv (256x192), and return the paths."""
    ground = np.random.default_rng(1).integers(0, 255, (24, 64, 3), np.uint8)
    ground = cv2.resize(ground, (512, 192), interpolation=cv2.INTER_CUBIC).astype(np.uint8)
    sharp = [np.ascontiguousarray(np.roll(ground, i, axis=1)[:, :256]) for i in range(frames)]
    small = [cv2.resize(f, (64, 48), interpolation=cv2.INTER_AREA) for f in sharp]

    for name, pictures in (("lr", small), ("hr", sharp)):
        imageio.imwrite(folder / f"{name}.mkv", np.stack(pictures), plugin="pyav", codec="ffv1",
                        fps=25)  # fmt: skip
    return folder / "lr.mkv", folder / "hr.mkv"


def make_settings(folder: Path, workers: int) -> RunSettings:
    """Write clips with SEGMENTS_PER_ACTOR segments per actor, and return the run's settings."""
    lr, hr = write_pair(folder, workers * SEGMENTS_PER_ACTOR * FRAMES_PER_SEGMENT)
    return RunSettings(
        input=str(lr),
        ref_stream=str(hr),
        output=str(folder / "out.mkv"),
        engine="bicubic",
        segment=FRAMES_PER_SEGMENT / 25,
        batch=1,
        preset="ultrafast",
    )


def measure_rate(folder: Path, workers: int) -> dict[str, Any]:
    """Enhance a clip with `workers` actors, and return the frame rate and other figures.

    The clip and the output are written to `folder`.
    """
    plan = prepare_plan(make_settings(folder, workers), SilentReporter())
    sizes = [segment.frames for segment in plan.segments]
    assert sizes == [FRAMES_PER_SEGMENT] * (workers * SEGMENTS_PER_ACTOR)

    pool = RayPool(ActorRequest(workers=workers), SilentReporter(), actor=SleepingActor)
    with Ledger(plan) as ledger:
        try:
            pool.add("", ledger, make_setup(ledger))
            while sum(slot.ready for slot in pool.actors) < workers:
                pool.step()

            _start_signal(ledger.folder).touch()
            start = time.monotonic()
            driver_start = time.process_time()
            while not (ended := pool.step()):
                pass
            seconds = time.monotonic() - start
            driver_seconds = time.process_time() - driver_start
        finally:
            pool.stop()
        assert ended == [("", None)], ended
        ledger.remove_run_folder()

    return {
        "workers": workers,
        "frames": len(plan.reference_map),
        "seconds": round(seconds, 2),
        "fps": round(len(plan.reference_map) / seconds, 3),
        "driver_cpu": round(driver_seconds / seconds, 3),
    }


def main() -> None:
    """Run the benchmark, print the result and write jobs/results/scaling.json."""
    argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    ).parse_args()

    ray.cloudpickle.register_pickle_by_value(sys.modules[__name__])
    results = []
    with cluster(None, Interrupts(), workers=max(WORKERS)):
        for workers in WORKERS:
            with tempfile.TemporaryDirectory() as name:
                results.append(measure_rate(Path(name), workers))

    times = {str(r["workers"]): round(r["fps"] / results[0]["fps"], 2) for r in results}
    sys.stdout.write(f"{results} {times}\n")
    figures = {"seconds_per_frame": SECONDS_PER_FRAME, "results": results, "times_one": times}
    write_result("scaling", figures)


if __name__ == "__main__":
    main()
