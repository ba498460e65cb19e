"""The scheduler's promises in single cases, under random events, and in simulation."""

from __future__ import annotations

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jobs.stress.simulate import Simulation, World
from pipeline.execution.cluster.scheduler import Policy, Scheduler, Task


def pairs(scheduler: Scheduler, now: float = 0.0) -> list[tuple[str, Task]]:
    return [(assigned.worker, assigned.task) for assigned in scheduler.decide(now)]


def test_every_worker_gets_one_segment_before_any_gets_two() -> None:
    scheduler = Scheduler()
    scheduler.add_job("a", dict.fromkeys(range(9), 1.0))
    for worker in ("x", "y", "z"):
        scheduler.add_worker(worker)
    assigned = [worker for worker, _ in pairs(scheduler)]
    assert assigned == ["x", "y", "z"] * 2
    assert pairs(scheduler) == []


def test_near_the_end_nothing_waits_behind_another_segment() -> None:
    scheduler = Scheduler()
    scheduler.add_job("a", dict.fromkeys(range(3), 1.0))
    scheduler.add_worker("x")
    scheduler.add_worker("y")
    assert pairs(scheduler) == [("x", ("a", 0)), ("y", ("a", 1))]


def test_inputs_take_turns_by_their_assigned_work() -> None:
    scheduler = Scheduler(Policy(in_flight=1))
    scheduler.add_job("long", dict.fromkeys(range(100), 3.0))
    for i in range(4):
        scheduler.add_worker(f"w{i}")
    pairs(scheduler)
    scheduler.add_job("short", dict.fromkeys(range(100), 1.0))
    assigned = []
    for now in range(1, 9):
        for i in range(4):
            scheduler.complete_task(f"w{i}", scheduler.tasks_of(f"w{i}")[0], now)
            assigned += [task[0] for _, task in pairs(scheduler, now)]
    assert 22 <= assigned.count("short") <= 26  # three of "short" weigh one of "long"


def test_a_dead_workers_segments_go_first_and_carry_attempt_numbers() -> None:
    scheduler = Scheduler()
    scheduler.add_job("a", dict.fromkeys(range(6), 1.0))
    scheduler.add_worker("x")
    assert [g.attempt for g in scheduler.decide(0)] == [1, 1]
    assert scheduler.remove_worker("x") == []
    scheduler.add_worker("y")
    (again,) = scheduler.decide(1)
    # a suspicious segment runs alone, so that no neighbour is blamed for its failures
    assert (again.task, again.attempt) == (("a", 0), 2)


def test_a_segment_that_kills_three_workers_is_abandoned_and_its_neighbour_is_not() -> None:
    scheduler = Scheduler()
    scheduler.add_job("a", dict.fromkeys(range(4), 1.0))
    abandoned: list[Task] = []
    for death in range(9):
        scheduler.add_worker(f"w{death}")
        while assigned := scheduler.decide(death):
            if any(g.task == ("a", 1) for g in assigned):
                break
            for g in assigned:
                assert scheduler.complete_task(g.worker, g.task, death + 0.5)
        if ("a", 1) in scheduler.tasks_of(f"w{death}"):
            abandoned += scheduler.remove_worker(f"w{death}")
        if abandoned:
            break
    assert abandoned == [("a", 1)]
    assert death < 8


def test_a_worker_that_is_released_blames_no_segment() -> None:
    scheduler = Scheduler(Policy(attempts=1))
    scheduler.add_job("a", {0: 1.0})
    scheduler.add_worker("x", node="n")
    scheduler.decide(0)
    assert scheduler.remove_worker("x", blame=False) == []
    scheduler.add_worker("y")
    assert pairs(scheduler) == [("y", ("a", 0))]


def test_a_failed_segment_is_repeated_on_another_worker_if_there_is_one() -> None:
    scheduler = Scheduler(Policy(in_flight=1))
    scheduler.add_job("a", {0: 1.0, 1: 1.0})
    scheduler.add_worker("x")
    scheduler.add_worker("y")
    assert pairs(scheduler) == [("x", ("a", 0)), ("y", ("a", 1))]
    assert not scheduler.fail_task("x", ("a", 0))
    assert pairs(scheduler) == []  # y is busy, and x has failed it
    scheduler.complete_task("y", ("a", 1), 1)
    assert pairs(scheduler, 1) == [("y", ("a", 0))]
    assert not scheduler.fail_task("y", ("a", 0))
    assert len(pairs(scheduler, 2)) == 1  # nowhere else to go
    assert scheduler.fail_task(*next(iter([(w, ("a", 0)) for w in "xy" if scheduler.tasks_of(w)])))


