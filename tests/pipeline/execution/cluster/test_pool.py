"""The scheduler on a real local cluster: same bits as inline, dead actors, poison, placement."""

from __future__ import annotations

import json
import os
import re
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import ray

from deploy.load import load_engine
from pipeline.errors import InputError, PipelineError, StageError
from pipeline.execution.cluster import connection
from pipeline.execution.cluster import pool as ray_runner
from pipeline.execution.cluster.actor import SegmentActor, Setup
from pipeline.execution.cluster.connection import cluster
from pipeline.execution.cluster.demand import Demand
from pipeline.execution.cluster.pool import RayPool, run_on_ray
from pipeline.execution.runners import run_inline
from pipeline.execution.task import SegmentTask, plan_header
from pipeline.interrupt import Interrupts
from pipeline.ledger.durable import sha256
from pipeline.ledger.ledger import Ledger
from pipeline.progress import Silent
from pipeline.runs.batch import entries
from pipeline.runs.pooled_batch import run_pooled
from pipeline.schema.plan import Plan, SegmentRecord
from pipeline.schema.settings import RunSettings
from tests.support.recordings import plan_pair

pytestmark = pytest.mark.ray

ray.cloudpickle.register_pickle_by_value(sys.modules[__name__])


class DyingActor(SegmentActor):
    """Die in the first attempt at segment 2."""

    @ray.method(concurrency_group="work")
    def run(self, job: str, setup: Setup, task: SegmentTask) -> SegmentRecord | PipelineError:
        marker = setup.folder.path.parent / "died"
        if task.segment.index == 2 and not marker.exists():
            marker.touch()
            os._exit(1)
        return super().run(job, setup, task)


class PoisonedActor(SegmentActor):
    """Die at every attempt at segment 2."""

    @ray.method(concurrency_group="work")
    def run(self, job: str, setup: Setup, task: SegmentTask) -> SegmentRecord | PipelineError:
        if task.segment.index == 2:
            time.sleep(0.5)
            os._exit(1)
        return super().run(job, setup, task)


class WaitingActor(SegmentActor):
    """Do segment 3 only when it is let."""

    @ray.method(concurrency_group="work")
    def run(self, job: str, setup: Setup, task: SegmentTask) -> SegmentRecord | PipelineError:
        while task.segment.index == 3 and not (setup.folder.path.parent / "go").exists():
            time.sleep(0.05)
        return super().run(job, setup, task)


class Notes(Silent):
    """Remember what was said."""

    def __init__(self) -> None:
        self.notes: list[str] = []
        self.frames: list[int] = []

    def note(self, text: str) -> None:
        self.notes.append(text)

    def update(self, done: int, busy: dict[str, float]) -> None:
        self.frames.append(done)


@pytest.fixture(scope="session")
def local_cluster() -> Iterator[None]:
    with cluster(None, Interrupts(), workers=3):
        yield


@pytest.fixture
def plan(local_cluster: None, pair: tuple[Path, Path], tmp_path: Path) -> Plan:
    return plan_pair(pair, tmp_path / "out.mkv")


def setup_of(ledger: Ledger) -> Setup:
    plan = ledger.plan
    return Setup(plan_header(plan), ledger.folder, plan.engine, plan.model, plan.threads)


def test_ray_and_inline_give_the_same_bits(plan: Plan, tmp_path: Path) -> None:
    progress = Notes()
    with Ledger(plan) as ledger:
        report = run_on_ray(ledger, setup_of(ledger), progress, Demand(workers=2))
        assert ledger.pending_segments() == []
        distributed = [ledger.records[i].sha256 for i in range(4)]
    other = plan.model_copy(update={"output": str(tmp_path / "inline.mkv")})
    with Ledger(other) as ledger:
        engine = load_engine(plan.engine, model=plan.model, threads=plan.threads)
        run_inline(ledger, engine, Silent())
        assert [ledger.records[i].sha256 for i in range(4)] == distributed
    assert report.engine.name == "bicubic"
    assert progress.frames[-1] == 40
    assert progress.notes == []


def test_split_placement_gives_the_same_bits(plan: Plan, tmp_path: Path) -> None:
    with Ledger(plan) as ledger:
        setup = replace(setup_of(ledger), placement="split")
        run_on_ray(ledger, setup, Silent(), Demand(workers=1))
        split = [ledger.records[i].sha256 for i in range(4)]
        assert list(ledger.folder.segments.glob("attempt-*")) == []
    other = plan.model_copy(update={"output": str(tmp_path / "inline.mkv")})
    with Ledger(other) as ledger:
        engine = load_engine(plan.engine, model=plan.model, threads=plan.threads)
        run_inline(ledger, engine, Silent())
        assert [ledger.records[i].sha256 for i in range(4)] == split


def test_split_placement_tells_errors_of_its_actors(plan: Plan) -> None:
    broken = plan.model_copy(
        update={"segments": tuple(s.model_copy(update={"frames": 9}) for s in plan.segments)}
    )
    with Ledger(broken) as ledger:
        setup = replace(setup_of(ledger), placement="split")
        with pytest.raises(StageError, match=r"^decode: segment \d, LR pts .* got 10 frames of 9"):
            run_on_ray(ledger, setup, Silent(), Demand(workers=1))


def test_a_dead_actor_is_replaced_and_its_work_done_again(
    plan: Plan, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ray_runner, "SegmentActor", DyingActor)
    progress = Notes()
    with Ledger(plan) as ledger:
        run_on_ray(ledger, setup_of(ledger), progress, Demand(workers=1))
        assert ledger.pending_segments() == []
        assert [ledger.folder.read_record(i) is not None for i in range(4)] == [True] * 4
    assert (tmp_path / "died").exists()
    assert len(progress.notes) == 1
    assert progress.notes[0].startswith("an actor died")


