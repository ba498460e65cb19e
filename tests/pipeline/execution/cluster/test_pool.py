"""The pool on a real local cluster: same bits as inline, dead actors, placement, batches."""

from __future__ import annotations

import json
import os
import re
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import ray

from deploy.load import load_engine
from pipeline.errors import InputError, PipelineError, StageError
from pipeline.execution.cluster import connection
from pipeline.execution.cluster.actor import SegmentActor, WorkerSetup, make_setup
from pipeline.execution.cluster.actor_request import ActorRequest
from pipeline.execution.cluster.connection import cluster
from pipeline.execution.cluster.pool import RayPool, run_on_ray
from pipeline.execution.runners import run_inline
from pipeline.execution.task import SegmentTask
from pipeline.interrupt import Interrupts
from pipeline.ledger.ledger import Ledger
from pipeline.paths import sha256
from pipeline.planning.pinned import pin_plan
from pipeline.planning.plan import make_plan
from pipeline.progress import SilentReporter
from pipeline.runs.manifest import make_entries
from pipeline.runs.pooled_batch import run_pooled
from pipeline.runs.result import RunResult
from pipeline.runs.run import run
from pipeline.schema.plan import Plan, RunRecord, SegmentRecord
from pipeline.schema.settings import RunSettings
from tests.support.recordings import plan_pair, settings_for, write_keys

pytestmark = pytest.mark.ray

ray.cloudpickle.register_pickle_by_value(sys.modules[__name__])


class DyingActor(SegmentActor):
    """An actor that dies in the first attempt at segment 2."""

    @ray.method(concurrency_group="work")
    def run(self, job: str, setup: WorkerSetup, task: SegmentTask) -> SegmentRecord | PipelineError:
        marker = setup.folder.path.parent / "died"
        if task.segment.index == 2 and not marker.exists():
            marker.touch()
            os._exit(1)
        return super().run(job, setup, task)


class PoisonedActor(SegmentActor):
    """An actor that dies in every attempt at segment 2."""

    @ray.method(concurrency_group="work")
    def run(self, job: str, setup: WorkerSetup, task: SegmentTask) -> SegmentRecord | PipelineError:
        if task.segment.index == 2:
            time.sleep(0.5)
            os._exit(1)
        return super().run(job, setup, task)


class WaitingActor(SegmentActor):
    """An actor that runs segment 3 only when a file exists."""

    @ray.method(concurrency_group="work")
    def run(self, job: str, setup: WorkerSetup, task: SegmentTask) -> SegmentRecord | PipelineError:
        while task.segment.index == 3 and not (setup.folder.path.parent / "go").exists():
            time.sleep(0.05)
        return super().run(job, setup, task)


class CrowdedActor(SegmentActor):
    """An actor that soon gives up waiting for the CPUs of its stages."""

    def __init__(self) -> None:
        # read when the stages are imported, for the first segment
        os.environ["PIPELINE_PLACEMENT_TIMEOUT"] = "1.5"
        super().__init__()


class Notes(SilentReporter):
    """A reporter that remembers notes and progress."""

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


def test_ray_and_inline_give_the_same_bits(plan: Plan, tmp_path: Path) -> None:
    progress = Notes()
    with Ledger(plan) as ledger:
        report = run_on_ray(ledger, make_setup(ledger), progress, ActorRequest(workers=2))
        assert ledger.pending_segments() == []
        distributed = [ledger.records[i].sha256 for i in range(4)]
    other = plan.model_copy(update={"output": str(tmp_path / "inline.mkv")})
    with Ledger(other) as ledger:
        engine = load_engine(plan.engine, model=plan.model, threads=plan.threads)
        run_inline(ledger, engine, SilentReporter())
        assert [ledger.records[i].sha256 for i in range(4)] == distributed
    assert report.engine.name == "bicubic"
    assert progress.frames[-1] == 40
    assert progress.notes == []


def test_split_placement_gives_the_same_bits(plan: Plan, tmp_path: Path) -> None:
    with Ledger(plan) as ledger:
        run_on_ray(ledger, make_setup(ledger, "split"), SilentReporter(), ActorRequest(workers=1))
        split = [ledger.records[i].sha256 for i in range(4)]
        assert list(ledger.folder.segments.glob("attempt-*")) == []
    other = plan.model_copy(update={"output": str(tmp_path / "inline.mkv")})
    with Ledger(other) as ledger:
        engine = load_engine(plan.engine, model=plan.model, threads=plan.threads)
        run_inline(ledger, engine, SilentReporter())
        assert [ledger.records[i].sha256 for i in range(4)] == split


