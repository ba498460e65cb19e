"""Who does which segment next: decisions from events, without Ray, clock or files.

The caller says what happened (a worker joined or left, a segment is done or failed) and when, and
asks `decide` what to start. Near the end idle workers take over what would be late: the segment
runs twice and its first commit counts.
"""

from __future__ import annotations

import heapq
from collections import Counter, deque
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

Task = tuple[str, int]
"""The input a segment belongs to, and the segment's index."""
_FEW = 64
"""Old entries of a heap that are never worth tidying up."""


@dataclass(frozen=True)
class Policy:
    """What the scheduler may do."""

    in_flight: int = 2
    """Segments on one worker: the second is decoded while the first is still being encoded."""
    attempts: int = 3
    """Failures of one segment, or deaths of its workers, after which it is given up."""
    strikes: int = 3
    """Failures on one node, without a success between, after which it gets no more work."""
    noticed: float = 60.0
    """Seconds within which the death of a node is noticed; until then workers are placed there."""
    hopeless: float = 600.0
    """Seconds of deaths while loading after which a node where none died yet is no hope either."""
    copies: int = 2
    """Workers on one segment at a time."""
    gain: float = 0.8
    """A copy is started where it should need less than this part of the time the first needs."""
    overdue: float = 2.0
    """A segment is a straggler when it has taken this many times what was expected."""


@dataclass(frozen=True)
class Assignment:
    """Start `task` on `worker`; attempts count from 1, copies included."""

    worker: str
    task: Task
    attempt: int


@dataclass
class _Worker:
    kind: str
    node: str
    running: dict[Task, float] = field(default_factory=dict)
    """Tasks in the order they were given, and when each should be done."""
    pace: float | None = None
    """Measured seconds for a unit of cost."""
    since: float = 0.0
    """When it last finished something, or was given work while idle."""


@dataclass
class _Item:
    cost: float
    attempts: int = 0
    failures: int = 0
    avoid: set[str] = field(default_factory=set)
    """Workers that failed it."""
    on: list[str] = field(default_factory=list)
    """Workers that have it now."""


@dataclass
class _Job:
    queue: deque[int]
    served: float
    """Cost given out so far: the input with the least of it is next."""


