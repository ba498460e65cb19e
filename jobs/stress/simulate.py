"""Simulate many workers, to measure the scheduler's makespan, wasted work and CPU time.

    python -m jobs.stress.simulate [--workers 1000] [--segments 100000]

Time is simulated, but the scheduler is the real one. Workers have three different speeds. A segment
takes its cost divided by its worker's speed, times a random factor; one segment in a thousand takes
ten times as long. With deaths, 1 % of the workers die per minute, and each is replaced after a
minute. With a restart, the driver restarts after half of the lower bound, knowing only which
segments are committed. The lower bound is the total work divided by the total speed, without
deaths, as if segments were divisible.
"""

from __future__ import annotations

import argparse
import heapq
import random
import sys
import time
from dataclasses import asdict, dataclass

from jobs.machine import write_result
from pipeline.execution.cluster.scheduler import Policy, Scheduler, Task

KINDS = {"H100": 1.0, "L40S": 0.5, "L4": 0.25}  # relative speeds
SECONDS_PER_COST = 6.0  # time that an H100 takes for a segment of cost 1


@dataclass
class World:
    """The parameters of a simulation."""

    workers: int = 1000
    segments: int = 100_000
    inputs: int = 50
    spread: float = 0.1
    """Standard deviation of a segment's time, as a fraction of that time."""
    stragglers: float = 0.001
    """Fraction of the segments that take ten times as long."""
    deaths: float = 0.0
    """Fraction of the workers that die each minute."""
    replacement: float = 60.0
    """Seconds until a dead worker is replaced."""
    restart: bool = False
    seed: int = 1


@dataclass
class Outcome:
    """The result of a simulation."""

    makespan: float
    bound: float
    commits: int
    doubled: int
    """Number of segments committed twice; must be 0."""
    lost: int
    """Number of segments never committed; must be 0."""
    wasted: float
    """Work lost to deaths, second copies and restarts, as a fraction of the useful work."""
    deaths: int
    events: int
    cpu_ms_per_event: float
    slowest_event_ms: float
    """CPU time of the slowest event; restarts are slow, because they add all open segments."""

    @property
    def over(self) -> float:
        """The excess of the makespan over the lower bound, as a fraction of the bound."""
        return self.makespan / self.bound - 1


