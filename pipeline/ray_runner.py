"""Run segments on Ray actors: a small scheduler which replaces dead actors and requeues their work.

Only descriptors travel. Ray's own retries are off (`max_restarts=0`, `max_task_retries=0`): a
segment is committed by its record, so a repeated attempt is harmless and ours to decide about.
"""

from __future__ import annotations

import logging
import time
from collections import Counter, deque
from dataclasses import dataclass, field
from typing import Any

import ray
from ray.exceptions import RayActorError, RayError

from deploy.protocol import EngineInfo
from pipeline.errors import PipelineError, StageError
from pipeline.ledger import Ledger
from pipeline.progress import Reporter
from pipeline.ray_actor import SegmentActor, Setup
from pipeline.runner import POLL, frames_committed
from pipeline.schema import SegmentRecord
from pipeline.stages import SegmentTask, tasks

logger = logging.getLogger(__name__)

IN_FLIGHT = 2
"""Segments on one actor: the second is decoded while the first is still being encoded."""
ATTEMPTS = 3
PLACEMENT_TIMEOUT = 60.0
"""Seconds to wait for an actor to be placed; an unsatisfiable request waits silently in Ray."""
_GRACE = 1.5


@dataclass(frozen=True)
class RayReport:
    """What the actors said about themselves."""

    engine: EngineInfo
    busy: dict[str, float]


@dataclass
class _Slot:
    """An actor and what is known of it."""

    actor: Any
    deadline: float
    placed: bool = False
    ready: bool = False
    tasks: dict[int, SegmentTask] = field(default_factory=dict)
    frames: int = 0
    """Frames encoded by this actor, as it last said."""
    committed: int = 0
    """Frames of segments it has committed."""
    busy: dict[str, float] = field(default_factory=dict)


