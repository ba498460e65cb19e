"""The Ray actor that runs segments; it owns engines and a SegmentWorker for each input."""

from __future__ import annotations

import os
import socket
import threading
import traceback
from concurrent.futures import CancelledError
from dataclasses import dataclass

import ray

from crossnetpp.networks.taps import Taps
from deploy.protocol import Engine, EngineError, EngineInfo, Weights, run_engine
from pipeline.errors import InputError, PipelineError, StageError
from pipeline.execution.allocator import speed_up_allocation
from pipeline.execution.cluster.metrics import ActorMetrics
from pipeline.execution.task import SegmentTask, plan_header
from pipeline.execution.worker import SegmentWorker
from pipeline.ledger.adapted_weights import use_adapted_weights
from pipeline.ledger.ledger import Ledger
from pipeline.ledger.run_folder import RunFolder, local_run_folder
from pipeline.pixels import Pixels
from pipeline.remote.cache import fetch_recordings
from pipeline.schema.plan import Plan, SegmentRecord

ACCELERATOR_LABEL = "ray.io/accelerator-type"  # Ray's node label for the GPU type, such as H100


@dataclass(frozen=True)
class WorkerSetup:
    """Everything that an actor needs before the first segment of an input.

    It contains no reference map and no pixels.
    """

    plan: Plan
    """The plan without its segments and reference map."""
    folder: RunFolder
    pixels: int
    """Total number of pixels in the network's frames, on which the choice of `auto` depends."""
    placement: str = "fused"
    """"fused", or "split" to decode and encode in separate CPU actors."""


def make_setup(ledger: Ledger, placement: str = "fused") -> WorkerSetup:
    """Return the setup for actors that run the ledger's segments."""
    plan = ledger.plan
    return WorkerSetup(plan_header(plan), ledger.folder, plan.network_pixels, placement)


@dataclass(frozen=True)
class ActorPlacement:
    """The node and process in which an actor runs."""

    node: str
    host: str
    kind: str
    """GPU type from the node's label, or "" if there is no label or the actor has no GPU."""
    pid: int


@dataclass(frozen=True)
class InputStatus:
    """The progress of one actor with one input."""

    frames: int
    """Number of encoded frames, including those in uncommitted segments."""
    busy: dict[str, float]
    """Busy seconds of each stage."""
    engine: EngineInfo


class SharedEngine:
    """An engine that the workers of several inputs share and call one at a time."""

    def __init__(self, engine: Engine) -> None:
        self.info = engine.info
        self._engine = engine
        self._lock = threading.Lock()

    def enhance(
        self,
        lr: Pixels,
        *refs: Pixels,
        weights: Weights | None = None,
        kernel: Taps | None = None,
    ) -> Pixels:
        """Call `Engine.enhance` once no other worker is calling it."""
        with self._lock:
            return run_engine(self._engine, lr, refs, weights, kernel)


