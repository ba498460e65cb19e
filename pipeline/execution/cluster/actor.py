"""What runs inside a Ray actor: an engine, and a SegmentWorker for every input it works on."""

from __future__ import annotations

import os
import socket
import threading
import traceback
from concurrent.futures import CancelledError
from dataclasses import dataclass

import ray

from deploy.protocol import Engine, EngineError, EngineInfo
from pipeline.errors import InputError, PipelineError, StageError
from pipeline.execution.cluster.metrics import ActorMetrics
from pipeline.execution.task import SegmentTask
from pipeline.execution.worker import SegmentWorker
from pipeline.ledger.run_folder import RunFolder, local_run_folder
from pipeline.pixels import Pixels
from pipeline.remote.cache import fetch_recordings
from pipeline.schema.plan import Plan, SegmentRecord

ACCELERATOR = "ray.io/accelerator-type"
"""Ray's own label of a node's GPU type, for example H100."""


@dataclass(frozen=True)
class Setup:
    """What an actor needs before an input's first segment; no reference map and no pixels."""

    plan: Plan
    folder: RunFolder
    engine: str
    model: str
    threads: int | None
    placement: str = "fused"
    """split: decode and encode in CPU actors of their own."""


@dataclass(frozen=True)
class About:
    """Where an actor runs."""

    node: str
    host: str
    kind: str
    """GPU type, "" for a CPU."""
    pid: int


class OneAtATime:
    """An engine that several inputs' workers share."""

    def __init__(self, engine: Engine) -> None:
        self.info = engine.info
        self._engine = engine
        self._lock = threading.Lock()

    def enhance(self, lr: Pixels, ref: Pixels) -> Pixels:
        """Return `Engine.enhance` as soon as no other input is in it."""
        with self._lock:
            return self._engine.enhance(lr, ref)


class SegmentActor:
    """Own engine and workers; errors are answers, because Ray wraps raised ones."""

    def __init__(self) -> None:
        self._engines: dict[tuple[str, str, int | None], Engine] = {}
        self._workers: dict[str, SegmentWorker] = {}
        self._frames_of_closed = 0
        self._busy_of_closed: dict[str, float] = {}
        self._metrics = ActorMetrics()
        self._lock = threading.Lock()

    @ray.method(concurrency_group="control")
    def about(self) -> About:
        """Say where this actor was placed."""
        context = ray.get_runtime_context()
        labels = context.get_node_labels()
        kind = str(labels.get(ACCELERATOR, "")) if ray.get_gpu_ids() else ""
        return About(context.get_node_id(), socket.gethostname(), kind, os.getpid())

    @ray.method(concurrency_group="work")
    def prepare(self, setup: Setup) -> EngineInfo | PipelineError:
        """Load the engine, which may take minutes where it has to be built first."""
        try:
            with self._lock:
                return self._engine(setup).info
        except EngineError as error:
            return InputError(str(error))

    @ray.method(concurrency_group="work")
    def run(self, job: str, setup: Setup, task: SegmentTask) -> SegmentRecord | PipelineError:
        """Do one segment of an input; two calls at once overlap in its worker."""
        worker: SegmentWorker | None = None
        try:
            with self._lock:
                if job not in self._workers:
                    engine = self._engine(setup)
                    self._workers[job] = _worker(setup, engine)
                worker = self._workers[job]
            record = worker.submit(task).result()
            file = worker.folder.segment_path(record)
            self._metrics.committed(file.stat().st_size if file.exists() else 0)
            if setup.folder.mirror:
                worker.folder.remove_local_copy(task.segment.index)
            return record
        except CancelledError:
            return StageError("the worker was stopped")
        except EngineError as error:
            return InputError(str(error))
        except PipelineError as error:
            with self._lock:
                if worker and worker.broken and self._workers.get(job) is worker:
                    del self._workers[job]  # a hung decoder: the next attempt gets new threads
            answer = type(error)(str(error))
            answer.add_note("".join(traceback.format_exception(error)))
            return answer

    @ray.method(concurrency_group="control")
    def status(self) -> tuple[dict[str, int], dict[str, float]]:
        """Return frames encoded by open input, and busy seconds by stage of all."""
        busy = dict(self._busy_of_closed)
        frames = {}
        for job, worker in list(self._workers.items()):
            frames[job] = worker.frames_done
            for stage, seconds in worker.clock.seconds().items():
                busy[stage] = busy.get(stage, 0.0) + seconds
        self._metrics.tell(self._frames_of_closed + sum(frames.values()), busy)
        return frames, busy

    @ray.method(concurrency_group="control")
    def close(self, job: str) -> None:
        """Stop what still runs of an input which has ended."""
        with self._lock:
            worker = self._workers.pop(job, None)
        if worker is not None:
            worker.stop(timeout=1.0)
            self._frames_of_closed += worker.frames_done
            for stage, seconds in worker.clock.seconds().items():
                self._busy_of_closed[stage] = self._busy_of_closed.get(stage, 0.0) + seconds

    @ray.method(concurrency_group="control")
    def stop(self) -> None:
        """Stop the stages; the driver kills the actor afterwards."""
        for worker in list(self._workers.values()):
            worker.stop(timeout=1.0)

    def _engine(self, setup: Setup) -> Engine:
        from deploy.load import load_engine  # imports torch, which the driver does not need

        key = setup.engine, setup.model, setup.threads
        if key not in self._engines:
            loaded = load_engine(setup.engine, model=setup.model, threads=setup.threads)
            self._engines[key] = OneAtATime(loaded)
        return self._engines[key]


def _worker(setup: Setup, engine: Engine) -> SegmentWorker:
    folder = local_run_folder(setup.folder)
    if setup.placement != "split":
        return SegmentWorker(fetch_recordings(setup.plan), folder, engine)
    from pipeline.execution.cluster.split import RemoteDecode, RemoteEncode

    decode = RemoteDecode(setup.plan, borrow=engine.info.borrows)
    encode = RemoteEncode(setup.plan, setup.folder)
    return SegmentWorker(setup.plan, folder, engine, stages=(decode, encode))
