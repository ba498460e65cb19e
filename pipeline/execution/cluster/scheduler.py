"""The scheduler, which assigns segments to workers without using Ray, a clock or files.

The caller reports events (a worker joined or left, a segment is done or failed) and their times,
and calls `decide` to get the segments to start. Near the end, idle workers also run copies of
segments that would be late on their first worker; whichever is committed first counts.
"""

from __future__ import annotations

import heapq
from collections import Counter, deque
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

Task = tuple[str, int]  # an input, and the index of one of its segments

_MIN_HEAP_SIZE = 64  # heaps of up to this size are not searched for outdated entries


@dataclass(frozen=True)
class Policy:
    """The scheduler's limits, and the conditions under which it runs copies of segments."""

    in_flight: int = 2
    """Maximum number of segments on one worker: one is decoded while another is encoded."""
    attempts: int = 3
    """Number of failures, including deaths of its workers, after which a segment is abandoned."""
    strikes: int = 3
    """Number of consecutive failures after which a node gets no more work."""
    notice_seconds: float = 60.0
    """Seconds that Ray needs to notice a dead node; until then, Ray places new workers on it."""
    give_up_seconds: float = 600.0
    """Seconds after the first death during loading, after which the run gives up even if a worker
    is loading on a node without deaths."""
    copies: int = 2
    """Maximum number of workers that run the same segment at a time."""
    copy_gain: float = 0.8
    """A copy starts if its expected duration is below this share of the original's remaining time.
    """
    overdue: float = 2.0
    """A segment becomes a straggler after this multiple of its expected duration."""


@dataclass(frozen=True)
class Assignment:
    """A task to start on a worker. `attempt` counts the task's attempts from 1, copies included."""

    worker: str
    task: Task
    attempt: int


@dataclass
class _Worker:
    """A worker and its measured speed."""

    kind: str
    node: str
    running: dict[Task, float] = field(default_factory=dict)
    """The worker's tasks in the order of assignment, each with its expected end time."""
    pace: float | None = None
    """Measured seconds per unit of cost."""
    since: float = 0.0
    """Time when the worker last finished a task, or received one while idle."""


@dataclass
class _Item:
    """A segment that is neither done nor dropped."""

    cost: float
    attempts: int = 0
    failures: int = 0
    avoid: set[str] = field(default_factory=set)
    """Workers on which the segment failed."""
    on: list[str] = field(default_factory=list)
    """Workers that run the segment."""


@dataclass
class _Job:
    """An input and its waiting segments."""

    queue: deque[int]
    served: float
    """Total cost of the segments assigned so far; the input with the lowest total is next."""


