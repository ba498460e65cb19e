"""The choice of the runner, and the runner without Ray."""

from __future__ import annotations

import threading
import time
from pathlib import Path
from typing import Any

import pytest

from deploy.engines.bicubic_engine import BicubicEngine
from deploy.protocol import EngineInfo, Pixels
from pipeline.errors import StageError
from pipeline.execution.runners import ExecutionReport, choose_runner, count_gpus, run_inline
from pipeline.execution.worker import THREAD_PREFIX
from pipeline.ledger.ledger import Ledger
from pipeline.progress import (
    BarReporter,
    LineReporter,
    SilentReporter,
    find_bottleneck,
    make_reporter,
)
from pipeline.runs.conductor import describe_execution
from pipeline.schema.plan import Plan
from tests.support.recordings import BorrowingEngine, plan_pair


@pytest.fixture
def plan(pair: tuple[Path, Path], tmp_path: Path) -> Plan:
    return plan_pair(pair, tmp_path / "out.mkv")


class Recorder(SilentReporter):
    """A reporter that remembers the progress."""

    def __init__(self) -> None:
        self.frames: list[int] = []

    def update(self, done: int, busy: dict[str, float]) -> None:
        self.frames.append(done)


def test_inline_commits_everything_and_reports(plan: Plan) -> None:
    progress = Recorder()
    with Ledger(plan) as ledger:
        busy = run_inline(ledger, BicubicEngine(threads=1), progress).busy
        assert ledger.pending_segments() == []
    assert progress.frames[-1] == 40
    assert set(busy) == {"decode", "infer", "encode"}


def test_inline_runs_only_missing_segments(plan: Plan) -> None:
    with Ledger(plan) as ledger:
        run_inline(ledger, BicubicEngine(threads=1), SilentReporter())
        ledger.folder.record_path(2).unlink()
    progress = Recorder()
    with Ledger(plan) as ledger:
        assert ledger.pending_segments() == [2]
        run_inline(ledger, BicubicEngine(threads=1), progress)
        assert progress.frames[-1] == 40


def test_inline_keeps_committed_segments_when_it_fails(plan: Plan) -> None:
    class Failing(BorrowingEngine):
        calls = 0

        def enhance(self, lr: Pixels, *refs: Pixels, **options: Any) -> Pixels:
            self.calls += 1
            if self.calls > 8:
                raise MemoryError
            return super().enhance(lr, *refs, **options)

    with Ledger(plan) as ledger:
        with pytest.raises(StageError, match=r"infer: segment 2, LR pts \d+: MemoryError"):
            run_inline(ledger, Failing(threads=1), SilentReporter())
        done = sum(ledger.folder.read_record(i) is not None for i in range(4))
    assert done == 2
    assert not [t for t in threading.enumerate() if t.name.startswith(THREAD_PREFIX)]
    with Ledger(plan) as ledger:
        assert ledger.resumed == 2


def test_stages_of_neighbouring_segments_overlap(plan: Plan) -> None:
    """With 30 ms in the network for each of 12 calls, starting 4 segments costs no time."""

    class Slow(BorrowingEngine):
        def enhance(self, lr: Pixels, *refs: Pixels, **options: Any) -> Pixels:
            time.sleep(0.03 * len(lr))
            return super().enhance(lr, *refs, **options)

    with Ledger(plan) as ledger:
        start = time.perf_counter()
        busy = run_inline(ledger, Slow(threads=1), SilentReporter()).busy
        elapsed = time.perf_counter() - start
    assert find_bottleneck(busy) == "infer"
    # generous, because the machine may be busy; 1.05 was measured on an idle one
    assert elapsed < 1.6 * busy["infer"]


@pytest.mark.parametrize(
    ("requested", "address", "devices", "expected"),
    [
        ("auto", None, "", "inline"),
        ("auto", None, "0", "inline"),
        ("auto", None, "0,1", "ray"),
        ("auto", "10.0.0.1:6379", "", "ray"),
        ("inline", "10.0.0.1:6379", "0,1", "inline"),
        ("ray", None, "", "ray"),
    ],
)
def test_choice_of_runner(
    monkeypatch: pytest.MonkeyPatch,
    requested: str,
    address: str | None,
    devices: str,
    expected: str,
) -> None:
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", devices)
    assert choose_runner(requested, address)[0] == expected


def test_a_ray_job_runs_on_ray(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAY_ADDRESS", "10.0.0.1:6379")
    assert choose_runner("auto", None) == ("ray", "the address of a Ray cluster is set")


def test_hidden_devices_do_not_count() -> None:
    assert count_gpus({"CUDA_VISIBLE_DEVICES": "-1"}) == 0
    assert count_gpus({"CUDA_VISIBLE_DEVICES": "GPU-1,GPU-2"}) == 2


def test_plain_lines_come_at_intervals(capsys: pytest.CaptureFixture[str]) -> None:
    lines = make_reporter()
    assert isinstance(lines, LineReporter)
    lines.start(100, 20)
    for done in range(20, 100):
        lines.update(done, {"decode": 1.0, "infer": 2.0})
    lines.close()
    captured = capsys.readouterr()
    assert captured.err == "100 frames, 20 already done\n"
    assert captured.out == ""


def test_the_bar_draws_on_stderr(capsys: pytest.CaptureFixture[str]) -> None:
    bar = BarReporter()
    bar.note("before")
    bar.start(10, 0)
    bar.update(5, {"decode": 1.0, "infer": 2.0})
    bar.close()
    captured = capsys.readouterr()
    assert "5/10 frames" in captured.err
    assert "limited by infer" in captured.err
    assert captured.out == ""


def test_quiet_is_silent() -> None:
    assert isinstance(make_reporter(quiet=True), SilentReporter)


@pytest.mark.parametrize(
    ("device", "busy", "expected"),
    [
        ("cuda:0", {"decode": 9.0, "infer": 2.0, "encode": 3.0}, True),
        ("cuda:0", {"decode": 1.0, "infer": 2.0, "encode": 1.0}, False),
        ("cpu", {"decode": 9.0, "infer": 2.0, "encode": 3.0}, False),
        ("cuda:0", {}, False),
    ],
)
def test_a_gpu_that_waits_for_decoding_or_encoding_is_reported(
    device: str, busy: dict[str, float], expected: bool
) -> None:
    info = EngineInfo(
        name="torch",
        device=device,
        model="fast",
        precision="",
        multiple=1,
        bytes_per_pixel=0,
        reason="as requested",
    )
    report = ExecutionReport("ray", info, busy)
    line = describe_execution(report, auto_placement=True)
    assert ("--placement split" in line) == expected
    assert "--placement split" not in describe_execution(report)