class Scheduler:
    """Decide assignments; every method is cheap with thousands of workers."""

    def __init__(self, policy: Policy | None = None) -> None:
        self.policy = policy or Policy()
        self._items: dict[Task, _Item] = {}
        """Everything that is neither done nor dropped."""
        self._jobs: dict[str, _Job] = {}
        self._turns: list[tuple[float, str]] = []
        """Heap of (served, job); an entry whose number is out of date is renewed when met."""
        self._again: list[Task] = []
        """Tasks to be repeated, which go before fresh ones."""
        self._queued = 0
        self._workers: dict[str, _Worker] = {}
        self._loads: list[dict[str, None]] = [{} for _ in range(self.policy.in_flight + 1)]
        """Usable workers by how many segments they have; dicts stand for ordered sets."""
        self._late: list[tuple[float, Task, str]] = []
        """Heap of (minus the expected end, task, worker); old entries are skipped."""
        self._due: list[tuple[float, Task, str]] = []
        """Heap of (when it becomes a straggler, task, worker)."""
        self._strikes: Counter[str] = Counter()
        self._unready_deaths: list[tuple[float, str]] = []
        """When and on which node workers died before they joined, since there is no other."""
        self._paces: dict[str, float] = {}
        """Mean seconds for a unit of cost by kind of worker; "" is the mean of all."""

    @property
    def unfinished(self) -> int:
        """Return how many segments are neither done nor dropped."""
        return len(self._items)

    def wanted(self) -> int:
        """Return how many workers would have something to do: what an autoscaler is asked for."""
        return len(self._items)

    def running(self, worker: str) -> list[Task]:
        """Return what a worker has, in the order it was given."""
        return list(self._workers[worker].running)

    def blocked(self) -> frozenset[str]:
        """Return the nodes that get no more work."""
        bad = {node for node, count in self._strikes.items() if count >= self.policy.strikes}
        if not bad:
            return frozenset()
        nodes = {worker.node for worker in self._workers.values()}
        # with all of them bad there is nowhere else to go: segments run out of attempts instead
        return frozenset(bad) if nodes - bad else frozenset()

    def add(self, job: str, segments: Mapping[int, float]) -> None:
        """Take an input's segments: index -> cost in frames."""
        # a newcomer neither waits for the others' past nor is made up for it
        served = min((j.served for j in self._jobs.values() if j.queue), default=0.0)
        self._jobs[job] = _Job(deque(segments), served)
        heapq.heappush(self._turns, (served, job))
        for index, cost in segments.items():
            self._items[job, index] = _Item(cost)
        self._queued += len(segments)

    def drop(self, job: str) -> None:
        """Forget an input: what runs of it ends without being waited for."""
        entry = self._jobs.pop(job, None)
        if entry is None:
            return
        again = [task for task in self._again if task[0] == job]
        self._queued -= len(entry.queue) + len(again)
        self._again = [task for task in self._again if task[0] != job]
        for task in [task for task in self._items if task[0] == job]:
            del self._items[task]

    def joined(self, worker: str, *, kind: str = "", node: str = "") -> None:
        """Take a worker that is ready."""
        self._workers[worker] = _Worker(kind, node or worker)
        self._loads[0][worker] = None
        self._unready_deaths.clear()

    def left(self, worker: str, *, blame: bool = True) -> list[Task]:
        """Requeue what a worker had; `blame` it where the worker died. Returns what is given up."""
        gone = self._workers.pop(worker)
        for load in self._loads:
            load.pop(worker, None)
        if blame:
            self.strike(gone.node)
        given_up = []
        for task in reversed(gone.running):
            item = self._items.get(task)
            if item is None:
                continue  # the copy that came too late
            item.on.remove(worker)
            if self._requeue(task, item, blame=blame):
                given_up.append(task)
        return given_up

    def strike(self, node: str) -> None:
        """Count a failure against a node."""
        self._strikes[node] += 1

    def died_unready(self, node: str, loading: Iterable[str], now: float) -> bool:
        """Count a worker that died before it joined, on `node` if that is known ("").

        True: nothing is to be hoped for. A node that dies takes several along, and gets new ones
        until its death is noticed: the run goes on for as long as that may take, or a worker is
        there, or one is `loading` on a node where none died; but not for ever, as an engine that
        takes its nodes down gets new ones, too.
        """
        if node:
            self.strike(node)
        if self._workers:
            self._unready_deaths.clear()
            return False
        self._unready_deaths.append((now, node))
        since = now - self._unready_deaths[0][0]
        nodes = {died_on for _, died_on in self._unready_deaths}
        hope = any(other not in nodes for other in loading) and since < self.policy.hopeless
        enough = len(self._unready_deaths) >= self.policy.attempts
        return enough and not hope and since >= self.policy.noticed

    def failed(self, worker: str, task: Task) -> bool:
        """Requeue a task its worker could not do, for another one; True if it is given up."""
        self._release(worker, task)
        item = self._items.get(task)
        if item is None:
            return False
        self.strike(self._workers[worker].node)
        item.avoid.add(worker)
        return self._requeue(task, item, blame=True)

    def done(self, worker: str, task: Task, now: float) -> bool:
        """Note that a worker ended a task well; False if it was done or dropped before."""
        self._release(worker, task)
        entry = self._workers[worker]
        self._strikes.pop(entry.node, None)
        item = self._items.pop(task, None)
        if item is None:
            entry.since = now
            return False
        self._measure(entry, item.cost, now)
        return True

    def decide(self, now: float) -> list[Assignment]:
        """Return what to start at `now`, and take it as started."""
        started: list[Assignment] = []
        blocked = self.blocked()
        for load in range(self.policy.in_flight):
            if load and self._queued < len(self._workers):
                break  # near the end what waits behind another segment waits too long
            for worker in list(self._loads[load]):
                if not self._queued:
                    break
                if self._workers[worker].node in blocked:
                    continue
                task = self._next(worker)
                if task is not None:
                    started.append(self._start(worker, task, now))
        if not self._queued and self._loads[0]:
            started += self._copies(now, blocked)
        return started

    def _next(self, worker: str) -> Task | None:
        """Take the next task for a worker out of the queues."""
        running = self._workers[worker].running
        if any(task in self._items and self._items[task].failures for task in running):
            return None  # a suspect runs alone: only it is to blame for what happens
        for task in self._again:
            item = self._items[task]
            others = len(self._workers) - len(item.avoid & self._workers.keys())
            if (worker not in item.avoid or not others) and not (item.failures and running):
                self._again.remove(task)
                self._queued -= 1
                return task
        while self._turns:
            served, name = self._turns[0]
            job = self._jobs.get(name)
            if job is None or not job.queue:
                heapq.heappop(self._turns)
            elif job.served != served:
                heapq.heapreplace(self._turns, (job.served, name))
            else:
                index = job.queue.popleft()
                job.served += self._items[name, index].cost
                self._queued -= 1
                return name, index
        return None

    def _copies(self, now: float, blocked: frozenset[str]) -> list[Assignment]:
        """Give idle workers what others would finish too late."""
        idle = [w for w in self._loads[0] if self._workers[w].node not in blocked]
        started = []
        for worker in sorted(idle, key=lambda name: (self._pace(name) or 0.0, name)):
            pace = self._pace(worker)
            if pace is None or (task := self._latest(worker, pace, now)) is None:
                break
            started.append(self._start(worker, task, now))
        return started

    def _latest(self, worker: str, pace: float, now: float) -> Task | None:
        """Return the straggler, else the last to end, that `worker` would do sooner."""
        while self._due and self._due[0][0] <= now:
            _, task, _ = entry = heapq.heappop(self._due)
            if self._may_copy(*entry[1:]) and worker not in self._items[task].avoid:
                return task
        while self._late:
            end, task, owner = -self._late[0][0], *self._late[0][1:]
            if not self._may_copy(task, owner):
                heapq.heappop(self._late)
                continue
            if self._items[task].cost * pace < self.policy.gain * (end - now):
                return task
            return None
        return None

    def _may_copy(self, task: Task, owner: str) -> bool:
        return self._runs(task, owner) and len(self._items[task].on) < self.policy.copies

    def _start(self, worker: str, task: Task, now: float) -> Assignment:
        entry, item = self._workers[worker], self._items[task]
        item.attempts += 1
        item.on.append(worker)
        before = max(entry.running.values(), default=now)
        if not entry.running:
            entry.since = now
        pace = self._pace(worker)
        if pace is None:
            entry.running[task] = now
        else:
            expected = item.cost * pace
            end = entry.running[task] = max(before, now) + expected
            heapq.heappush(self._late, (-end, task, worker))
            straggling = end + (self.policy.overdue - 1) * expected
            heapq.heappush(self._due, (straggling, task, worker))
            self._tidy()
        self._move(worker)
        return Assignment(worker, task, item.attempts)

    def _tidy(self) -> None:
        """Forget old entries of the heaps now and then, not all at once when they are looked at."""
        most = 2 * self.policy.in_flight * len(self._workers) + _FEW
        for heap in (self._late, self._due):
            if len(heap) > most:
                heap[:] = [entry for entry in heap if self._runs(*entry[1:])]
                heapq.heapify(heap)

    def _runs(self, task: Task, worker: str) -> bool:
        item = self._items.get(task)
        return item is not None and worker in item.on

    def _pace(self, worker: str) -> float | None:
        entry = self._workers[worker]
        return entry.pace or self._paces.get(entry.kind) or self._paces.get("")

    def _measure(self, worker: _Worker, cost: float, now: float) -> None:
        # the next one in flight has been waiting for this one: it starts to count now
        pace = max(now - worker.since, 1e-9) / max(cost, 1e-9)
        worker.since = now
        worker.pace = pace if worker.pace is None else 0.7 * worker.pace + 0.3 * pace
        for kind in {worker.kind, ""}:
            mean = self._paces.get(kind)
            self._paces[kind] = pace if mean is None else 0.95 * mean + 0.05 * pace

    def _release(self, worker: str, task: Task) -> None:
        del self._workers[worker].running[task]
        if (item := self._items.get(task)) is not None:
            item.on.remove(worker)
        self._move(worker)

    def _move(self, worker: str) -> None:
        for load in self._loads:
            load.pop(worker, None)
        self._loads[len(self._workers[worker].running)][worker] = None

    def _requeue(self, task: Task, item: _Item, *, blame: bool) -> bool:
        item.failures += blame
        if item.on:
            return False  # its copy is still at work
        if item.failures >= self.policy.attempts:
            del self._items[task]
            return True
        self._again.insert(0, task)
        self._queued += 1
        return False