class RayRunner:
    """Run the missing segments of a ledger on actors; the cluster must be connected."""

    def __init__(
        self,
        ledger: Ledger,
        setup: Setup,
        progress: Reporter,
        *,
        workers: int | None = None,
        placement_timeout: float = PLACEMENT_TIMEOUT,
    ) -> None:
        self._ledger = ledger
        self._setup = setup
        self._progress = progress
        self._placement_timeout = placement_timeout
        resources: dict[str, float] = ray.cluster_resources()  # type: ignore[no-untyped-call]
        self._gpus = 1 if resources.get("GPU", 0) >= 1 and setup.engine != "bicubic" else 0
        nodes = [n for n in ray.nodes() if n["Alive"]]  # type: ignore[no-untyped-call]
        count = workers or (int(resources["GPU"]) if self._gpus else max(1, len(nodes)))
        self._queue = deque(tasks(ledger.plan, ledger.todo()))
        self._count = min(count, len(self._queue))
        self._attempts: Counter[int] = Counter()
        self._setup_deaths = 0
        self._slots: list[_Slot] = []
        self._refs: dict[Any, tuple[str, _Slot, int]] = {}
        """Calls under way: what was called, on which slot, for which segment (-1: none)."""
        self._busy_of_dead: Counter[str] = Counter()
        self._before = frames_committed(ledger)
        self._engine: EngineInfo | None = None

    def run(self) -> RayReport:
        """Run the missing segments, at least one; raises StageError with what is committed kept."""
        try:
            self._slots = [self._start() for _ in range(self._count)]
            while self._queue or any(slot.tasks for slot in self._slots):
                self._fill()
                done, _ = ray.wait(list(self._refs), timeout=POLL, fetch_local=False)
                for ref in done:
                    self._collect(ref)
                self._check_placement()
                self._report()
            assert self._engine is not None
            return RayReport(self._engine, self._busy())
        finally:
            self._stop()

    def _start(self) -> _Slot:
        remote: Any = ray.remote(  # type: ignore[call-overload]
            num_cpus=1,
            num_gpus=self._gpus,
            max_restarts=0,
            max_task_retries=0,
            scheduling_strategy="SPREAD",
            concurrency_groups={"work": IN_FLIGHT, "control": 1},
        )
        actor = remote(SegmentActor).remote()
        slot = _Slot(actor, time.monotonic() + self._placement_timeout)
        self._call(slot, "status")
        return slot

    def _call(self, slot: _Slot, method: str, *args: object, segment: int = -1) -> None:
        ref = getattr(slot.actor, method).remote(*args)
        self._refs[ref] = (method, slot, segment)

    def _fill(self) -> None:
        """Give each ready actor work, first those with the least of it."""
        for depth in range(1, IN_FLIGHT + 1):
            for slot in self._slots:
                if slot.ready and self._queue and len(slot.tasks) < depth:
                    task = self._queue.popleft()
                    slot.tasks[task.segment.index] = task
                    self._attempts[task.segment.index] += 1
                    self._call(slot, "run", task, segment=task.segment.index)

    def _collect(self, ref: Any) -> None:
        method, slot, segment = self._refs.pop(ref)
        if slot not in self._slots:
            return
        try:
            answer = ray.get(ref)
        except RayActorError as error:
            self._replace(slot, error)
            return
        except RayError as error:
            raise StageError(f"ray: {method} failed on an actor: {_first_line(error)}") from error
        if isinstance(answer, PipelineError):
            raise answer
        if method == "status":
            self._take_status(slot, answer)
        elif method == "setup":
            slot.ready, self._engine, self._setup_deaths = True, answer, 0
        else:
            self._take_record(slot, segment, answer)

    def _take_status(self, slot: _Slot, answer: tuple[int, dict[str, float]]) -> None:
        slot.frames, slot.busy = answer
        if not slot.placed:
            slot.placed = True
            self._call(slot, "setup", self._setup)

    def _take_record(self, slot: _Slot, segment: int, record: SegmentRecord) -> None:
        if not self._ledger.folder.record_file(segment).exists():
            raise StageError(
                f"segment {segment} was committed on another machine but is not in "
                f"{self._ledger.folder.path}; put the output on a file system all nodes share"
            )
        del slot.tasks[segment]
        slot.committed += record.frames
        self._ledger.add(record)

    def _replace(self, slot: _Slot, error: RayActorError) -> None:
        """Requeue a dead actor's segments and start another actor in its place."""
        logger.debug("actor died: %s", error)
        self._slots.remove(slot)
        self._busy_of_dead.update(slot.busy)
        if not slot.ready:
            self._setup_deaths += 1
            if self._setup_deaths >= ATTEMPTS:
                raise StageError(
                    f"ray: {ATTEMPTS} actors died while loading the engine: {_first_line(error)}"
                )
        for index in sorted(slot.tasks, reverse=True):
            if self._ledger.folder.record_file(index).exists():
                record = self._ledger.folder.record(index)
                if record is not None:  # it died between the commit and the answer
                    self._ledger.add(record)
                    continue
            if self._attempts[index] >= ATTEMPTS:
                raise StageError(
                    f"segment {index} took {ATTEMPTS} actors down with it: {_first_line(error)}; "
                    f"{len(self._ledger.records)} of {len(self._ledger.plan.segments)} segments "
                    "are committed, run the same command again to resume"
                )
            self._queue.appendleft(slot.tasks[index])
        self._progress.note(
            f"an actor died; {len(slot.tasks)} segments are done again by another one"
        )
        self._slots.append(self._start())

    def _check_placement(self) -> None:
        late = [s for s in self._slots if not s.placed and time.monotonic() > s.deadline]
        if not late:
            return
        if any(slot.placed for slot in self._slots):
            self._progress.note(f"{len(late)} actors could not be placed; going on without them")
            for slot in late:
                self._slots.remove(slot)
                ray.kill(slot.actor)
            return
        free: dict[str, float] = ray.available_resources()  # type: ignore[no-untyped-call]
        raise PipelineError(
            f"no actor could be placed within {self._placement_timeout:g} s: each needs 1 CPU and "
            f"{self._gpus} GPU, free are {free.get('CPU', 0):g} CPU and {free.get('GPU', 0):g} GPU;"
            " wait for other work to end, or try --runner inline"
        )

    def _busy(self) -> dict[str, float]:
        total = Counter(self._busy_of_dead)
        for slot in self._slots:
            total.update(slot.busy)
        return dict(total)

    def _report(self) -> None:
        asked = {id(slot) for method, slot, _ in self._refs.values() if method == "status"}
        for slot in self._slots:
            if slot.ready and id(slot) not in asked:
                self._call(slot, "status")
        # frames of a dead actor's open segments are lost, so they are not counted
        under_way = sum(max(0, slot.frames - slot.committed) for slot in self._slots)
        self._progress.update(frames_committed(self._ledger) + under_way, self._busy())

    def _stop(self) -> None:
        """End every actor: politely, so that its threads close their files, then for certain."""
        stops = [slot.actor.stop.remote() for slot in self._slots if slot.placed]
        if stops:
            ray.wait(stops, num_returns=len(stops), timeout=_GRACE)
        for slot in self._slots:
            ray.kill(slot.actor)
        self._slots = []


def _first_line(error: Exception) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[0] if lines else type(error).__name__
