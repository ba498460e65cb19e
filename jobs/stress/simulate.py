"""The scheduler alone with many simulated workers: makespan, wasted work, CPU of the driver.

    python -m jobs.stress.simulate [--workers 1000] [--segments 100000]

Simulated time, real scheduler. Workers have three speeds; every segment takes its cost times the
pace of its worker times a random factor, and one in a thousand hangs ten times as long. With
deaths, 1 % of the workers die in a minute, a new one joins after a minute, and the driver is
restarted half-way: it knows what is committed and nothing else. The lower bound is all work over
all speed, without deaths, as if segments could be cut at will.
"""

from __future__ import annotations

import argparse
import heapq
import random
import time
from dataclasses import asdict, dataclass

from jobs.machine import write_result
from pipeline.execution.cluster.scheduler import Policy, Scheduler, Task

KINDS = {"H100": 1.0, "L40S": 0.5, "L4": 0.25}
"""Speeds; a segment of cost 1 takes an H100 `SECONDS`."""
SECONDS = 6.0


@dataclass
class World:
    """What is simulated."""

    workers: int = 1000
    segments: int = 100_000
    inputs: int = 50
    spread: float = 0.1
    """Standard deviation of a segment's time, as part of it."""
    stragglers: float = 0.001
    deaths: float = 0.0
    """Workers that die, as part of all, in a minute."""
    replacement: float = 60.0
    """Seconds until a dead worker is replaced."""
    restart: bool = False
    seed: int = 1


@dataclass
class Outcome:
    """What came of it."""

    makespan: float
    bound: float
    commits: int
    doubled: int
    """Segments whose second end was taken for a commit; must be 0."""
    lost: int
    """Segments never committed; must be 0."""
    wasted: float
    """Work thrown away (deaths, second copies, restart), as part of all work."""
    deaths: int
    events: int
    cpu_ms_per_event: float
    slowest_event_ms: float
    """With a restart, that is it: taking in all segments that are not committed."""

    @property
    def over(self) -> float:
        """Return how much longer than the bound it took, as part of the bound."""
        return self.makespan / self.bound - 1


class Simulation:
    """Real decisions, simulated workers."""

    def __init__(self, world: World, policy: Policy | None = None) -> None:
        self.world = world
        self.random = random.Random(world.seed)
        self.policy = policy
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
        self.doubled = self.deaths = self.names = self.handled = 0
        self.work = self.cpu = self.slowest = 0.0
        self.scheduler = Scheduler(policy)

    def run(self) -> Outcome:
        """Simulate until everything is committed."""
        world = self.world
        self.load()
        kinds = list(KINDS)
        for i in range(world.workers):
            self.push(0.0, "join", self.name(), (kinds[i % 3], 0))
        if world.deaths:
            self.push(self.random.expovariate(self.death_rate()), "death", "")
        bound = sum(self.costs.values()) * SECONDS / self.speed()
        if world.restart:
            self.push(bound / 2, "restart", "")
        now = 0.0
        while len(self.committed) < len(self.costs):
            now, _, what, worker, task = heapq.heappop(self.events)
            self.handle(now, what, worker, task)
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

    def speed(self) -> float:
        kinds = list(KINDS.values())
        return sum(kinds[i % 3] for i in range(self.world.workers))

    def death_rate(self) -> float:
        """Return deaths in a second."""
        return self.world.deaths * self.world.workers / 60

    def name(self) -> str:
        self.names += 1
        return f"worker{self.names}"

    def push(self, at: float, what: str, worker: str, task: Task | None = None) -> None:
        self.count += 1
        heapq.heappush(self.events, (at, self.count, what, worker, task))

    def load(self) -> None:
        """Give the scheduler what is not committed, as a driver does when it starts."""
        inputs: dict[str, dict[int, float]] = {}
        for (job, index), cost in self.costs.items():
            if (job, index) not in self.committed:
                inputs.setdefault(job, {})[index] = cost
        for job, segments in inputs.items():
            self.scheduler.add(job, segments)

    def handle(self, now: float, what: str, worker: str, task: Task | None) -> None:
        if what == "end" and self.ends.get((worker, task)) != now:  # type: ignore[arg-type]
            return  # of a worker that died, or before the restart
        start = time.process_time()
        if what == "join":
            assert task is not None
            self.kinds[worker] = task[0]
            self.queues[worker] = []
            self.scheduler.joined(worker, kind=task[0])
        elif what == "end":
            assert task is not None
            self.end(now, worker, task)
        elif what == "death":
            self.death(now)
        else:
            self.restart(now)
        for given in self.scheduler.decide(now):
            self.queues[given.worker].append(given.task)
            if len(self.queues[given.worker]) == 1:
                self.begin(now, given.worker)
        took = time.process_time() - start
        self.cpu += took
        self.slowest = max(self.slowest, took)
        self.handled += 1

    def begin(self, now: float, worker: str) -> None:
        task = self.queues[worker][0]
        factor = max(0.5, self.random.gauss(1, self.world.spread))
        if self.random.random() < self.world.stragglers:
            factor *= 10
        end = now + self.costs[task] * SECONDS / KINDS[self.kinds[worker]] * factor
        self.began[worker] = now
        self.ends[worker, task] = end
        self.push(end, "end", worker, task)

    def end(self, now: float, worker: str, task: Task) -> None:
        del self.ends[worker, task]
        self.queues[worker].pop(0)
        self.work += self.costs[task]
        first = self.scheduler.done(worker, task, now)
        if first:
            self.doubled += task in self.committed
            self.committed.add(task)
        if self.queues[worker]:
            self.begin(now, worker)

    def stop(self, now: float, worker: str) -> None:
        if self.queues[worker]:
            task = self.queues[worker][0]
            del self.ends[worker, task]
            spent = (now - self.began[worker]) * KINDS[self.kinds[worker]] / SECONDS
            self.work += min(spent, self.costs[task])
        del self.queues[worker]

    def death(self, now: float) -> None:
        worker = self.random.choice(sorted(self.queues))
        self.deaths += 1
        self.stop(now, worker)
        given_up = self.scheduler.left(worker)
        assert not given_up, "no segment meets three deaths here"
        self.push(now + self.world.replacement, "join", self.name(), (self.kinds[worker], 0))
        self.push(now + self.random.expovariate(self.death_rate()), "death", "")

    def restart(self, now: float) -> None:
        """Begin with a new scheduler; its actors died with the old driver and are back at once."""
        self.scheduler = Scheduler(self.policy)
        for worker in list(self.queues):
            self.stop(now, worker)
            self.queues[worker] = []
            self.scheduler.joined(worker, kind=self.kinds[worker])
        self.load()


def main() -> None:
    """Simulate with and without deaths and write jobs/results/simulate.json."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--workers", type=int, default=1000)
    parser.add_argument("--segments", type=int, default=100_000)
    chosen = parser.parse_args()
    calm = World(workers=chosen.workers, segments=chosen.segments)
    worlds = {
        "calm": calm,
        "deaths": World(**asdict(calm) | {"deaths": 0.01}),
        "deaths and restart": World(**asdict(calm) | {"deaths": 0.01, "restart": True}),
    }
    results = {}
    for name, world in worlds.items():
        outcome = Simulation(world).run()
        results[name] = {"world": asdict(world), **asdict(outcome), "over": round(outcome.over, 4)}
        print(name, results[name])  # noqa: T201
    write_result("simulate", results)


if __name__ == "__main__":
    main()