class Scheduler:
    """Assigns segments to workers; every method is cheap even with thousands of workers."""

    def __init__(self, policy: Policy | None = None) -> None:
        self.policy = policy or Policy()
        self._items: dict[Task, _Item] = {}
        """The segments that are neither done nor dropped."""
        self._jobs: dict[str, _Job] = {}
        self._turns: list[tuple[float, str]] = []
        """Heap of (served, job) pairs; an outdated one is updated when it reaches the top."""
        self._again: list[Task] = []
        """Tasks to repeat, which are assigned before new tasks."""
        self._queued = 0
        """Number of tasks that wait for a worker, new and repeated."""
        self._workers: dict[str, _Worker] = {}
        self._loads: list[dict[str, None]] = [{} for _ in range(self.policy.in_flight + 1)]
        """The workers that run 0, 1, ... segments; the dicts are used as ordered sets."""
        self._late: list[tuple[float, Task, str]] = []
        """Heap of (negative expected end time, task, worker); outdated entries are skipped."""
        self._due: list[tuple[float, Task, str]] = []
        """Heap of (time when the task becomes a straggler, task, worker)."""
        self._strikes: Counter[str] = Counter()
        self._unready_deaths: list[tuple[float, str]] = []
        """Time and node of each death before joining; cleared when a worker joins."""
        self._paces: dict[str, float] = {}
        """Moving average of seconds per unit of cost, by kind of worker; "" means all kinds."""

    @property
    def unfinished(self) -> int:
        """The number of segments that are neither done nor dropped."""
        return len(self._items)

    def count_useful_workers(self) -> int:
        """Return the number of workers that could be busy: one per unfinished segment."""
        return len(self._items)

    def tasks_of(self, worker: str) -> list[Task]:
        """Return a worker's tasks in the order of their assignment."""
        return list(self._workers[worker].running)

    def blocked_nodes(self) -> frozenset[str]:
        """Return the nodes that get no more work because of their failures."""
        bad = {node for node, count in self._strikes.items() if count >= self.policy.strikes}
        if not bad:
            return frozenset()

        nodes = {worker.node for worker in self._workers.values()}
        # if all nodes are bad, block none: segments run out of attempts instead
        return frozenset(bad) if nodes - bad else frozenset()

    def add_job(self, job: str, segments: Mapping[int, float]) -> None:
        """Add an input; `segments` maps the index of each segment to its cost in frames."""
        # start with the others' lowest total, so that this input does not get all workers at first
        served = min((j.served for j in self._jobs.values() if j.queue), default=0.0)
        self._jobs[job] = _Job(deque(segments), served)
        heapq.heappush(self._turns, (served, job))

        for index, cost in segments.items():
            self._items[job, index] = _Item(cost)
        self._queued += len(segments)

    def drop_job(self, job: str) -> None:
        """Remove an input. The results of its running segments are ignored."""
        entry = self._jobs.pop(job, None)
        if entry is None:
            return

        again = [task for task in self._again if task[0] == job]
        self._queued -= len(entry.queue) + len(again)
        self._again = [task for task in self._again if task[0] != job]
        for task in [task for task in self._items if task[0] == job]:
            del self._items[task]

    def add_worker(self, worker: str, *, kind: str = "", node: str = "") -> None:
        """Add a worker that is ready."""
        self._workers[worker] = _Worker(kind, node or worker)
        self._loads[0][worker] = None
        self._unready_deaths.clear()

    def remove_worker(self, worker: str, *, blame: bool = True) -> list[Task]:
        """Remove a worker, requeue its tasks, and return those that are abandoned instead.

        A task of which a copy is still running is not requeued. With `blame`, for a worker that
        died, the removal counts as a failure of its tasks and of its node.
        """
        gone = self._workers.pop(worker)
        for load in self._loads:
            load.pop(worker, None)
        if blame:
            self._strikes[gone.node] += 1

        abandoned = []
        for task in reversed(gone.running):
            item = self._items.get(task)
            if item is None:
                continue  # another worker was faster, or the input was dropped
            item.on.remove(worker)
            if self._requeue(task, item, blame=blame):
                abandoned.append(task)
        return abandoned

    def record_unready_death(self, node: str, loading: Iterable[str], now: float) -> bool:
        """Record a worker that died before it joined, and return whether the run should give up.

        `node` is where the worker died ("" if it was not placed), and `loading` lists the nodes on
        which other workers are loading. The run gives up after `policy.attempts` such deaths, but
        not within `policy.notice_seconds` of the first one: a dying node kills several workers, and
        Ray places new ones on it until it notices that the node is dead. The run also continues
        while a worker is ready, or while one is loading on a node without deaths. It waits for such
        a node for at most `policy.give_up_seconds`, because an engine that crashes its nodes could
        otherwise get new nodes forever.
        """
        if node:
            self._strikes[node] += 1
        if self._workers:
            self._unready_deaths.clear()
            return False

        self._unready_deaths.append((now, node))
        since = now - self._unready_deaths[0][0]
        deadly = {died_on for _, died_on in self._unready_deaths}
        untried = any(other not in deadly for other in loading)
        hope = untried and since < self.policy.give_up_seconds
        enough = len(self._unready_deaths) >= self.policy.attempts
        return enough and not hope and since >= self.policy.notice_seconds

    def fail_task(self, worker: str, task: Task) -> bool:
        """Requeue a failed task for another worker, and return whether it is abandoned instead."""
        self._release(worker, task)
        item = self._items.get(task)
        if item is None:
            return False

        self._strikes[self._workers[worker].node] += 1
        item.avoid.add(worker)
        return self._requeue(task, item, blame=True)

    def complete_task(self, worker: str, task: Task, now: float) -> bool:
        """Record that a worker finished a task, and return whether to use its result.

        The result is not used if another worker finished the task earlier, or if the task's input
        was dropped.
        """
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
        """Return the tasks to start at `now`, and record them as started."""
        started: list[Assignment] = []
        blocked = self.blocked_nodes()

        for load in range(self.policy.in_flight):
            if load and self._queued < len(self._workers):
                break  # near the end, a segment that waits behind another one would start too late
            for worker in list(self._loads[load]):
                if not self._queued:
                    break
                if self._workers[worker].node in blocked:
                    continue
                task = self._take_next(worker)
                if task is not None:
                    started.append(self._start(worker, task, now))

        if not self._queued and self._loads[0]:
            started += self._start_copies(now, blocked)
        return started

    def _take_next(self, worker: str) -> Task | None:
        """Remove and return the next task for a worker, or None if there is none."""
        running = self._workers[worker].running
        if any(task in self._items and self._items[task].failures for task in running):
            # a suspect task runs alone, so that no other task is blamed for its failure
            return None

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

    def _start_copies(self, now: float, blocked: frozenset[str]) -> list[Assignment]:
        """Start copies, on idle workers, of tasks that other workers would finish too late."""
        idle = [w for w in self._loads[0] if self._workers[w].node not in blocked]
        started = []
        for worker in sorted(idle, key=lambda name: (self._pace(name) or 0.0, name)):
            pace = self._pace(worker)
            if pace is None or (task := self._find_late(worker, pace, now)) is None:
                break
            started.append(self._start(worker, task, now))
        return started

    def _find_late(self, worker: str, pace: float, now: float) -> Task | None:
        """Return a task of which `worker` should run a copy, or None.

        The result is a straggler. If there is none, it is the task that is expected to end last,
        provided that `worker` would finish it clearly sooner. `pace` is the number of seconds that
        `worker` needs per unit of cost.
        """
        while self._due and self._due[0][0] <= now:
            _, task, owner = heapq.heappop(self._due)
            if self._may_copy(task, owner) and worker not in self._items[task].avoid:
                return task

        while self._late:
            negative_end, task, owner = self._late[0]
            if not self._may_copy(task, owner):
                heapq.heappop(self._late)
                continue
            if self._items[task].cost * pace < self.policy.copy_gain * (-negative_end - now):
                return task
            return None
        return None

    def _may_copy(self, task: Task, owner: str) -> bool:
        return self._runs(task, owner) and len(self._items[task].on) < self.policy.copies

    def _start(self, worker: str, task: Task, now: float) -> Assignment:
        entry = self._workers[worker]
        item = self._items[task]
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
            self._remove_outdated()

        self._update_load(worker)
        return Assignment(worker, task, item.attempts)

    def _remove_outdated(self) -> None:
        """Remove outdated entries from large heaps, so that `decide` never has to skip many."""
        most = 2 * self.policy.in_flight * len(self._workers) + _MIN_HEAP_SIZE
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
        # the worker's next task had to wait for this one, so measure its duration from now on
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
        self._update_load(worker)

    def _update_load(self, worker: str) -> None:
        for load in self._loads:
            load.pop(worker, None)
        self._loads[len(self._workers[worker].running)][worker] = None

    def _requeue(self, task: Task, item: _Item, *, blame: bool) -> bool:
        """Requeue a task unless a copy of it is running, and return whether it is abandoned."""
        item.failures += blame
        if item.on:
            return False  # a copy is still running
        if item.failures >= self.policy.attempts:
            del self._items[task]
            return True
        self._again.insert(0, task)
        self._queued += 1
        return False