@pytest.mark.usefixtures("local_cluster")
def test_frames_with_two_key_frames_have_the_same_bits_everywhere(
    pair: tuple[Path, Path], tmp_path: Path
) -> None:
    keys = write_keys(tmp_path)

    def plan_run(name: str) -> Plan:
        settings = settings_for((pair[0], keys), tmp_path / name, engine="torch", end=0.8)
        return pin_plan(make_plan(settings))

    plan = plan_run("inline.mkv")
    assert plan.reference_map.count_references() > 1.5 * len(plan.reference_map)
    with Ledger(plan) as ledger:
        engine = load_engine(plan.engine, model=plan.model, threads=plan.threads)
        run_inline(ledger, engine, SilentReporter())
        inline = [ledger.records[i].sha256 for i in range(2)]

    for placement in ("fused", "split"):
        with Ledger(plan_run(f"{placement}.mkv")) as ledger:
            setup = make_setup(ledger, placement)
            run_on_ray(ledger, setup, SilentReporter(), ActorRequest(workers=1))
            assert [ledger.records[i].sha256 for i in range(2)] == inline


def test_split_placement_reports_errors_of_its_actors(plan: Plan) -> None:
    broken = plan.model_copy(
        update={"segments": tuple(s.model_copy(update={"frames": 9}) for s in plan.segments)}
    )
    with Ledger(broken) as ledger:
        setup = make_setup(ledger, "split")
        with pytest.raises(
            StageError, match=r"^decode: segment \d, LR pts .* 10 frames, but the plan expects 9"
        ):
            run_on_ray(ledger, setup, SilentReporter(), ActorRequest(workers=1))


def test_split_placement_waits_for_cpus_as_long_as_the_environment_says(plan: Plan) -> None:
    hog = start_hog(leave=2)  # one for the actor of the segments, one for its decoder
    try:
        with Ledger(plan) as ledger:
            setup = make_setup(ledger, "split")
            request = ActorRequest(workers=1)
            with pytest.raises(
                StageError, match=r"no CPU was free for \w+Actor within 1\.5 s, but"
            ):
                run_on_ray(ledger, setup, SilentReporter(), request, actor=CrowdedActor)
    finally:
        ray.kill(hog)


def test_a_dead_actor_is_replaced_and_its_segments_are_run_again(
    plan: Plan, tmp_path: Path
) -> None:
    progress = Notes()
    with Ledger(plan) as ledger:
        request = ActorRequest(workers=1)
        run_on_ray(ledger, make_setup(ledger), progress, request, actor=DyingActor)
        assert ledger.pending_segments() == []
        assert [ledger.folder.read_record(i) is not None for i in range(4)] == [True] * 4
    assert (tmp_path / "died").exists()
    assert len(progress.notes) == 1
    assert progress.notes[0].startswith("an actor died")


def test_a_deadly_segment_fails_the_run_after_three_attempts(plan: Plan) -> None:
    progress = Notes()
    with Ledger(plan) as ledger:
        request = ActorRequest(workers=1)
        with pytest.raises(
            StageError, match=r"3 actors died while running segment 2: .* to resume"
        ):
            run_on_ray(ledger, make_setup(ledger), progress, request, actor=PoisonedActor)
        assert len(progress.notes) == 3
        assert "0 segments will run again" in progress.notes[-1]
        assert ledger.folder.read_record(0) is not None
        assert ledger.folder.read_record(1) is not None
        assert ledger.folder.read_record(2) is None


def test_a_stage_error_comes_back_as_one_line(plan: Plan) -> None:
    broken = plan.model_copy(
        update={"segments": tuple(s.model_copy(update={"frames": 9}) for s in plan.segments)}
    )
    with Ledger(broken) as ledger, pytest.raises(StageError) as caught:
        run_on_ray(ledger, make_setup(ledger), SilentReporter(), ActorRequest(workers=1))
    assert "\n" not in str(caught.value)
    assert re.match(r"decode: segment \d, LR pts \d+: ", str(caught.value))


def test_an_unknown_engine_is_an_input_error(plan: Plan) -> None:
    with Ledger(plan) as ledger:
        setup = make_setup(ledger)
        setup = replace(setup, plan=setup.plan.model_copy(update={"engine": "warp9"}))
        with pytest.raises(InputError, match="warp9"):
            run_on_ray(ledger, setup, SilentReporter(), ActorRequest(workers=1))


def start_hog(*, leave: int) -> Any:
    """Start an actor that occupies all CPUs of the cluster but `leave`."""

    @ray.remote(num_cpus=int(ray.cluster_resources()["CPU"]) - leave)
    class Hog:
        def ready(self) -> bool:
            return True

    hog = Hog.remote()
    ray.get(hog.ready.remote())
    return hog


def test_actors_that_cannot_be_placed_end_the_run(plan: Plan) -> None:
    hog = start_hog(leave=0)
    request = ActorRequest(workers=1, timeout=1)
    try:
        with Ledger(plan) as ledger, pytest.raises(PipelineError, match="no actor could be placed"):
            run_on_ray(ledger, make_setup(ledger), SilentReporter(), request)
    finally:
        ray.kill(hog)