def test_a_poisonous_segment_fails_the_run_after_three_attempts(
    plan: Plan, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ray_runner, "SegmentActor", PoisonedActor)
    progress = Notes()
    with Ledger(plan) as ledger:
        with pytest.raises(StageError, match=r"segment 2 took 3 actors down .* to resume"):
            run_on_ray(ledger, setup_of(ledger), progress, Demand(workers=1))
        assert len(progress.notes) == 3
        assert "0 segments are done again" in progress.notes[-1]
        assert ledger.folder.read_record(0) is not None
        assert ledger.folder.read_record(1) is not None
        assert ledger.folder.read_record(2) is None


def test_a_stage_error_comes_back_as_one_line(plan: Plan) -> None:
    broken = plan.model_copy(
        update={"segments": tuple(s.model_copy(update={"frames": 9}) for s in plan.segments)}
    )
    with Ledger(broken) as ledger, pytest.raises(StageError) as caught:
        run_on_ray(ledger, setup_of(ledger), Silent(), Demand(workers=1))
    assert "\n" not in str(caught.value)
    assert re.match(r"decode: segment \d, LR pts \d+: ", str(caught.value))


def test_an_unknown_engine_is_the_users_error(plan: Plan) -> None:
    with Ledger(plan) as ledger:
        setup = replace(setup_of(ledger), engine="warp9")
        with pytest.raises(InputError, match="warp9"):
            run_on_ray(ledger, setup, Silent(), Demand(workers=1))


def test_actors_that_cannot_be_placed_are_said_so(plan: Plan) -> None:
    @ray.remote(num_cpus=int(ray.cluster_resources()["CPU"]))
    class Hog:
        def ready(self) -> bool:
            return True

    hog = Hog.remote()
    ray.get(hog.ready.remote())
    try:
        with Ledger(plan) as ledger, pytest.raises(PipelineError, match="no actor could be placed"):
            run_on_ray(ledger, setup_of(ledger), Silent(), Demand(workers=1, timeout=1))
    finally:
        ray.kill(hog)


def test_a_kind_of_gpu_that_is_not_there_is_said_so(plan: Plan) -> None:
    demand = Demand(workers=2, gpu=True, accelerator="H100", timeout=1)
    said = r"^no actor could be placed within 1 s: each needs 1 CPU and 1 GPU of type H100, [^\n]*$"
    with Ledger(plan) as ledger, pytest.raises(PipelineError, match=said):
        run_on_ray(ledger, setup_of(ledger), Silent(), demand)


def test_actors_without_work_end_and_all_are_asked_rarely(
    plan: Plan, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ray_runner, "SegmentActor", WaitingActor)
    progress = Notes()
    pool = RayPool(Demand(workers=3, release=0.2), progress)
    with Ledger(plan) as ledger:
        pool.add("", ledger, setup_of(ledger))
        started, steps, most = time.monotonic(), 0, 0
        while not (ledger.pending_segments() == [3] and len(list(pool.slots())) == 2):
            assert pool.step() == []
            most, steps = max(most, len(list(pool.slots()))), steps + 1
            assert time.monotonic() - started < 120
        asked = sum(slot.asked > 0 for slot in pool.slots())
        (tmp_path / "go").touch()
        while not (ended := pool.step()):
            steps += 1
        # a look that is answered at once must not make the driver look again at once
        assert steps < 20 * (time.monotonic() - started) + 20
        pool.stop()
    assert (ended, most) == ([("", None)], 3)
    assert asked  # one of the two may still be loading its engine
    assert progress.notes == []


def test_no_actor_is_left(plan: Plan) -> None:
    with Ledger(plan) as ledger:
        run_on_ray(ledger, setup_of(ledger), Silent(), Demand(workers=2))
    total = ray.cluster_resources()["CPU"]
    deadline = time.monotonic() + 10
    while ray.available_resources().get("CPU", 0) < total and time.monotonic() < deadline:
        time.sleep(0.1)
    assert ray.available_resources()["CPU"] == total


def test_a_batch_shares_the_actors(
    local_cluster: None, pair: tuple[Path, Path], tmp_path: Path
) -> None:
    common = {"engine": "bicubic", "preset": "ultrafast", "segment": 0.4, "workers": 2}
    rows = [
        {"input": str(pair[0]), "ref_stream": str(pair[1]), "output": str(tmp_path / f"{i}.mkv")}
        for i in range(3)
    ]
    rows.insert(1, {"input": str(tmp_path / "none.mkv"), "output": str(tmp_path / "no.mkv")})
    listed = tmp_path / "list.jsonl"
    listed.write_text("\n".join(map(json.dumps, rows)))
    items = entries((), str(listed), common)
    settings = RunSettings(input="-", **common)
    notes = Notes()
    result, interrupted = run_pooled(items, settings, notes, str(tmp_path / "failed.jsonl"))
    assert interrupted is None
    assert [item.status for item in result.items] == ["done", "failed", "done", "done"]
    assert "no reference" in str(result.items[1].error)
    assert len({sha256(tmp_path / f"{i}.mkv") for i in range(3)}) == 1
    left = sorted(path.name for path in tmp_path.iterdir() if path.suffix != ".json")
    assert left == ["0.mkv", "1.mkv", "2.mkv", "failed.jsonl", "list.jsonl"]
    assert len((tmp_path / "failed.jsonl").read_text().splitlines()) == 1


def test_a_node_that_does_not_start_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    def late(**_: object) -> None:
        raise Exception("The current node timed out during startup.\nmore")

    monkeypatch.setattr(ray, "init", late)
    with pytest.raises(PipelineError, match=r"cannot start Ray on this machine: The current"):
        connection._connect(None, 1)
