"""Choose the runner (this process, or Ray), and run a plan's missing segments in this process."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, wait
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from crossnetpp.machine import is_linux, system_name
from deploy.protocol import Engine, EngineInfo
from pipeline.errors import InputError
from pipeline.execution.infer import Enhance, enhance_batch
from pipeline.execution.task import SegmentTask, plan_header, tasks_for
from pipeline.execution.worker import SegmentWorker
from pipeline.ledger.ledger import Ledger
from pipeline.progress import Reporter
from pipeline.schema.plan import SegmentRecord

PROGRESS_INTERVAL_SECONDS = 0.25
Runner = Literal["inline", "ray"]


@dataclass(frozen=True)
class ExecutionReport:
    """The runner and engine that ran an input's segments, and how long each stage was busy."""

    runner: Runner
    engine: EngineInfo
    busy: dict[str, float]
    """Busy seconds of each stage, summed over the workers; empty if no segment was left to run."""


def count_gpus(environment: Mapping[str, str] = os.environ) -> int:
    """Return the number of NVIDIA GPUs visible to this process, without importing torch."""
    visible = environment.get("CUDA_VISIBLE_DEVICES")
    if visible is not None:
        return len([name for name in visible.split(",") if name.strip() not in ("", "-1")])

    folder = Path("/proc/driver/nvidia/gpus")
    return len(list(folder.iterdir())) if folder.is_dir() else 0


def choose_runner(requested: str, address: str | None) -> tuple[Runner, str]:
    """Return the runner for `requested` (auto, inline or ray), and the reason for the choice.

    Raises InputError if Ray is requested, or the address of a cluster is set, but the system is not
    Linux.
    """
    if requested == "inline":
        return "inline", "as requested"
    if requested == "ray":
        _require_linux("--runner ray")
        return "ray", "as requested"

    if address or os.environ.get("RAY_ADDRESS"):
        _require_linux("the address of a Ray cluster")
        return "ray", "the address of a Ray cluster is set"
    if (count := count_gpus()) > 1:
        return "ray", f"{count} GPUs"
    return "inline", "one device"


def _require_linux(found: str) -> None:
    if not is_linux():
        raise InputError(
            f"{found} cannot be used on {system_name()}, because runs on Ray need Linux; try "
            "--runner inline"
        )


def count_committed_frames(ledger: Ledger) -> int:
    """Return the number of frames in the ledger's committed segments."""
    return sum(record.frames for record in ledger.records.values())


def run_inline(
    ledger: Ledger, engine: Engine, progress: Reporter, *, enhance: Enhance = enhance_batch
) -> ExecutionReport:
    """Run the ledger's missing segments in this process, and return a report on the execution.

    The segments' records are added to the ledger. Raises the PipelineError of a segment that fails;
    committed segments stay committed.
    """
    plan = ledger.plan
    before = count_committed_frames(ledger)

    with SegmentWorker(plan_header(plan), ledger.folder, engine, enhance=enhance) as worker:
        tasks = tasks_for(plan, ledger.pending_segments())
        for record in run_tasks(worker, tasks, progress, before):
            ledger.add_record(record)
        return ExecutionReport("inline", engine.info, worker.clock.seconds())


def run_tasks(
    worker: SegmentWorker, tasks: Sequence[SegmentTask], progress: Reporter, before: int = 0
) -> Iterator[SegmentRecord]:
    """Run segments on a worker, and yield the record of each once it is committed.

    `before` is the number of frames done earlier, which the reported progress includes. If a
    segment fails, its PipelineError is raised after the records of the earlier segments have been
    yielded.
    """
    segments = {worker.submit(task): task.segment.index for task in tasks}
    pending = set(segments)
    while pending:
        done, pending = wait(
            pending, timeout=PROGRESS_INTERVAL_SECONDS, return_when=FIRST_COMPLETED
        )
        failures = []
        for future in sorted(done, key=lambda future: segments[future]):
            error = future.exception()
            if error is None:
                yield future.result()
            else:
                failures.append(error)
        if failures:
            raise failures[0]
        progress.update(before + worker.frames_done, worker.clock.seconds())