class Simulation:
    """The real scheduler with simulated workers."""

    def __init__(self, world: World, policy: Policy | None = None) -> None:
        self.world = world
        self.random = random.Random(world.seed)
        self.policy = policy
        self.scheduler = Scheduler(policy)

        jobs = [f"input{i}" for i in range(world.inputs)]
        self.costs: dict[Task, float] = {
            (jobs[i % world.inputs], i // world.inputs): self.random.uniform(0.7, 1.3)
            for i in range(world.segments)
        }

        self.kinds: dict[str, str] = {}
        self.queues: dict[str, list[Task]] = {}
        self.ends: dict[tuple[str, Task], float] = {}
        self.began: dict[str, float] = {}
        self.events: list[tuple[float, int, str, str, Task | None]] = []
        self.count = 0
        self.committed: set[Task] = set()

        self.doubled = 0
        self.deaths = 0
        self.names = 0
        self.handled = 0
        self.work = 0.0
        self.cpu = 0.0
        self.slowest = 0.0

    def run(self) -> Outcome:
        """Simulate until all segments are committed, and return the outcome."""
        world = self.world
        self.add_open_segments()
        kinds = list(KINDS)
        for i in range(world.workers):
            self.push_event(0.0, "join", self.new_name(), (kinds[i % 3], 0))
        if world.deaths:
            self.push_event(self.random.expovariate(self.death_rate()), "death", "")
        bound = sum(self.costs.values()) * SECONDS_PER_COST / self.total_speed()
        if world.restart:
            self.push_event(bound / 2, "restart", "")

        now = 0.0
        while len(self.committed) < len(self.costs):
            now, _, kind, worker, task = heapq.heappop(self.events)
            self.handle_event(now, kind, worker, task)

        useful = sum(self.costs.values())
        return Outcome(
            makespan=round(now, 2),
            bound=round(bound, 2),
            commits=len(self.committed),
            doubled=self.doubled,
            lost=len(self.costs) - len(self.committed),
            wasted=round(max(0.0, self.work / useful - 1), 4),
            deaths=self.deaths,
            events=self.handled,
            cpu_ms_per_event=round(1e3 * self.cpu / self.handled, 4),
            slowest_event_ms=round(1e3 * self.slowest, 2),
        )

    def total_speed(self) -> float:
        kinds = list(KINDS.values())
        return sum(kinds[i % 3] for i in range(self.world.workers))

    def death_rate(self) -> float:
        """Return the expected number of deaths per second."""
        return self.world.deaths * self.world.workers / 60

    def new_name(self) -> str:
        self.names += 1
        return f"worker{self.names}"

    def push_event(self, at: float, kind: str, worker: str, task: Task | None = None) -> None:
        self.count += 1
        heapq.heappush(self.events, (at, self.count, kind, worker, task))

    def add_open_segments(self) -> None:
        """Pass all uncommitted segments to the scheduler, as a driver does when it starts."""
        inputs: dict[str, dict[int, float]] = {}
        for (job, index), cost in self.costs.items():
            if (job, index) not in self.committed:
                inputs.setdefault(job, {})[index] = cost
        for job, segments in inputs.items():
            self.scheduler.add_job(job, segments)

    def handle_event(self, now: float, kind: str, worker: str, task: Task | None) -> None:
        """Handle one event, let the scheduler decide, and measure the CPU time for both.

        In a "join" event, the first field of `task` is the kind of the new worker.
        """
        if kind == "end" and self.ends.get((worker, task)) != now:  # type: ignore[arg-type]
            return  # the worker has died, or the driver was restarted

        start = time.process_time()
        if kind == "join":
            assert task is not None
            self.kinds[worker] = task[0]
            self.queues[worker] = []
            self.scheduler.add_worker(worker, kind=task[0])
        elif kind == "end":
            assert task is not None
            self.end_task(now, worker, task)
        elif kind == "death":
            self.kill_worker(now)
        else:
            self.restart_driver(now)

        for assignment in self.scheduler.decide(now):
            self.queues[assignment.worker].append(assignment.task)
            if len(self.queues[assignment.worker]) == 1:
                self.begin_task(now, assignment.worker)

        took = time.process_time() - start
        self.cpu += took
        self.slowest = max(self.slowest, took)
        self.handled += 1

    def begin_task(self, now: float, worker: str) -> None:
        task = self.queues[worker][0]
        factor = max(0.5, self.random.gauss(1, self.world.spread))
        if self.random.random() < self.world.stragglers:
            factor *= 10
        end = now + self.costs[task] * SECONDS_PER_COST / KINDS[self.kinds[worker]] * factor
        self.began[worker] = now
        self.ends[worker, task] = end
        self.push_event(end, "end", worker, task)

    def end_task(self, now: float, worker: str, task: Task) -> None:
        del self.ends[worker, task]
        self.queues[worker].pop(0)
        self.work += self.costs[task]
        first = self.scheduler.complete_task(worker, task, now)
        if first:
            self.doubled += task in self.committed
            self.committed.add(task)
        if self.queues[worker]:
            self.begin_task(now, worker)

    def stop_worker(self, now: float, worker: str) -> None:
        if self.queues[worker]:
            task = self.queues[worker][0]
            del self.ends[worker, task]
            spent = (now - self.began[worker]) * KINDS[self.kinds[worker]] / SECONDS_PER_COST
            self.work += min(spent, self.costs[task])
        del self.queues[worker]

    def kill_worker(self, now: float) -> None:
        worker = self.random.choice(sorted(self.queues))
        self.deaths += 1
        self.stop_worker(now, worker)
        given_up = self.scheduler.remove_worker(worker)
        assert not given_up, "a segment lost its worker three times, which is unlikely here"

        kind = (self.kinds[worker], 0)
        self.push_event(now + self.world.replacement, "join", self.new_name(), kind)
        self.push_event(now + self.random.expovariate(self.death_rate()), "death", "")

    def restart_driver(self, now: float) -> None:
        """Replace the scheduler; all workers drop their segments and join the new one at once."""
        self.scheduler = Scheduler(self.policy)
        for worker in list(self.queues):
            self.stop_worker(now, worker)
            self.queues[worker] = []
            self.scheduler.add_worker(worker, kind=self.kinds[worker])
        self.add_open_segments()


def main() -> None:
    """Simulate without deaths, with deaths and with a restart; write jobs/results/simulate.json."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--workers", type=int, default=1000, help="number of workers (default 1000)"
    )
    parser.add_argument(
        "--segments", type=int, default=100_000, help="number of segments (default 100000)"
    )
    options = parser.parse_args()

    calm = World(workers=options.workers, segments=options.segments)
    worlds = {
        "calm": calm,
        "deaths": World(**asdict(calm) | {"deaths": 0.01}),
        "deaths and restart": World(**asdict(calm) | {"deaths": 0.01, "restart": True}),
    }

    results = {}
    for name, world in worlds.items():
        outcome = Simulation(world).run()
        results[name] = {"world": asdict(world), **asdict(outcome), "over": round(outcome.over, 4)}
        sys.stdout.write(f"{name} {results[name]}\n")
    write_result("simulate", results)


if __name__ == "__main__":
    main()
