"""What runs inside a Ray actor: one SegmentWorker and the engine it owns."""

from __future__ import annotations

import traceback
from concurrent.futures import CancelledError
from dataclasses import dataclass

import ray

from deploy.protocol import EngineError, EngineInfo
from pipeline.errors import InputError, PipelineError, StageError
from pipeline.ledger import RunFolder
from pipeline.schema import Plan, SegmentRecord
from pipeline.stages import SegmentTask
from pipeline.worker import SegmentWorker


@dataclass(frozen=True)
class Setup:
    """What an actor needs before its first segment; no reference map and no pixels."""

    plan: Plan
    folder: RunFolder
    engine: str
    model: str
    threads: int | None


class SegmentActor:
    """Own a worker; errors are answers, because Ray wraps raised ones beyond recognition."""

    def __init__(self) -> None:
        self._worker: SegmentWorker | None = None

    @ray.method(concurrency_group="work")
    def setup(self, setup: Setup) -> EngineInfo | PipelineError:
        """Load the engine and start the stages."""
        from deploy.engine import load_engine  # imports torch, which the driver does not need

        try:
            engine = load_engine(setup.engine, model=setup.model, threads=setup.threads)
        except EngineError as error:
            return InputError(str(error))
        self._worker = SegmentWorker(setup.plan, setup.folder, engine)
        return engine.info

    @ray.method(concurrency_group="work")
    def run(self, task: SegmentTask) -> SegmentRecord | PipelineError:
        """Do one segment; two calls at once overlap in the worker."""
        assert self._worker is not None
        try:
            return self._worker.submit(task).result()
        except CancelledError:
            return StageError("the worker was stopped")
        except StageError as error:
            answer = StageError(str(error))
            answer.add_note("".join(traceback.format_exception(error)))
            return answer

    @ray.method(concurrency_group="control")
    def status(self) -> tuple[int, dict[str, float]]:
        """Return frames encoded and busy seconds by stage."""
        if self._worker is None:
            return 0, {}
        return self._worker.frames_done, self._worker.clock.seconds()

    @ray.method(concurrency_group="control")
    def stop(self) -> None:
        """Stop the stages; the driver kills the actor afterwards."""
        if self._worker is not None:
            self._worker.stop(timeout=1.0)
