"""Start, place, call, watch and end the Ray actors of a run.

Ray's own retries are off (`max_restarts=0`, `max_task_retries=0`), because the scheduler decides
whether to repeat an attempt. Repeating one is harmless, because a segment counts as done only once
its record exists.
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
from ray.exceptions import RayActorError

from deploy.protocol import EngineInfo
from pipeline.errors import InputError, count_items
from pipeline.execution.cluster.actor import (
    ACCELERATOR_LABEL,
    ActorPlacement,
    InputStatus,
    SegmentActor,
)
from pipeline.execution.cluster.actor_request import ActorRequest, count_starting_nodes
from pipeline.execution.cluster.scheduler import Task
from pipeline.progress import Reporter

logger = logging.getLogger(__name__)

_NODES_INTERVAL_SECONDS = 10.0  # time between two counts of the cluster's nodes
_GRACE_SECONDS = 1.5  # longest wait for the actors' final answers
_STATUS_INTERVAL_SECONDS = 0.5  # minimum time between two status requests to an actor
_STATUS_RATE = 200.0  # maximum number of requests per second; each takes the driver about 1 ms


@dataclass
class Slot:
    """An actor, and what the driver knows about its state."""

    name: str
    actor: Any
    deadline: float
    """Time on the monotonic clock after which the actor counts as late if Ray has not placed it."""
    placement: ActorPlacement | None = None
    """Where the actor runs; None until Ray has placed it."""
    ready: bool = False
    """Whether the actor has loaded the engine."""
    used_at: float = 0.0
    """Time on the monotonic clock when the actor last started or finished a segment."""
    requested_at: float = 0.0
    """Time on the monotonic clock of the last request for the actor's status."""
    status: dict[str, InputStatus] = field(default_factory=dict)
    """The actor's last report, by input."""
    committed: Counter[str] = field(default_factory=Counter)
    """Number of frames in the segments that the actor has committed, by input."""


@dataclass(frozen=True)
class Call:
    """A call to an actor's method that has not been answered yet."""

    method: str
    slot: Slot
    task: Task | None = None


