"""Many inputs over one pool of actors: small ones fill the gaps that large ones leave.

Planning, joining and publishing are done here, between two looks at the pool; every actor has two
segments to go on with meanwhile.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Iterable
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

from pipeline.assembly.finish import finish
from pipeline.errors import Interrupted, OutputExistsError, PipelineError
from pipeline.execution.cluster.actor import Setup
from pipeline.execution.cluster.demand import demand_for
from pipeline.execution.cluster.pool import RayPool
from pipeline.execution.runners import frames_committed
from pipeline.execution.task import plan_header
from pipeline.interrupt import Interrupts
from pipeline.ledger.ledger import Ledger
from pipeline.progress import Reporter
from pipeline.runs.batch import BatchResult, Entry, ItemResult, failure, success
from pipeline.runs.batch import conclude as sums
from pipeline.runs.run import already_done, conclude, idle, prepare, tell
from pipeline.schema.settings import RunSettings


@dataclass
class _Open:
    """An input whose segments are being done."""

    entry: Entry
    settings: RunSettings
    ledger: Ledger
    before: int
    start: float


class PooledBatch:
    """Inputs waiting, open and ended; the cluster must be connected."""

    def __init__(
        self, items: Iterable[Entry], settings: RunSettings, progress: Reporter, stop: Interrupts
    ) -> None:
        self._items = tuple(items)
        self._waiting = deque(enumerate(self._items))
        self._common = settings
        self._progress = progress
        self._interrupts = stop
        self._pool: RayPool | None = None
        self._open: dict[str, _Open] = {}
        self._results: dict[int, ItemResult] = {}

    def run(self) -> tuple[list[ItemResult], Interrupted | None]:
        """Run all; errors of one do not stop the others, a signal does."""
        interrupted: Interrupted | None = None
        try:
            while self._waiting or self._open:
                self._fill()
                if self._open and self._pool is not None:
                    for job, error in self._pool.step():
                        self._end(job, error)
        except KeyboardInterrupt:
            interrupted = Interrupted("interrupted; run the same command again to resume")
            self._give_up(str(interrupted))
        except PipelineError as error:  # the pool's, not an input's
            self._give_up(str(error))
        finally:
            if self._pool is not None:
                self._pool.stop()
            for opened in self._open.values():
                opened.ledger.__exit__(None, None, None)
        return [self._results[i] for i in range(len(self._items))], interrupted

    def _fill(self) -> None:
        while self._waiting and (self._pool is None or self._pool.hungry()):
            number, entry = self._waiting.popleft()
            if entry.settings is None:
                self._results[number] = failure(entry, entry.error, "failed")
                continue
            self._progress.note(f"[{number + 1}/{len(self._items)}] {entry.settings.input}")
            try:
                self._start(number, entry, entry.settings)
            except PipelineError as error:
                self._fail(number, entry, error)

    def _start(self, number: int, entry: Entry, settings: RunSettings) -> None:
        start = time.monotonic()
        try:
            plan = prepare(settings, self._progress)
        except OutputExistsError:
            self._results[number] = success(entry, already_done(settings, start))
            return
        ledger = Ledger(plan).__enter__()
        tell(ledger, self._progress)
        opened = _Open(entry, settings, ledger, frames_committed(ledger), start)
        self._open[str(number)] = opened
        if not ledger.pending_segments():
            self._end(str(number), None)
            return
        setup = Setup(
            plan_header(plan),
            ledger.folder,
            plan.engine,
            plan.model,
            plan.threads,
            settings.placement,
        )
        if self._pool is None:
            common = self._common
            demand = demand_for(setup, common.workers, common.accelerator)
            self._pool = RayPool(demand, self._progress)
        self._pool.add(str(number), ledger, setup)

    def _end(self, job: str, error: PipelineError | None) -> None:
        opened = self._open.pop(job)
        number, ledger = int(job), opened.ledger
        if self._pool is not None:
            self._pool.close(job)
        try:
            with ExitStack() as stack:
                stack.push(ledger)  # it has been entered already
                if error is not None:
                    raise error
                reference_map = finish(ledger, self._interrupts, force=opened.settings.force)
            engine = self._pool.engine if self._pool is not None else None
            info = engine or idle(ledger.plan)
            given: dict[str, Any] = {"before": opened.before, "start": opened.start}
            result = conclude(opened.settings, ledger, info, reference_map, **given)
            self._results[number] = success(opened.entry, result)
        except PipelineError as failed:
            self._fail(number, opened.entry, failed)
        except KeyboardInterrupt:
            self._results[number] = failure(opened.entry, "interrupted", "not run")
            raise

    def _fail(self, number: int, entry: Entry, error: PipelineError) -> None:
        self._results[number] = failure(entry, str(error), "failed")
        self._progress.note(f"failed: {' '.join(str(error).split())}")

    def _give_up(self, why: str) -> None:
        for number, entry in enumerate(self._items):
            if number not in self._results:
                self._results[number] = failure(entry, why, "not run")


def run_pooled(
    items: Iterable[Entry], settings: RunSettings, progress: Reporter, failed_list: str
) -> tuple[BatchResult, Interrupted | None]:
    """Run all inputs on the cluster which `settings` (the common ones) name."""
    from pipeline.execution.cluster.connection import cluster

    start = time.monotonic()
    items = tuple(items)
    with (
        Interrupts() as interrupts,
        cluster(settings.address, interrupts, workers=settings.workers),
    ):
        results, stopped = PooledBatch(items, settings, progress, interrupts).run()
    again = [i.given for i, r in zip(items, results, strict=True) if r.status != "done"]
    return sums(results, again, failed_list, start), stopped