def test_a_node_that_only_fails_gets_no_more_segments() -> None:
    scheduler = Scheduler(Policy(in_flight=1))
    scheduler.add_job("a", dict.fromkeys(range(50), 1.0))
    scheduler.add_worker("bad", node="n1")
    scheduler.add_worker("good", node="n2")
    for now in range(6):
        for worker, task in pairs(scheduler, now):
            if worker == "bad":
                assert not scheduler.fail_task(worker, task)
            else:
                scheduler.complete_task(worker, task, now + 0.5)
    assert scheduler.blocked_nodes() == {"n1"}
    assert all(worker == "good" for worker, _ in pairs(scheduler, 9))
    scheduler.remove_worker("good", blame=False)
    assert scheduler.blocked_nodes() == frozenset()  # better a bad node than none


def test_a_straggler_runs_twice_and_the_first_commit_counts() -> None:
    scheduler = Scheduler(Policy(in_flight=1))
    scheduler.add_job("a", dict.fromkeys(range(4), 1.0))
    scheduler.add_worker("x")
    scheduler.add_worker("y")
    scheduler.decide(0)
    scheduler.complete_task("x", ("a", 0), 10)
    scheduler.complete_task("y", ("a", 1), 10)
    assert pairs(scheduler, 10) == [("x", ("a", 2)), ("y", ("a", 3))]
    scheduler.complete_task("x", ("a", 2), 20)
    assert pairs(scheduler, 21) == []  # a second more is no straggler
    (copy,) = scheduler.decide(31)
    assert (copy.worker, copy.task, copy.attempt) == ("x", ("a", 3), 2)
    assert scheduler.complete_task("x", ("a", 3), 41)
    assert scheduler.unfinished == 0
    assert not scheduler.complete_task("y", ("a", 3), 42)


def test_a_fast_worker_copies_a_segment_that_a_slow_one_has_just_started() -> None:
    scheduler = Scheduler(Policy(in_flight=1))
    scheduler.add_job("a", dict.fromkeys(range(4), 1.0))
    scheduler.add_worker("fast")
    scheduler.add_worker("slow")
    scheduler.decide(0)
    scheduler.complete_task("fast", ("a", 0), 1)
    scheduler.decide(1)
    scheduler.complete_task("fast", ("a", 2), 2)
    scheduler.complete_task("slow", ("a", 1), 10)
    assigned = pairs(scheduler, 10)
    assert assigned[0][1] == ("a", 3)
    other = {"fast": "slow", "slow": "fast"}[assigned[0][0]]
    assert assigned[1:] == ([("fast", ("a", 3))] if other == "fast" else [])


def test_heaps_do_not_grow_with_the_number_of_finished_segments() -> None:
    """Otherwise the first idle worker has to skip all old entries while thousands wait."""
    scheduler = Scheduler()
    scheduler.add_job("a", dict.fromkeys(range(3000), 1.0))
    for name in "xyz":
        scheduler.add_worker(name)
    for now in range(3000):
        scheduler.decide(now)
        for name in "xyz":
            if scheduler.tasks_of(name):
                scheduler.complete_task(name, scheduler.tasks_of(name)[0], now + 0.5)
        assert len(scheduler._late) <= 100
        assert len(scheduler._due) <= 100
    assert scheduler.unfinished == 0


def test_a_dropped_input_does_not_count_as_unfinished() -> None:
    scheduler = Scheduler()
    scheduler.add_job("bad", dict.fromkeys(range(5), 1.0))
    scheduler.add_job("good", {0: 1.0})
    scheduler.add_worker("x")
    assert len(pairs(scheduler)) == 2
    scheduler.drop_job("bad")
    scheduler.drop_job("bad")
    assert scheduler.unfinished == 1
    for task in scheduler.tasks_of("x"):
        assert scheduler.complete_task("x", task, 1) == (task[0] == "good")
    assert pairs(scheduler) == []