class Actors:
    """The living actors of a run on the connected cluster, and the calls to them in progress.

    `kind` is the class of the actors: SegmentActor or a subclass of it.
    """

    def __init__(
        self,
        request: ActorRequest,
        progress: Reporter,
        *,
        in_flight: int,
        kind: type[SegmentActor] = SegmentActor,
    ) -> None:
        self.request = request
        self._progress = progress
        self._in_flight = in_flight
        self._kind = kind
        self._slots: dict[str, Slot] = {}
        self._calls: dict[Any, Call] = {}
        self._started = 0
        self._max_actors = 0
        self._counted_at = -_NODES_INTERVAL_SECONDS
        self._late: set[str] = set()
        """Names of the late actors about which the user has been informed."""
        self._busy_of_ended: dict[str, Counter[str]] = {}
        """Busy seconds of ended actors, by input and stage."""
        self._engines: dict[str, EngineInfo] = {}
        """The engine of the latest report from any actor, by input."""

    def __len__(self) -> int:
        return len(self._slots)

    def __iter__(self) -> Iterator[Slot]:
        return iter(list(self._slots.values()))

    def __contains__(self, slot: Slot) -> bool:
        return slot.name in self._slots

    def get(self, name: str) -> Slot:
        """Return the living actor with this name."""
        return self._slots[name]

    @property
    def max_actors(self) -> int:
        """The maximum number of actors, as of the last count of the cluster's nodes."""
        return self._max_actors

    def start_missing(self, wanted: int, blocked: frozenset[str]) -> None:
        """Start actors until there are `wanted` of them or the maximum; use no `blocked` nodes."""
        if time.monotonic() - self._counted_at >= _NODES_INTERVAL_SECONDS:
            self._counted_at = time.monotonic()
            self._max_actors = self.request.max_actors()

        for _ in range(min(self._max_actors, wanted) - len(self._slots)):
            self._start(blocked)

    def _start(self, blocked: frozenset[str]) -> None:
        labels = {}
        if blocked:
            labels["ray.io/node-id"] = f"!in({','.join(sorted(blocked))})"
        if self.request.accelerator:
            labels[ACCELERATOR_LABEL] = self.request.accelerator

        remote: Any = ray.remote(  # type: ignore[call-overload]
            num_cpus=1,
            num_gpus=int(self.request.gpu),
            max_restarts=0,
            max_task_retries=0,
            scheduling_strategy="SPREAD",
            label_selector=labels,
            concurrency_groups={"work": self._in_flight, "control": 1},
        )

        self._started += 1
        actor = remote(self._kind).remote()
        slot = Slot(f"w{self._started}", actor, time.monotonic() + self.request.timeout)
        self._slots[slot.name] = slot
        self.call(slot, "locate")

    def call(self, slot: Slot, method: str, *arguments: object, task: Task | None = None) -> None:
        """Call a method of an actor; `wait` yields the call once it has ended."""
        ref = getattr(slot.actor, method).remote(*arguments)
        self._calls[ref] = Call(method, slot, task)

    def wait(self, timeout: float) -> Iterator[tuple[Call, Any]]:
        """Yield the finished calls to living actors, with references to their answers.

        If no call has finished yet, wait for one for at most `timeout` seconds.
        """
        done, _ = ray.wait(list(self._calls), timeout=timeout, fetch_local=False)
        for ref in done:
            call = self._calls.pop(ref)
            if call.slot in self:
                yield call, ref

    def place(self, slot: Slot, placement: ActorPlacement) -> None:
        """Record where an actor runs. Raises InputError if it has the wrong type of GPU."""
        slot.placement = placement
        expected = self.request.accelerator
        if expected and placement.kind != expected:
            raise InputError(
                f"Ray placed an actor that needs {expected} on {placement.host}, which has "
                f"{placement.kind or 'no GPU'}; correct the node's label {ACCELERATOR_LABEL}"
            )

    def check_placement(self) -> None:
        """Inform the user about actors that Ray has not placed in time.

        If no actor has been placed at all, the run waits as long as the cluster is starting nodes.
        Raises PipelineError if it is starting none.
        """
        now = time.monotonic()
        late = [slot for slot in self if not slot.placement and now > slot.deadline]
        if not late:
            return

        for slot in late:
            slot.deadline = now + self.request.timeout
        new = {slot.name for slot in late} - self._late
        self._late |= new

        if any(slot.placement for slot in self):
            if new:
                self._progress.note(
                    f"Ray has not placed {count_items(len(new), 'actor')} yet; the run continues "
                    "with the others"
                )
        elif count := count_starting_nodes():
            self._progress.note(
                f"waiting for {count_items(count, 'node')} that the cluster is starting"
            )
        else:
            raise self.request.unplaced_error()

    def request_status(self) -> None:
        """Request the status of each ready actor whose last request was long enough ago."""
        now = time.monotonic()
        interval = max(_STATUS_INTERVAL_SECONDS, len(self._slots) / _STATUS_RATE)
        under_way = {c.slot.name for c in self._calls.values() if c.method == "status"}

        for slot in self:
            if slot.ready and now - slot.requested_at >= interval and slot.name not in under_way:
                slot.requested_at = now
                self.call(slot, "status")

    def record_status(self, slot: Slot, status: dict[str, InputStatus]) -> None:
        """Record the status that an actor reported, by input."""
        slot.status = status
        self._engines |= {job: report.engine for job, report in status.items()}

    def refresh_status(self) -> None:
        """Wait briefly for a new status of every ready actor."""
        requests = {slot.actor.status.remote(): slot for slot in self if slot.ready}
        if not requests:
            return

        answered, _ = ray.wait(list(requests), num_returns=len(requests), timeout=_GRACE_SECONDS)
        for ref in answered:
            with suppress(RayActorError):
                self.record_status(requests[ref], ray.get(ref))

    def count_open_frames(self, job: str) -> int:
        """Return how many of an input's frames living actors have encoded but not yet committed."""
        count = 0
        for slot in self:
            if job in slot.status:
                count += max(0, slot.status[job].frames - slot.committed[job])
        return count

    def busy(self, job: str) -> dict[str, float]:
        """Return an input's busy seconds by stage, summed over all actors."""
        total = Counter(self._busy_of_ended.get(job, {}))
        for slot in self:
            if job in slot.status:
                total.update(slot.status[job].busy)
        return dict(total)

    def engine(self, job: str) -> EngineInfo | None:
        """Return the engine that an actor last reported for an input, or None if none has yet."""
        return self._engines.get(job)

    def bury(self, slot: Slot) -> None:
        """Forget a dead actor, but not its busy seconds."""
        del self._slots[slot.name]
        for job, report in slot.status.items():
            self._busy_of_ended.setdefault(job, Counter()).update(report.busy)

    def end(self, slot: Slot) -> None:
        """Kill an actor that has no work, and forget it."""
        self.bury(slot)
        ray.kill(slot.actor)

    def close(self, job: str) -> None:
        """Forget an input that has ended, and make all ready actors stop their workers for it."""
        self._busy_of_ended.pop(job, None)
        self._engines.pop(job, None)
        for slot in self:
            if slot.ready:
                slot.actor.close.remote(job)

    def stop(self) -> None:
        """Stop all actors, so that their threads close their files, and then kill them."""
        stops = [slot.actor.stop.remote() for slot in self if slot.placement]
        if stops:
            ray.wait(stops, num_returns=len(stops), timeout=_GRACE_SECONDS)
        for slot in self:
            ray.kill(slot.actor)
        self._slots = {}
