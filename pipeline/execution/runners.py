"""Run the segments that are not committed yet: the choice of runner, and the one without Ray."""

from __future__ import annotations

import os
from collections.abc import Mapping
from concurrent.futures import FIRST_COMPLETED, wait
from pathlib import Path
from typing import Literal

from deploy.protocol import Engine
from pipeline.execution.task import plan_header, tasks_for
from pipeline.execution.worker import SegmentWorker
from pipeline.ledger.ledger import Ledger
from pipeline.progress import Reporter

POLL = 0.25
"""Seconds between looks at the progress."""


def gpu_count(environment: Mapping[str, str] = os.environ) -> int:
    """Return how many NVIDIA GPUs this process may use, without importing torch."""
    visible = environment.get("CUDA_VISIBLE_DEVICES")
    if visible is not None:
        return len([name for name in visible.split(",") if name.strip() not in ("", "-1")])
    folder = Path("/proc/driver/nvidia/gpus")
    return len(list(folder.iterdir())) if folder.is_dir() else 0


def choose_runner(asked: str, address: str | None) -> tuple[Literal["inline", "ray"], str]:
    """Return the runner for `asked` (auto, inline, ray) and why it was taken."""
    if asked in ("inline", "ray"):
        return ("inline" if asked == "inline" else "ray"), "asked for"
    if address or os.environ.get("RAY_ADDRESS"):
        return "ray", "a Ray address is known"
    if (count := gpu_count()) > 1:
        return "ray", f"{count} GPUs"
    return "inline", "one device"


def frames_committed(ledger: Ledger) -> int:
    """Return how many frames lie in committed segments."""
    return sum(record.frames for record in ledger.records.values())


def run_inline(ledger: Ledger, engine: Engine, progress: Reporter) -> dict[str, float]:
    """Run the missing segments in this process; returns busy seconds by stage."""
    plan = ledger.plan
    before = frames_committed(ledger)
    with SegmentWorker(plan_header(plan), ledger.folder, engine) as worker:
        segments = {
            worker.submit(task): task.segment.index
            for task in tasks_for(plan, ledger.pending_segments())
        }
        pending = set(segments)
        while pending:
            done, pending = wait(pending, timeout=POLL, return_when=FIRST_COMPLETED)
            failures = []
            for future in sorted(done, key=lambda future: segments[future]):
                error = future.exception()
                if error is None:
                    ledger.add_record(future.result())
                else:
                    failures.append(error)
            if failures:
                raise failures[0]
            progress.update(before + worker.frames_done, worker.clock.seconds())
        return worker.clock.seconds()
