"""Run a batch on one pool of Ray actors, where small inputs fill the gaps that large ones leave.

The driver plans, joins and publishes between the pool's steps, while every actor has up to two
segments to work on.
"""

from __future__ import annotations

import logging
import time
from collections import Counter, deque
from collections.abc import Iterable
from contextlib import closing
from dataclasses import dataclass, replace
from functools import partial

from pipeline.errors import Interrupted, OutputExistsError, PipelineError, as_pipeline_error
from pipeline.execution.cluster.actor import SegmentActor, make_setup
from pipeline.execution.cluster.actor_request import request_actors
from pipeline.execution.cluster.pool import RayPool
from pipeline.interrupt import Interrupts
from pipeline.progress import BatchReporter
from pipeline.runs.batch import read_shared_pipes
from pipeline.runs.batch_progress import BatchProgress
from pipeline.runs.conductor import (
    OpenRun,
    RunRequest,
    close_run,
    open_run,
    recover_result,
    resumed_report,
)
from pipeline.runs.items import (
    batch_result,
    describe_existing,
    failed_item,
    find_unrun,
    finished_item,
    remove_shared_weights,
    share_weights,
    skipped_item,
)
from pipeline.runs.manifest import Entry
from pipeline.runs.own_outputs import ClaimedOutputs
from pipeline.runs.parts import RunParts
from pipeline.runs.result import BatchResult, ItemResult
from pipeline.schema.plan import Plan
from pipeline.schema.settings import ExecutionSettings

logger = logging.getLogger(__name__)


@dataclass
class _OpenItem:
    """An input whose segments are being processed."""

    entry: Entry
    run: OpenRun


