"""A pool of Ray actors that runs the segments of one or more inputs as the scheduler decides.

The driver and the actors exchange only tasks and records, never pixels.
"""

from __future__ import annotations

import logging
import time
from dataclasses import dataclass
from typing import Any

import ray
from ray.exceptions import RayActorError, RayError

from deploy.protocol import EngineInfo
from pipeline.errors import InputError, PipelineError, StageError, count_items, first_line
from pipeline.execution.cluster.actor import SegmentActor, WorkerSetup
from pipeline.execution.cluster.actor_request import ActorRequest
from pipeline.execution.cluster.actors import Actors, Call, Slot
from pipeline.execution.cluster.metrics import DriverMetrics
from pipeline.execution.cluster.scheduler import Policy, Scheduler, Task
from pipeline.execution.runners import (
    PROGRESS_INTERVAL_SECONDS,
    ExecutionReport,
    count_committed_frames,
)
from pipeline.execution.task import SegmentTask, tasks_for
from pipeline.ledger.ledger import Ledger
from pipeline.paths import redact_url
from pipeline.progress import Reporter
from pipeline.schema.plan import SegmentRecord

logger = logging.getLogger(__name__)


@dataclass
class _Job:
    """An input in progress."""

    ledger: Ledger
    setup: WorkerSetup
    setup_ref: Any
    """Reference to the setup in Ray's object store, which sends it to each node only once."""
    tasks: dict[int, SegmentTask]
    """The tasks of the segments that were missing when the input was added, by segment index."""