@settings(max_examples=150, deadline=None)
@given(seed=st.integers(0, 2**32), workers=st.integers(1, 6), segments=st.integers(1, 25))
def test_whatever_happens_nothing_is_lost_or_doubled(
    seed: int, workers: int, segments: int
) -> None:
    chance = random.Random(seed)
    scheduler = Scheduler(Policy(attempts=10**6))
    tasks: set[Task] = {(job, i) for job in "ab" for i in range(segments)}
    for job in "ab":
        scheduler.add_job(job, {i: chance.uniform(0.5, 2) for i in range(segments)})
    alive: dict[str, list[Task]] = {}
    committed: list[Task] = []
    now = names = 0
    while scheduler.unfinished:
        now += 1
        assert now < 50 * segments + 500, "stuck"
        while len(alive) < workers and (not alive or chance.random() < 0.7):
            names += 1
            alive[f"w{names}"] = []
            scheduler.add_worker(f"w{names}", kind=chance.choice("fs"), node=f"n{names % 3}")
        for assignment in scheduler.decide(now):
            assert assignment.task not in alive[assignment.worker]
            assert assignment.task not in committed
            alive[assignment.worker].append(assignment.task)
        for worker, running in alive.items():
            assert scheduler.tasks_of(worker) == running
            assert len(running) <= 2
        held = [task for running in alive.values() for task in running if task not in committed]
        assert all(held.count(task) <= 2 for task in held)
        worker = chance.choice(sorted(alive))
        event = chance.random()
        if event < 0.1:
            del alive[worker]
            assert scheduler.remove_worker(worker, blame=chance.random() < 0.7) == []
        elif alive[worker]:
            task = alive[worker].pop(0)
            if event < 0.2:
                assert not scheduler.fail_task(worker, task)
            elif scheduler.complete_task(worker, task, now):
                committed.append(task)
    assert len(committed) == len(tasks)
    assert set(committed) == tasks


@pytest.mark.parametrize(
    ("world", "over"),
    [
        (World(workers=30, segments=3000), 0.05),
        (World(workers=30, segments=3000, deaths=0.01), 0.15),
        (World(workers=30, segments=3000, deaths=0.01, restart=True), 0.15),
    ],
    ids=["calm", "deaths", "deaths and restart"],
)
def test_makespan_is_near_the_lower_bound(world: World, over: float) -> None:
    outcome = Simulation(world).run()
    assert (outcome.lost, outcome.doubled) == (0, 0)
    assert outcome.over < over
    assert outcome.wasted < 0.05
    assert (outcome.deaths > 0) == (world.deaths > 0)


def test_a_node_that_dies_while_its_workers_load_ends_no_run() -> None:
    scheduler = Scheduler()
    scheduler.add_job("a", {0: 1.0})
    # two workers of the dead node, then their replacements on it
    assert not scheduler.record_unready_death("dead", ["dead", "other"], 0)
    assert not scheduler.record_unready_death("dead", ["other"], 1)
    assert not scheduler.record_unready_death("", ["dead", "other"], 2)
    assert not scheduler.record_unready_death("dead", [], 15)
    assert not scheduler.record_unready_death("dead", ["other"], 70)
    scheduler.add_worker("x", node="other")
    assert not any(scheduler.record_unready_death("dead", [], now) for now in (80, 100, 120, 200))
    scheduler.remove_worker("x")
    # deaths beside a living worker do not count: the time starts when the last one is gone
    assert not any(
        scheduler.record_unready_death("dead", ["dead"], now) for now in (3600, 3601, 3659)
    )
    assert scheduler.record_unready_death("dead", ["dead"], 3660)


def test_a_row_of_new_nodes_does_not_keep_a_run_alive_for_ever() -> None:
    scheduler = Scheduler()
    scheduler.add_job("a", {0: 1.0})
    died = [scheduler.record_unready_death(f"n{i}", [f"n{i + 1}"], 30.0 * i) for i in range(21)]
    assert died == [False] * 20 + [True]


def test_an_engine_that_kills_its_workers_everywhere_ends_the_run() -> None:
    scheduler = Scheduler()
    scheduler.add_job("a", {0: 1.0})
    died = [
        scheduler.record_unready_death("one", ["two"], 0),
        scheduler.record_unready_death("two", ["one"], 1),
    ]
    assert died == [False, False]
    assert scheduler.record_unready_death("one", ["two"], 61)
    alone = Scheduler()
    assert [alone.record_unready_death("", [], now) for now in (0, 70, 80)] == [False, False, True]
