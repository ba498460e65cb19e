"""A pool of Ray actors that carries out what the scheduler decides, for one input or many.

Only descriptors travel. Ray's own retries are off (`max_restarts=0`, `max_task_retries=0`): a
segment is committed by its record, so a repeated attempt is harmless and the scheduler's to decide.
"""

from __future__ import annotations

import logging
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

import ray
from ray.exceptions import RayActorError, RayError

from deploy.protocol import EngineInfo
from pipeline.errors import InputError, PipelineError, StageError, first_line
from pipeline.execution.cluster.actor import ACCELERATOR, About, SegmentActor, Setup
from pipeline.execution.cluster.demand import Demand, nodes_coming
from pipeline.execution.cluster.metrics import DriverMetrics
from pipeline.execution.cluster.scheduler import Policy, Scheduler, Task
from pipeline.execution.runners import POLL, frames_committed
from pipeline.execution.task import SegmentTask, tasks_for
from pipeline.ledger.ledger import Ledger
from pipeline.paths import redact_url
from pipeline.progress import Reporter
from pipeline.schema.plan import SegmentRecord

logger = logging.getLogger(__name__)

_LOOK_AROUND = 10.0
"""Seconds between looks for nodes that joined."""
_GRACE = 1.5
_STATUS_EVERY = 0.5
"""Seconds between two looks at one actor; more where there are so many that looking takes long."""
_STATUS_RATE = 200.0
"""Looks in a second at all actors together: each takes about 1 ms of the driver."""


@dataclass
class _Slot:
    """An actor and what is known of it."""

    name: str
    actor: Any
    deadline: float
    about: About | None = None
    ready: bool = False
    used: float = 0.0
    """When it last got or ended a segment."""
    asked: float = 0.0
    """When its status was last asked for."""
    frames: dict[str, int] = field(default_factory=dict)
    """Frames encoded by this actor for each open input, as it last said."""
    committed: Counter[str] = field(default_factory=Counter)
    """Frames of segments it has committed, by input."""
    busy: dict[str, float] = field(default_factory=dict)


@dataclass
class _Job:
    ledger: Ledger
    setup: Setup
    shipped: Any
    """The setup in Ray's object store, sent once to every node."""
    tasks: dict[int, SegmentTask]