class RayPool:
    """Runs the segments of added inputs on the connected cluster.

    `actor` is the class of the actors: SegmentActor or a subclass of it.
    """

    def __init__(
        self,
        request: ActorRequest,
        progress: Reporter,
        policy: Policy | None = None,
        *,
        actor: type[SegmentActor] = SegmentActor,
    ) -> None:
        self._progress = progress
        self._scheduler = Scheduler(policy)
        in_flight = self._scheduler.policy.in_flight
        self.actors = Actors(request, progress, in_flight=in_flight, kind=actor)
        self._engine: EngineInfo | None = None
        self._jobs: dict[str, _Job] = {}
        self._ended: list[tuple[str, PipelineError | None]] = []
        self._metrics = DriverMetrics()

    def add(self, job: str, ledger: Ledger, setup: WorkerSetup) -> None:
        """Add an input with at least one missing segment."""
        tasks = {
            task.segment.index: task for task in tasks_for(ledger.plan, ledger.pending_segments())
        }
        self._jobs[job] = _Job(ledger, setup, ray.put(setup), tasks)
        costs = {index: float(task.segment.frames) for index, task in tasks.items()}
        self._scheduler.add_job(job, costs)

    def has_room(self) -> bool:
        """Return whether so few segments are left that another input should be added."""
        return self._scheduler.unfinished < 3 * max(1, self.actors.max_actors)

    def step(self) -> list[tuple[str, PipelineError | None]]:
        """Start work, process events for a moment, and return the inputs that have ended.

        Each input comes with its error, or None if all of its segments are committed.
        """
        self.actors.start_missing(
            self._scheduler.count_useful_workers(), self._scheduler.blocked_nodes()
        )
        self._assign_segments()
        for call, ref in self.actors.wait(PROGRESS_INTERVAL_SECONDS):
            self._collect(call, ref)

        self.actors.check_placement()
        self._release_idle()
        self.actors.request_status()
        self._metrics.report_state(left=self._scheduler.unfinished, workers=len(self.actors))

        ended = self._ended
        self._ended = []
        return ended

    def count_frames(self, job: str) -> int:
        """Return the number of an input's encoded frames, including those not yet committed."""
        ledger = self._jobs[job].ledger
        # frames in a dead actor's uncommitted segments are lost and do not count
        count = count_committed_frames(ledger) + self.actors.count_open_frames(job)
        # while two actors run a segment, its frames count twice
        return min(count, len(ledger.plan.reference_map))

    def busy(self, job: str) -> dict[str, float]:
        """Return an input's busy seconds by stage, summed over all actors."""
        return self.actors.busy(job)

    def report(self, job: str) -> ExecutionReport:
        """Return a report on how an input's segments were run. Call it before `close`."""
        self.actors.refresh_status()
        engine = self.actors.engine(job) or self._engine
        assert engine is not None
        return ExecutionReport("ray", engine, self.actors.busy(job))

    def close(self, job: str) -> ExecutionReport | None:
        """Remove an input that has ended, and return its report.

        The result is None if no actor was ever ready, or if the input has already been removed.
        """
        self._scheduler.drop_job(job)
        if job not in self._jobs:
            return None

        report = self.report(job) if self._engine is not None else None
        del self._jobs[job]
        self.actors.close(job)
        return report

    def stop(self) -> None:
        """End all actors."""
        self.actors.stop()

    def _assign_segments(self) -> None:
        now = time.monotonic()
        for assignment in self._scheduler.decide(now):
            slot = self.actors.get(assignment.worker)
            slot.used_at = now
            job, index = assignment.task
            fields = self._log_fields(slot, job, index) | {"attempt": assignment.attempt}
            logger.info("start segment %d, attempt %d", index, assignment.attempt, extra=fields)
            self._metrics.count("attempts")

            entry = self._jobs[job]
            task = entry.tasks[index]
            self.actors.call(slot, "run", job, entry.setup_ref, task, task=assignment.task)

    def _collect(self, call: Call, ref: Any) -> None:
        """Process an actor's answer to a call, or its death."""
        slot = call.slot
        try:
            answer = ray.get(ref)
        except RayActorError as error:
            self._replace_dead(slot, error)
            return
        except RayError as error:
            raise StageError(
                f"ray: {call.method} failed on an actor: {first_line(error)}"
            ) from error

        if call.task is not None:
            self._collect_segment(slot, call.task, answer)
        elif call.method == "status":
            self.actors.record_status(slot, answer)
        elif call.method == "locate":
            self.actors.place(slot, answer)
            self._prepare(slot)
        elif isinstance(answer, PipelineError):
            raise answer
        else:
            slot.ready = True
            slot.used_at = time.monotonic()
            self._engine = answer
            assert slot.placement is not None
            placement = slot.placement
            self._scheduler.add_worker(slot.name, kind=placement.kind, node=placement.node)

    def _prepare(self, slot: Slot) -> None:
        """Make a placed actor load the engine, or end the actor if all inputs have ended."""
        setup = next((job.setup_ref for job in self._jobs.values()), None)
        if setup is None:
            self.actors.end(slot)
        else:
            self.actors.call(slot, "prepare", setup)

    def _collect_segment(
        self, slot: Slot, task: Task, answer: SegmentRecord | PipelineError
    ) -> None:
        job, index = task
        slot.used_at = time.monotonic()
        fields = self._log_fields(slot, job, index)

        if isinstance(answer, PipelineError):
            logger.info("segment %d failed: %s", index, answer, extra=fields)
            self._metrics.count("failures")
            abandoned = self._scheduler.fail_task(slot.name, task)
            if job in self._jobs and (abandoned or isinstance(answer, InputError)):
                self._fail(job, answer)
            return

        first = self._scheduler.complete_task(slot.name, task, slot.used_at)
        slot.committed[job] += answer.frames
        logger.info("segment %d is done", index, extra=fields)
        if first:
            self._commit(job, answer)

    def _commit(self, job: str, record: SegmentRecord) -> None:
        """Add a committed segment's record to the input's ledger; the last one ends the input."""
        ledger = self._jobs[job].ledger
        ledger.fetch_segment(record.segment)
        if not ledger.folder.record_path(record.segment).exists():
            error = StageError(
                f"segment {record.segment} was committed on another machine and is not in "
                f"{ledger.folder.path}; put the output on a file system that all nodes share"
            )
            self._fail(job, error)
            return

        ledger.add_record(record)
        self._metrics.count("segments_done")
        if not ledger.pending_segments():
            self._ended.append((job, None))

    def _fail(self, job: str, error: PipelineError) -> None:
        self._scheduler.drop_job(job)
        self._ended.append((job, error))

    def _replace_dead(self, slot: Slot, error: RayActorError) -> None:
        """Requeue a dead actor's uncommitted segments; the next `step` starts another actor."""
        logger.info("actor on %s died: %s", slot.placement, first_line(error))
        self.actors.bury(slot)
        if not slot.ready:
            self._count_death_while_loading(slot, error)
            return

        for task in self._scheduler.tasks_of(slot.name):
            job = self._jobs.get(task[0])
            record = job.ledger.folder.read_record(task[1]) if job else None

            # the actor may have died between the commit and its answer
            if record is not None and self._scheduler.complete_task(
                slot.name, task, time.monotonic()
            ):
                self._commit(task[0], record)

        lost = self._scheduler.tasks_of(slot.name)
        abandoned = self._scheduler.remove_worker(slot.name)
        for job_name, index in abandoned:
            self._fail(job_name, self._deadly_segment_error(job_name, index, error))

        again = len(lost) - len(abandoned)
        self._metrics.count("failures", len(lost))
        self._progress.note(f"an actor died; {count_items(again, 'segment')} will run again")

    def _count_death_while_loading(self, slot: Slot, error: RayActorError) -> None:
        """Record that an actor died before it was ready.

        Raises StageError if so many have died that the run should give up.
        """
        loading = [s.placement.node for s in self.actors if s.placement and not s.ready]
        node = slot.placement.node if slot.placement else ""
        if self._scheduler.record_unready_death(node, loading, time.monotonic()):
            raise StageError(
                f"ray: actors keep dying while loading the engine ({first_line(error)}); try "
                "another --engine, or --runner inline"
            )
        self._progress.note("an actor died while loading the engine; another one replaces it")

    def _deadly_segment_error(self, job: str, index: int, error: RayActorError) -> StageError:
        ledger = self._jobs[job].ledger
        return StageError(
            f"{self._scheduler.policy.attempts} actors died while running segment {index}: "
            f"{first_line(error)}; {len(ledger.records)} of {len(ledger.plan.segments)} segments "
            "are committed; run the same command again to resume"
        )

    def _release_idle(self) -> None:
        """End surplus actors without work, so that the autoscaler can shut down their nodes."""
        policy = self._scheduler.policy
        now = time.monotonic()
        surplus = len(self.actors) - policy.copies * self._scheduler.unfinished
        for slot in reversed(list(self.actors)):
            if surplus <= 0:
                return

            # do not end an actor that is loading, because its death would be blamed on the engine
            idle = slot.ready and not self._scheduler.tasks_of(slot.name)
            unused = idle and now - slot.used_at > self.actors.request.release_after
            if unused or not slot.placement:
                fields = self._log_fields(slot)
                logger.info("ending the idle actor on %s", slot.placement, extra=fields)
                if slot.ready:
                    self._scheduler.remove_worker(slot.name, blame=False)
                self.actors.end(slot)
                surplus -= 1

    def _log_fields(
        self, slot: Slot, job: str = "-", segment: int | None = None
    ) -> dict[str, object]:
        """Return a log record's extra fields: run, segment and node, each of which may be None."""
        run = None
        if job in self._jobs:
            plan = self._jobs[job].setup.plan
            run = redact_url(plan.output_url) if plan.output_url else plan.output
        host = slot.placement.host if slot.placement else None
        return {"run": run, "segment": segment, "node": host}


def run_on_ray(
    ledger: Ledger,
    setup: WorkerSetup,
    progress: Reporter,
    request: ActorRequest,
    *,
    actor: type[SegmentActor] = SegmentActor,
) -> ExecutionReport:
    """Run a ledger's missing segments (at least one) on the connected cluster; return a report.

    Raises PipelineError if a segment fails; committed segments stay committed.
    """
    pool = RayPool(request, progress, actor=actor)
    try:
        pool.add("", ledger, setup)
        while True:
            ended = pool.step()
            progress.update(pool.count_frames(""), pool.busy(""))
            for _, error in ended:
                if error is not None:
                    raise error
                return pool.report("")
    finally:
        pool.stop()