class SegmentActor:
    """Owns engines, and a worker for each open input.

    Remote methods return PipelineErrors instead of raising them, because Ray would wrap them.
    Subclasses may override `load_engine` and `make_worker`.
    """

    def __init__(self) -> None:
        speed_up_allocation()
        self._engines: dict[tuple[str, str, str, int], Engine] = {}
        self._workers: dict[str, SegmentWorker] = {}
        self._engine_infos: dict[str, EngineInfo] = {}
        self._frames_of_closed = 0
        self._busy_of_closed: dict[str, float] = {}
        self._metrics = ActorMetrics()
        self._lock = threading.Lock()

    def load_engine(self, plan: Plan, pixels: int) -> Engine:
        """Load the plan's engine; `pixels` is the total number of pixels in the network's frames.

        Raises EngineError if the engine cannot run here.
        """
        from deploy.load import load_engine  # imports torch, which the driver does not need

        return load_engine(plan.engine, model=plan.model, threads=plan.threads, pixels=pixels)

    def make_worker(self, setup: WorkerSetup, engine: Engine) -> SegmentWorker:
        """Return a worker for an input; placement "split" also starts two CPU actors for it."""
        folder = local_run_folder(setup.folder)
        if setup.placement != "split":
            return SegmentWorker(fetch_recordings(setup.plan), folder, engine)

        from pipeline.execution.cluster.split import RemoteDecode, RemoteEncode

        decode = RemoteDecode(setup.plan, borrow=engine.info.borrows)
        encode = RemoteEncode(setup.plan, setup.folder)
        return SegmentWorker(setup.plan, folder, engine, stages=(decode, encode))

    @ray.method(concurrency_group="control")
    def locate(self) -> ActorPlacement:
        """Return the node and the process in which Ray placed this actor."""
        context = ray.get_runtime_context()
        labels = context.get_node_labels()
        kind = str(labels.get(ACCELERATOR_LABEL, "")) if ray.get_gpu_ids() else ""
        return ActorPlacement(context.get_node_id(), socket.gethostname(), kind, os.getpid())

    @ray.method(concurrency_group="work")
    def prepare(self, setup: WorkerSetup) -> EngineInfo | PipelineError:
        """Load the engine, and return its description or an error.

        If the engine must be built first, this can take minutes.
        """
        try:
            with self._lock:
                return self._shared_engine(setup).info
        except EngineError as error:
            return InputError(str(error))
        except PipelineError as error:  # the adapted weights are missing
            return error

    @ray.method(concurrency_group="work")
    def run(self, job: str, setup: WorkerSetup, task: SegmentTask) -> SegmentRecord | PipelineError:
        """Run one segment of an input, and return its record or an error.

        If two calls for the same input overlap, one segment is decoded while the other is enhanced.
        """
        worker: SegmentWorker | None = None
        try:
            with self._lock:
                if job not in self._workers:
                    engine = self._shared_engine(setup)
                    self._engine_infos[job] = engine.info
                    self._workers[job] = self.make_worker(setup, engine)
                worker = self._workers[job]

            record = worker.submit(task).result()
            file = worker.folder.segment_path(record)
            self._metrics.count_commit(file.stat().st_size if file.exists() else 0)
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
                    # the worker's decoder hangs, so the next attempt needs a new worker
                    del self._workers[job]

            # pickling drops the traceback, so send it to the driver in a note
            answer = type(error)(str(error))
            answer.add_note("".join(traceback.format_exception(error)))
            return answer

    @ray.method(concurrency_group="control")
    def status(self) -> dict[str, InputStatus]:
        """Return this actor's progress with each open input, and update its metrics."""
        status = {}
        frames = self._frames_of_closed
        busy = dict(self._busy_of_closed)

        for job, worker in list(self._workers.items()):
            seconds = worker.clock.seconds()
            status[job] = InputStatus(worker.frames_done, seconds, self._engine_infos[job])
            frames += worker.frames_done
            _add_seconds(busy, seconds)

        self._metrics.report(frames, busy)
        return status

    @ray.method(concurrency_group="control")
    def close(self, job: str) -> None:
        """Stop the worker of an input that has finished or failed."""
        with self._lock:
            worker = self._workers.pop(job, None)

        if worker is not None:
            worker.stop(timeout=1.0)
            self._frames_of_closed += worker.frames_done
            _add_seconds(self._busy_of_closed, worker.clock.seconds())

    @ray.method(concurrency_group="control")
    def stop(self) -> None:
        """Stop all workers; the driver kills the actor afterwards."""
        for worker in list(self._workers.values()):
            worker.stop(timeout=1.0)

    def _shared_engine(self, setup: WorkerSetup) -> Engine:
        plan = use_adapted_weights(setup.plan, setup.folder)
        key = plan.engine, plan.model, plan.model_sha256, plan.threads
        if key not in self._engines:
            self._engines[key] = SharedEngine(self.load_engine(plan, setup.pixels))
        return self._engines[key]


def _add_seconds(total: dict[str, float], more: dict[str, float]) -> None:
    for stage, seconds in more.items():
        total[stage] = total.get(stage, 0.0) + seconds