class RayPool:
    """Actors at work on the inputs it was given; the cluster must be connected."""

    def __init__(self, demand: Demand, progress: Reporter, policy: Policy | None = None) -> None:
        self.engine: EngineInfo | None = None
        """What the actors run, as soon as one is ready."""
        self._demand = demand
        self._progress = progress
        self._scheduler = Scheduler(policy)
        self._jobs: dict[str, _Job] = {}
        self._ended: list[tuple[str, PipelineError | None]] = []
        self._slots: dict[str, _Slot] = {}
        self._calls: dict[Any, tuple[str, _Slot, Task | None]] = {}
        """Calls under way: what was called, on which slot, for which task."""
        self._started = 0
        self._most = 0
        self._looked = -_LOOK_AROUND
        self._waited: set[str] = set()
        """Actors that were said to wait for a place."""
        self._busy_of_dead: Counter[str] = Counter()
        self._metrics = DriverMetrics()

    def add(self, job: str, ledger: Ledger, setup: Setup) -> None:
        """Take an input with at least one missing segment."""
        todo = {
            task.segment.index: task for task in tasks_for(ledger.plan, ledger.pending_segments())
        }
        self._jobs[job] = _Job(ledger, setup, ray.put(setup), todo)
        self._scheduler.add(job, {i: float(t.segment.frames) for i, t in todo.items()})

    def hungry(self) -> bool:
        """Return whether another input should be added to keep all actors busy."""
        return self._scheduler.unfinished < 3 * max(1, self._most)

    def step(self) -> list[tuple[str, PipelineError | None]]:
        """Go on for a moment; returns inputs that are committed (None) or have failed (why)."""
        self._staff()
        now = time.monotonic()
        for given in self._scheduler.decide(now):
            slot, (job, index) = self._slots[given.worker], given.task
            slot.used = now
            about = self._about(slot, job, index) | {"attempt": given.attempt}
            logger.info("start segment %d, attempt %d", index, given.attempt, extra=about)
            self._metrics.count("attempts")
            entry = self._jobs[job]
            self._call(slot, "run", job, entry.shipped, entry.tasks[index], task=given.task)
        done, _ = ray.wait(list(self._calls), timeout=POLL, fetch_local=False)
        for ref in done:
            self._collect(ref)
        self._check_placement()
        self._release()
        self._ask_status()
        self._metrics.state(left=self._scheduler.unfinished, workers=len(self._slots))
        ended, self._ended = self._ended, []
        return ended

    def frames(self, job: str) -> int:
        """Return how many frames of an input are committed or under way."""
        # frames of a dead actor's open segments are lost, so they are not counted
        under_way = sum(max(0, s.frames.get(job, 0) - s.committed[job]) for s in self.slots())
        ledger = self._jobs[job].ledger
        # a segment that two actors are doing is under way on both
        return min(frames_committed(ledger) + under_way, len(ledger.plan.reference_map))

    def busy(self) -> dict[str, float]:
        """Return busy seconds by stage, of all actors together."""
        total = Counter(self._busy_of_dead)
        for slot in self.slots():
            total.update(slot.busy)
        return dict(total)

    def last_look(self) -> None:
        """Hear once more what the actors have done."""
        asked = {slot.actor.status.remote(): slot for slot in self.slots() if slot.ready}
        for ref in (
            ray.wait(list(asked), num_returns=len(asked), timeout=_GRACE)[0] if asked else ()
        ):
            with suppress(RayActorError):
                asked[ref].frames, asked[ref].busy = ray.get(ref)

    def slots(self) -> Iterator[_Slot]:
        """Yield the living actors."""
        yield from self._slots.values()

    def close(self, job: str) -> None:
        """Forget an input that has ended."""
        self._scheduler.drop(job)
        if self._jobs.pop(job, None) is not None:
            for slot in self.slots():
                if slot.ready:
                    slot.actor.close.remote(job)

    def stop(self) -> None:
        """End every actor: politely, so that its threads close their files, then for certain."""
        stops = [slot.actor.stop.remote() for slot in self.slots() if slot.about]
        if stops:
            ray.wait(stops, num_returns=len(stops), timeout=_GRACE)
        for slot in self.slots():
            ray.kill(slot.actor)
        self._slots = {}

    def _staff(self) -> None:
        """Start actors up to what the cluster has and the work is worth."""
        if time.monotonic() - self._looked >= _LOOK_AROUND:
            self._looked = time.monotonic()
            self._most = self._demand.most()
        missing = min(self._most, self._scheduler.wanted()) - len(self._slots)
        for _ in range(missing):
            self._start()

    def _start(self) -> None:
        blocked = sorted(self._scheduler.blocked())
        labels = {"ray.io/node-id": f"!in({','.join(blocked)})"} if blocked else {}
        if self._demand.accelerator:
            labels[ACCELERATOR] = self._demand.accelerator
        remote: Any = ray.remote(  # type: ignore[call-overload]
            num_cpus=1,
            num_gpus=int(self._demand.gpu),
            max_restarts=0,
            max_task_retries=0,
            scheduling_strategy="SPREAD",
            label_selector=labels,
            concurrency_groups={"work": self._scheduler.policy.in_flight, "control": 1},
        )
        self._started += 1
        actor = remote(SegmentActor).remote()
        slot = _Slot(f"w{self._started}", actor, time.monotonic() + self._demand.timeout)
        self._slots[slot.name] = slot
        self._call(slot, "about")

    def _call(self, slot: _Slot, method: str, *args: object, task: Task | None = None) -> None:
        self._calls[getattr(slot.actor, method).remote(*args)] = method, slot, task

    def _collect(self, ref: Any) -> None:
        method, slot, task = self._calls.pop(ref)
        if slot.name not in self._slots:
            return
        try:
            answer = ray.get(ref)
        except RayActorError as error:
            self._bury(slot, error)
            return
        except RayError as error:
            raise StageError(f"ray: {method} failed on an actor: {first_line(error)}") from error
        if task is not None:
            self._take(slot, task, answer)
        elif method == "status":
            slot.frames, slot.busy = answer
        elif method == "about":
            self._placed(slot, answer)
        elif isinstance(answer, PipelineError):
            raise answer
        else:
            slot.ready, self.engine = True, answer
            slot.used = time.monotonic()
            assert slot.about is not None
            self._scheduler.joined(slot.name, kind=slot.about.kind, node=slot.about.node)

    def _placed(self, slot: _Slot, about: About) -> None:
        slot.about = about
        wished = self._demand.accelerator
        if wished and about.kind != wished:
            raise InputError(
                f"found a {about.kind or 'CPU'} on {about.host}, expected {wished}; its node "
                f"carries a wrong label {ACCELERATOR}"
            )
        setup = next((job.shipped for job in self._jobs.values()), None)
        if setup is None:  # all work ended meanwhile
            del self._slots[slot.name]
            ray.kill(slot.actor)
        else:
            self._call(slot, "prepare", setup)

    def _take(self, slot: _Slot, task: Task, answer: SegmentRecord | PipelineError) -> None:
        job, index = task
        slot.used = time.monotonic()
        about = self._about(slot, job, index)
        if isinstance(answer, PipelineError):
            logger.info("segment %d failed: %s", index, answer, extra=about)
            self._metrics.count("failures")
            given_up = self._scheduler.failed(slot.name, task)
            if job in self._jobs and (given_up or isinstance(answer, InputError)):
                self._fail(job, answer)
            return
        first = self._scheduler.done(slot.name, task, slot.used)
        slot.committed[job] += answer.frames
        logger.info("segment %d is done", index, extra=about)
        if first:
            self._commit(job, answer)

    def _commit(self, job: str, record: SegmentRecord) -> None:
        ledger = self._jobs[job].ledger
        ledger.fetch_segment(record.segment)
        if not ledger.folder.record_path(record.segment).exists():
            shared = f"segment {record.segment} was committed on another machine but is not in "
            shared += f"{ledger.folder.path}; put the output on a file system all nodes share"
            self._fail(job, StageError(shared))
            return
        ledger.add_record(record)
        self._metrics.count("segments_done")
        if not ledger.pending_segments():
            self._ended.append((job, None))

    def _fail(self, job: str, error: PipelineError) -> None:
        self._scheduler.drop(job)
        self._ended.append((job, error))

    def _bury(self, slot: _Slot, error: RayActorError) -> None:
        """Let a dead actor's segments be done again; `_staff` starts another in its place."""
        logger.info("actor on %s died: %s", slot.about, first_line(error))
        del self._slots[slot.name]
        self._busy_of_dead.update(slot.busy)
        if not slot.ready:
            loading = [s.about.node for s in self.slots() if s.about and not s.ready]
            node, now = slot.about.node if slot.about else "", time.monotonic()
            if self._scheduler.died_unready(node, loading, now):
                raise StageError(f"ray: actors die while loading the engine: {first_line(error)}")
            self._progress.note("an actor died while loading the engine; another takes its place")
            return
        running = self._scheduler.running(slot.name)
        for task in running:
            job = self._jobs.get(task[0])
            record = job.ledger.folder.read_record(task[1]) if job else None
            # it may have died between the commit and the answer
            if record is not None and self._scheduler.done(slot.name, task, time.monotonic()):
                self._commit(task[0], record)
        lost = self._scheduler.running(slot.name)
        given_up = self._scheduler.left(slot.name)
        for job_name, index in given_up:
            ledger = self._jobs[job_name].ledger
            self._fail(
                job_name,
                StageError(
                    f"segment {index} took {self._scheduler.policy.attempts} actors down with it: "
                    f"{first_line(error)}; {len(ledger.records)} of "
                    f"{len(ledger.plan.segments)} segments are committed, run the same command "
                    "again to resume"
                ),
            )
        again = len(lost) - len(given_up)
        self._metrics.count("failures", len(lost))
        self._progress.note(f"an actor died; {again} segments are done again by another one")

    def _check_placement(self) -> None:
        now = time.monotonic()
        late = [s for s in self.slots() if not s.about and now > s.deadline]
        if not late:
            return
        for slot in late:
            slot.deadline = now + self._demand.timeout
        new = {slot.name for slot in late} - self._waited
        self._waited |= new
        if any(slot.about for slot in self.slots()):
            if new:
                self._progress.note(f"{len(new)} actors wait for a place; going on without them")
        elif coming := nodes_coming():
            self._progress.note(f"waiting for {coming} nodes that the cluster starts")
        else:
            raise self._demand.unplaced()

    def _release(self) -> None:
        """End actors that will have nothing to do, so that a cluster which can shrink does."""
        policy, now = self._scheduler.policy, time.monotonic()
        surplus = len(self._slots) - policy.copies * self._scheduler.unfinished
        for slot in list(self.slots())[::-1]:
            if surplus <= 0:
                return
            # one that is being loaded is let be: its death would count as the engine's fault
            idle = slot.ready and not self._scheduler.running(slot.name)
            if (idle and now - slot.used > self._demand.release) or not slot.about:
                logger.info("%s ends for want of work", slot.about, extra=self._about(slot))
                if slot.ready:
                    self._scheduler.left(slot.name, blame=False)
                self._busy_of_dead.update(slot.busy)
                del self._slots[slot.name]
                ray.kill(slot.actor)
                surplus -= 1

    def _ask_status(self) -> None:
        now = time.monotonic()
        every = max(_STATUS_EVERY, len(self._slots) / _STATUS_RATE)
        under_way = {slot.name for method, slot, _ in self._calls.values() if method == "status"}
        for slot in self.slots():
            if slot.ready and now - slot.asked >= every and slot.name not in under_way:
                slot.asked = now
                self._call(slot, "status")

    def _about(self, slot: _Slot, job: str = "-", segment: int | None = None) -> dict[str, object]:
        """Return what a log line is about; a job that has ended has no run."""
        run = self._jobs[job].setup.plan if job in self._jobs else None
        named = run and (redact_url(run.output_url) if run.output_url else run.output)
        return {"run": named, "segment": segment, "node": slot.about and slot.about.host}


@dataclass(frozen=True)
class RayReport:
    """What the actors said about themselves."""

    engine: EngineInfo
    busy: dict[str, float]


def run_on_ray(ledger: Ledger, setup: Setup, progress: Reporter, demand: Demand) -> RayReport:
    """Run the missing segments of one ledger, at least one; what is committed is kept in errors."""
    pool = RayPool(demand, progress)
    try:
        pool.add("", ledger, setup)
        while True:
            ended = pool.step()
            progress.update(pool.frames(""), pool.busy())
            for _, error in ended:
                if error is not None:
                    raise error
                assert pool.engine is not None
                pool.last_look()
                return RayReport(pool.engine, pool.busy())
    finally:
        pool.stop()
