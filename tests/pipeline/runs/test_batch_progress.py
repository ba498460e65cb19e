"""How far a batch is: for people in one line, for programs as JSON."""

from __future__ import annotations

import io
import json
import shutil
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from pipeline.planning.plan import make_plan
from pipeline.progress import BatchState, LineReporter, SilentReporter
from pipeline.runs.batch_progress import BatchProgress
from pipeline.runs.json_progress import EVENT, JsonReporter
from pipeline.runs.result import ItemResult
from pipeline.schema.plan import Plan
from pipeline.schema.settings import RunSettings
from tests.support.commands import invoke

PAIR_FRAMES = 8
CHOSEN = ("--engine", "bicubic", "--runner", "inline", "--preset", "ultrafast")
run_command = partial(invoke, "run", *CHOSEN)


@pytest.fixture
def plan(pair: tuple[Path, Path], tmp_path: Path) -> Plan:
    output = str(tmp_path / "out.mkv")
    return make_plan(RunSettings(input=str(pair[0]), ref_stream=str(pair[1]), output=output))


class Clock:
    """A clock that a test sets."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def item(name: str, status: Any) -> ItemResult:
    return ItemResult(input=name, output=None, status=status)


def test_the_time_left_counts_frames_times_pixels(plan: Plan) -> None:
    """The second input has four times the pixels; the third is not known and counts as the mean."""
    clock = Clock()
    progress = BatchProgress(["a", "b", "c"], SilentReporter(), clock)
    assert progress.estimate_seconds() is None
    progress.begin(0)
    progress.measure(0, plan, 0)
    progress.advance(0, 8)
    progress.end(0, item("a", "done"))
    clock.now += 10
    assert progress.estimate_seconds() == pytest.approx(20)  # two more of the same

    progress.begin(1)
    large = plan.model_copy(update={"width": 2 * plan.width, "height": 2 * plan.height})
    progress.measure(1, large, 4)  # resumed with half of its frames
    # 2 units of work remain in b; c counts as the mean of 1 and 4
    assert progress.estimate_seconds() == pytest.approx(10 * (2 + 2.5))
    progress.advance(1, 6)
    clock.now += 10
    assert progress.estimate_seconds() == pytest.approx(20 / 2 * (1 + 2.5))
    progress.end(1, item("b", "failed"))
    progress.end(2, item("c", "skipped"))
    assert progress.estimate_seconds() == 0
    assert progress.describe() == BatchState(
        inputs=3, done=1, skipped=1, failed=1, running=0, waiting=0, eta_seconds=0
    )


def test_lines_show_the_whole_batch() -> None:
    stream = io.StringIO()
    reporter = LineReporter(stream, first_seconds=0)
    state = BatchState(
        inputs=5, done=2, skipped=1, failed=0, running=1, waiting=1, eta_seconds=3700
    )
    reporter.show_batch(state)
    reporter.start(10, 0)
    reporter.update(5, {})
    assert stream.getvalue().endswith("; 2 of 5 inputs done, 1 skipped, 1:01:40 left for all\n")


def read_events(stderr: str) -> list[dict[str, Any]]:
    """Return the events of a run; every event has all keys."""
    events = [json.loads(line) for line in stderr.splitlines() if line.startswith("{")]
    for event in events:
        assert list(event) == list(EVENT)
    return events


def test_the_progress_of_a_run_is_json(pair: tuple[Path, Path], tmp_path: Path) -> None:
    output = tmp_path / "out.mkv"
    done = run_command(pair[0], "--ref-stream", pair[1], "-o", output, "--json-progress")
    assert done.exit_code == 0, done.stderr
    events = read_events(done.stderr)
    assert len(events) == len(done.stderr.splitlines())
    assert {event["input"] for event in events} == {str(pair[0])}
    assert [events[0]["event"], events[-1]["event"]] == ["begin", "end"]
    assert (events[-1]["status"], events[-1]["output"]) == ("done", str(output))

    counted = [event for event in events if event["event"] == "progress"]
    assert [counted[0]["frames_done"], counted[-1]["frames_done"]] == [0, PAIR_FRAMES]
    assert {(event["stage"], event["frames"]) for event in counted} == {("enhance", PAIR_FRAMES)}
    assert counted[-1]["fps"] > 0
    assert counted[-1]["eta_seconds"] == 0
    stages = [event["stage"] for event in events if event["event"] == "step"]
    assert [stages[0], stages[-1]] == ["prepare", "finish"]


def test_the_progress_of_a_batch_names_its_inputs(
    pair: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    shutil.copy(pair[0], "a.mkv")
    Path("b.mkv").write_text("no video")
    shutil.copy(pair[0], "c.mkv")
    Path("c_x2.mkv").touch()
    rest = ("--ref-stream", pair[1], "--skip-existing", "--json-progress")
    done = run_command("a.mkv", "b.mkv", "c.mkv", *rest)
    assert done.exit_code == 1
    events = read_events(done.stderr)
    ends = {event["input"]: event for event in events if event["event"] == "end"}
    assert {name: end["status"] for name, end in ends.items()} == {
        "a.mkv": "done",
        "b.mkv": "failed",
        "c.mkv": "skipped",
    }
    assert "b.mkv" in ends["b.mkv"]["text"]
    (last,) = [event for event in events if event["event"] == "batch"][-1:]
    assert last["batch"] == {
        "inputs": 3,
        "done": 1,
        "skipped": 1,
        "failed": 1,
        "running": 0,
        "waiting": 0,
    }
    # only the error of the command itself is text
    assert [line[:6] for line in done.stderr.splitlines() if line[0] != "{"] == ["error:"]


def test_a_failed_run_ends_with_its_reason(pair: tuple[Path, Path], tmp_path: Path) -> None:
    broken = tmp_path / "broken.mkv"
    broken.write_text("no video")
    done = run_command(broken, "--ref-stream", pair[1], "--json-progress")
    assert done.exit_code == 2
    last = read_events(done.stderr)[-1]
    assert (last["event"], last["status"]) == ("end", "failed")
    assert last["text"] in done.stderr.splitlines()[-1]


def test_control_characters_of_names_stay_inside_the_json() -> None:
    stream = io.StringIO()
    JsonReporter(stream).begin_input("a\n\x1b[31m\u2028b.mkv")
    (line,) = stream.getvalue().splitlines()
    assert json.loads(line)["input"] == "a\n\x1b[31m\u2028b.mkv"
    assert line.isprintable()


def test_several_inputs_at_work_have_no_single_name() -> None:
    stream = io.StringIO()
    reporter = JsonReporter(stream, interval=0)
    reporter.begin_input("a")
    reporter.begin_input("b")
    reporter.start(10, 0)
    reporter.end_input("a", "done", "out", None)
    reporter.update(3, {})
    events = read_events(stream.getvalue())
    assert [event["input"] for event in events] == ["a", "b", None, "a", "b"]