def test_a_missing_kind_of_gpu_ends_the_run(plan: Plan) -> None:
    request = ActorRequest(workers=2, gpu=True, accelerator="H100", timeout=1)
    line = r"^no actor could be placed within 1 s: each needs 1 CPU and 1 GPU of type H100, [^\n]*$"
    with Ledger(plan) as ledger, pytest.raises(PipelineError, match=line):
        run_on_ray(ledger, make_setup(ledger), SilentReporter(), request)


def test_actors_without_work_end_and_status_is_requested_at_intervals(
    plan: Plan, tmp_path: Path
) -> None:
    progress = Notes()
    request = ActorRequest(workers=3, release_after=0.2)
    pool = RayPool(request, progress, actor=WaitingActor)
    with Ledger(plan) as ledger:
        pool.add("", ledger, make_setup(ledger))
        start = time.monotonic()
        steps = 0
        most = 0
        while not (ledger.pending_segments() == [3] and len(pool.actors) == 2):
            assert pool.step() == []
            most = max(most, len(pool.actors))
            steps += 1
            assert time.monotonic() - start < 120

        requested = sum(slot.requested_at > 0 for slot in pool.actors)
        (tmp_path / "go").touch()
        while not (ended := pool.step()):
            steps += 1
        # a status that is answered at once must not make the driver request it again at once
        assert steps < 20 * (time.monotonic() - start) + 20
        pool.stop()

    assert (ended, most) == ([("", None)], 3)
    assert requested  # one of the two may still be loading its engine
    assert progress.notes == []


def test_no_actor_is_left(plan: Plan) -> None:
    with Ledger(plan) as ledger:
        run_on_ray(ledger, make_setup(ledger), SilentReporter(), ActorRequest(workers=2))
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
    entries = make_entries((), str(listed), common)
    settings = RunSettings(input="-", **common)
    notes = Notes()
    result, interrupted = run_pooled(entries, settings, notes, str(tmp_path / "failed.jsonl"))
    assert interrupted is None
    assert [item.status for item in result.items] == ["done", "failed", "done", "done"]
    assert "there is no reference to borrow detail from" in str(result.items[1].error)
    assert len({sha256(tmp_path / f"{i}.mkv") for i in range(3)}) == 1
    left = sorted(path.name for path in tmp_path.iterdir() if path.suffix != ".json")
    assert left == ["0.mkv", "1.mkv", "2.mkv", "failed.jsonl", "list.jsonl"]
    assert len((tmp_path / "failed.jsonl").read_text().splitlines()) == 1


def test_inputs_of_a_batch_get_the_record_of_a_single_run(
    local_cluster: None, pair: tuple[Path, Path], tmp_path: Path
) -> None:
    """The report of an output shows its command, speed and versions from this record."""
    common = {"ref_stream": str(pair[1]), "engine": "bicubic", "preset": "ultrafast"}
    # planes of 4:2:0 would be enlarged by the decoder, and leave nothing to infer
    common |= {"segment": "0.4", "runner": "ray", "workers": "2", "pix_fmt": "yuv444p"}
    single = run(RunSettings(input=str(pair[0]), output=str(tmp_path / "one.mkv"), **common))

    listed = tmp_path / "list.jsonl"
    outputs = [str(tmp_path / f"{name}.mkv") for name in "ab"]
    rows = [{"input": str(pair[0]), "output": output} for output in outputs]
    listed.write_text("\n".join(map(json.dumps, rows)))
    entries = make_entries((), str(listed), common)
    settings = RunSettings(input="-", **common)
    result, _ = run_pooled(entries, settings, SilentReporter(), str(tmp_path / "failed.jsonl"))
    assert result.done == 2

    expected = record_of(single)
    for item, output in zip(result.items, outputs, strict=True):
        assert item.result is not None
        record = record_of(item.result)
        same = {"engine", "device", "reason", "runner", "frames", "versions", "machine"}
        assert record.model_dump(include=same) == expected.model_dump(include=same)
        assert (record.runner, record.frames) == ("ray", 40)
        assert record.command == expected.command.replace(single.output, output)
        # of this input alone: the stages were not busy for longer than its run
        assert set(record.busy) == {"decode", "infer", "encode"}
        assert all(0 < seconds < 2 * record.seconds for seconds in record.busy.values())
        assert record.seconds == pytest.approx(item.result.seconds, abs=0.5)


def record_of(result: RunResult) -> RunRecord:
    """Return the record in the plan beside an output."""
    record = Plan.model_validate_json(Path(result.reference_map).read_text()).record
    assert record is not None
    return record


def test_a_node_that_does_not_start_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    def late(**_: object) -> None:
        raise Exception("The current node timed out during startup.\nmore")

    monkeypatch.setattr(ray, "init", late)
    with pytest.raises(PipelineError, match=r"cannot start Ray on this machine: The current"):
        connection._connect(None, 1, {}, log=False)