class PooledBatch:
    """Runs the inputs of a batch on the connected cluster.

    `settings`, which all inputs share, determine the number and kind of the actors.
    """

    def __init__(
        self,
        entries: Iterable[Entry],
        settings: ExecutionSettings,
        progress: BatchReporter,
        interrupts: Interrupts,
        parts: RunParts,
    ) -> None:
        self._entries = tuple(entries)
        self._waiting = deque(enumerate(self._entries))
        self._settings = settings
        self._reporter = progress
        names = [str(entry.given["input"]) for entry in self._entries]
        self._progress = BatchProgress(names, progress)
        self._outputs = ClaimedOutputs(names)
        self._interrupts = interrupts
        self._parts = parts
        self._pool: RayPool | None = None
        self._open: dict[str, _OpenItem] = {}
        self._results: dict[int, ItemResult] = {}
        self._shown = False

    def run(self) -> tuple[list[ItemResult], Interrupted | None]:
        """Run all inputs; a failed input does not stop the batch, but a signal or a lost pool does.

        After a signal, the results are returned together with the Interrupted that the caller
        should raise.
        """
        interrupted: Interrupted | None = None
        try:
            while self._waiting or self._open:
                self._start_waiting()
                if self._open and self._pool is not None:
                    ended = self._pool.step()
                    self._show_progress(self._pool)
                    for job, error in ended:
                        self._end(job, error)
        except KeyboardInterrupt:
            interrupted = Interrupted(self._describe_interruption())
            self._skip_remaining(str(interrupted))
        except PipelineError as error:  # an error of the pool, not of an input
            self._skip_remaining(str(error))
        finally:
            self._hide_progress()
            if self._pool is not None:
                self._pool.stop()
            for item in self._open.values():
                item.run.close()
        return [self._results[i] for i in range(len(self._entries))], interrupted

    def _describe_interruption(self) -> str:
        """Return a line that states how much of the work on the open inputs is kept."""
        kept = sum(len(item.run.ledger.records) for item in self._open.values())
        total = sum(len(item.run.plan.segments) for item in self._open.values())
        if not kept:
            return "interrupted before a segment was finished; run the same command again"
        return (
            f"interrupted with {kept} of {total} segments of the open inputs kept; "
            "run the same command again to resume"
        )

    def _start_waiting(self) -> None:
        """Start waiting inputs until the pool has enough segments."""
        while self._waiting and (self._pool is None or self._pool.has_room()):
            number, entry = self._waiting.popleft()
            unrun = find_unrun(entry, self._parts)
            if unrun is not None:
                self._conclude(number, unrun)
                continue

            assert entry.settings is not None
            self._hide_progress()
            self._progress.begin(number)
            parts = replace(self._parts, on_open=partial(self._on_open, number))
            try:
                self._start(number, entry, RunRequest(entry.settings, self._reporter, parts))
            except Exception as error:
                self._fail(number, entry, error)

    def _on_open(self, number: int, plan: Plan, done: int) -> None:
        self._outputs.claim(number, plan.output)
        self._progress.measure(number, plan, done)

    def _start(self, number: int, entry: Entry, request: RunRequest) -> None:
        """Open an input and add it to the pool, or end it if nothing is left to run."""
        job = str(number)
        try:
            opened = open_run(request, runner="ray")
        except OutputExistsError as error:
            self._conclude(number, self._recover(entry, request, error))
            return

        self._open[job] = _OpenItem(entry, opened)
        if not opened.ledger.pending_segments():
            self._end(job, None)
            return

        try:
            self._add_to_pool(job, opened, request.settings.placement)
        except Exception:
            # if it stayed open, the batch would wait for this input forever
            self._open.pop(job).run.close()
            raise

    def _recover(self, entry: Entry, request: RunRequest, error: OutputExistsError) -> ItemResult:
        """Return the result for an output that exists.

        Raises `error` if another run made the output, unless such outputs are skipped.
        """
        try:
            return finished_item(entry, recover_result(request, error))
        except OutputExistsError:
            if not request.parts.skips_existing:
                raise
            return skipped_item(entry, describe_existing(error.path), error.path)

    def _show_progress(self, pool: RayPool) -> None:
        """Show the combined progress of all open inputs."""
        for job in self._open:
            self._progress.advance(int(job), pool.count_frames(job))
        total, done = self._progress.count_frames()
        if not self._shown:
            self._reporter.start(total, done)
            self._shown = True
        busy: Counter[str] = Counter()
        for job in self._open:
            busy.update(pool.busy(job))
        self._reporter.update(done, dict(busy))

    def _hide_progress(self) -> None:
        """Close the display before the open inputs change; the next progress opens it again."""
        self._reporter.close()
        self._shown = False

    def _conclude(self, number: int, result: ItemResult) -> None:
        self._results[number] = result
        self._progress.end(number, result)

    def _add_to_pool(self, job: str, opened: OpenRun, placement: str) -> None:
        """Add an open run to the pool, creating the pool for the first one."""
        if self._pool is None:
            shared = self._settings
            actors = request_actors(opened.plan.engine, shared.workers, shared.accelerator)
            actor = self._parts.actor or SegmentActor
            self._pool = RayPool(actors, self._reporter, actor=actor)
        self._pool.add(job, opened.ledger, make_setup(opened.ledger, placement))

    def _end(self, job: str, error: PipelineError | None) -> None:
        """Publish an input whose segments are committed, or record why it failed."""
        self._hide_progress()
        item = self._open.pop(job)
        number = int(job)
        try:
            with closing(item.run) as opened:
                report = self._pool.close(job) if self._pool is not None else None
                if error is not None:
                    raise error
                report = report or resumed_report(opened.plan, "ray")
                result = close_run(opened, report, self._reporter, self._interrupts, self._parts)
            self._conclude(number, finished_item(item.entry, result))
        except Exception as failure:
            self._fail(number, item.entry, failure)
        except KeyboardInterrupt:
            self._conclude(number, failed_item(item.entry, "interrupted", "not run"))
            raise

    def _fail(self, number: int, entry: Entry, error: Exception) -> None:
        logger.info("input %d failed", number, exc_info=error)
        reason = str(as_pipeline_error(error))
        self._conclude(number, failed_item(entry, reason, "failed"))

    def _skip_remaining(self, reason: str) -> None:
        for number, entry in enumerate(self._entries):
            if number not in self._results:
                self._conclude(number, failed_item(entry, reason, "not run"))


def run_pooled(
    entries: Iterable[Entry],
    settings: ExecutionSettings,
    progress: BatchReporter,
    failed_list: str,
    parts: RunParts | None = None,
) -> tuple[BatchResult, Interrupted | None]:
    """Run all inputs on the Ray cluster that the shared `settings` select, as `run_all` does.

    The inputs to run again are listed in a file at `failed_list`, a path or URL.
    """
    from pipeline.execution.cluster.connection import cluster

    start = time.monotonic()
    entries = tuple(entries)
    parts = share_weights(parts or RunParts(), failed_list)
    with (
        Interrupts() as interrupts,
        read_shared_pipes(entries, progress.note) as readable,
        cluster(settings.address, interrupts, workers=settings.workers),
    ):
        batch = PooledBatch(readable, settings, progress, interrupts, parts)
        results, interrupted = batch.run()
    result = batch_result(entries, results, failed_list, start)
    remove_shared_weights(entries, parts, result)
    return result, interrupted
