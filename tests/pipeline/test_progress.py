"""The progress of long work: what reporters show, and that every long command reports to one."""

from __future__ import annotations

import contextlib
import io
import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from pipeline import progress
from pipeline.measuring.clips import evaluate
from pipeline.planning.plan import make_plan
from pipeline.progress import (
    Count,
    LineReporter,
    Pace,
    SilentReporter,
    format_bytes,
    make_reporter,
)
from pipeline.report.page import write_report
from pipeline.runs.run import run
from pipeline.schema.settings import RunSettings
from pipeline.tools.compare import write_comparison
from pipeline.tools.convert import convert_light_field
from pipeline.tools.degrade import degrade
from pipeline.tools.engines import Outcome, time_engines
from pipeline.tools.look import LookOptions, write_pictures
from pipeline.tools.train import show_training, train_network
from pipeline.tools.verify import verify_output
from tests.support import DATA, scenes
from tests.support.commands import invoke
from tests.support.recordings import settings_for

PAIR_FRAMES = 12


class Recorder(SilentReporter):
    """Keep the total of every step, and the last number of items done."""

    def __init__(self) -> None:
        self.open = 0
        self.steps: dict[str, tuple[int, int]] = {}

    @contextmanager
    def step(self, what: str, total: int = 0, done: int = 0) -> Iterator[Count]:
        # a terminal has room for one bar
        assert not self.open
        self.open += 1
        self.steps[what] = (total, done)

        def count(done: int, detail: str = "") -> None:
            self.steps[what] = (total, done)

        try:
            yield count
        finally:
            self.open -= 1


def test_lines_tell_how_far_a_step_is() -> None:
    stream = io.StringIO()
    with LineReporter(stream, first_seconds=0).step("measuring", 40) as count:
        count(10)
        count(11)  # too soon after the line before
    (line,) = stream.getvalue().splitlines()
    assert line.startswith("measuring: 10/40, ")
    assert line.endswith(" left")

    stream = io.StringIO()
    with LineReporter(stream, first_seconds=0).step("looking") as count:
        count(3, "loss 0.2")
    assert stream.getvalue() == "looking: 3, loss 0.2\n"


def test_a_long_step_that_reports_nothing_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    written = threading.Event()

    class Log(io.StringIO):
        def write(self, text: str) -> int:
            written.set()
            return super().write(text)

    monkeypatch.setattr(progress, "_SILENT_SECONDS", 0.0)
    log = Log()
    with LineReporter(log, first_seconds=0.01).step("comparing a.mkv"):
        assert written.wait(60)
    assert log.getvalue() == "comparing a.mkv ...\n"

    running = threading.active_count()
    with LineReporter(log, first_seconds=1000).step("comparing b.mkv"):
        pass
    assert "b.mkv" not in log.getvalue()
    assert threading.active_count() <= running + 1


def test_a_short_step_writes_no_line() -> None:
    stream = io.StringIO()
    with LineReporter(stream, first_seconds=1000).step("measuring", 2) as count:
        count(1)
        count(2)
    assert stream.getvalue() == ""


def test_without_a_terminal_or_when_quiet_there_is_no_bar(
    capsys: pytest.CaptureFixture[str],
) -> None:
    for reporter in (make_reporter(), make_reporter(quiet=True)):
        with reporter.step("measuring", 2) as count:
            count(2)
    captured = capsys.readouterr()
    assert (captured.out, captured.err) == ("", "")


def test_the_bar_of_a_step_vanishes(monkeypatch: pytest.MonkeyPatch) -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    stream = Terminal()
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setattr("sys.stderr", stream)
    with make_reporter().step("measuring", 7) as count:
        count(7)
    assert "measuring" in stream.getvalue()
    assert "7/7" in stream.getvalue()
    # the cursor goes back to the line of the bar, which is erased
    assert stream.getvalue().endswith("\x1b[2K")


def test_the_pace_of_resumed_work_counts_from_its_start() -> None:
    pace = Pace(total=100, done=90)
    assert pace.describe_left(90) == "? left"


def test_a_run_shows_its_planning_and_its_end(pair: tuple[Path, Path], tmp_path: Path) -> None:
    shown = Recorder()
    settings = settings_for(pair, tmp_path / "out.mkv", ground_truth=str(pair[1]))
    run(settings, shown)
    assert list(shown.steps) == [
        "fetching the recordings",
        "opening the recordings",
        "looking for scene cuts",
        "aligning the clocks",
        "comparing the reference with the input",
        "loading the engine",
        "joining the segments and verifying the output",
        "measuring",
    ]
    assert shown.steps["looking for scene cuts"] == (PAIR_FRAMES, PAIR_FRAMES)
    assert shown.steps["measuring"] == (PAIR_FRAMES, PAIR_FRAMES)

    reported = Recorder()
    write_report(
        tmp_path / "out.mkv", tmp_path / "page.html", ground_truth=str(pair[1]), progress=reported
    )
    assert reported.steps == {
        "comparing with the ground truth": (PAIR_FRAMES, PAIR_FRAMES),
        "measuring frames": (PAIR_FRAMES, PAIR_FRAMES),
    }


def test_planning_by_content_shows_the_pass_over_the_reference(
    pair: tuple[Path, Path], tmp_path: Path
) -> None:
    shown = Recorder()
    lr, hr = map(str, pair)
    make_plan(
        RunSettings(input=lr, ref_stream=hr, output=str(tmp_path / "o.mkv"), select="content"),
        shown,
    )
    assert shown.steps["looking at the reference"] == (0, PAIR_FRAMES)


def _degrade(pair: tuple[Path, Path], folder: Path, shown: Recorder) -> None:
    degrade(str(pair[1]), folder / "small.mkv", scale=2, every=5, progress=shown)


def _evaluate(pair: tuple[Path, Path], folder: Path, shown: Recorder) -> None:
    evaluate(pair[1], pair[1], skip=frozenset({0}), progress=shown)


def _compare(pair: tuple[Path, Path], folder: Path, shown: Recorder) -> None:
    inputs = [str(pair[0]), str(pair[1])]
    write_comparison(inputs, folder / "c.mkv", mode="side", labels=["a", "b"], progress=shown)


def _compare_picture(pair: tuple[Path, Path], folder: Path, shown: Recorder) -> None:
    inputs = [str(pair[0]), str(pair[1])]
    write_comparison(
        inputs, folder / "c.png", mode="side", labels=["a", "b"], at=0.12, progress=shown
    )


def _bench(pair: tuple[Path, Path], folder: Path, shown: Recorder) -> None:
    time_engines("fast", ["torch", "tensorrt"], (64, 96), frames=1, turns=2, progress=shown)


def _convert(pair: tuple[Path, Path], folder: Path, shown: Recorder) -> None:
    source = scenes.write_folder(folder / "lf", 2, 3)
    convert_light_field(str(source), folder / "out.png", "mosaic", progress=shown)


def _look(pair: tuple[Path, Path], folder: Path, shown: Recorder) -> None:
    source = scenes.write_folder(folder / "lf", 2, 3)
    options = LookOptions(epi=True, alphas=(0.0, 0.5), depth=True, sweep="gif")
    write_pictures(str(source), folder / "out", options, progress=shown)


def _verify(pair: tuple[Path, Path], folder: Path, shown: Recorder) -> None:
    with contextlib.chdir(pair[0].parent):
        assert verify_output("lr.mkv", "lr.mkv", shown).same


@pytest.mark.parametrize(
    ("work", "steps"),
    [
        (_degrade, {"reducing": (3, 3)}),
        (_evaluate, {"measuring": (11, 11)}),
        (_compare, {"composing": (12, 12)}),
        (_compare_picture, {"composing": (4, 3)}),
        (_convert, {"converting": (6, 6), "comparing": (6, 6)}),
        (_look, {"drawing": (6, 6)}),
        (_verify, {"reading the times of lr.mkv": (0, 0), "comparing lr.mkv with lr.mkv": (0, 0)}),
        (_bench, {"loading engines": (2, 2), "timing engines": (2, 2)}),
    ],
)
def test_long_work_is_counted(
    pair: tuple[Path, Path],
    tmp_path: Path,
    work: Callable[[tuple[Path, Path], Path, Recorder], None],
    steps: dict[str, tuple[int, int]],
) -> None:
    shown = Recorder()
    work(pair, tmp_path, shown)
    assert shown.steps == steps


def test_probing_is_shown(pair: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    shown = Recorder()
    monkeypatch.setattr("pipeline.progress.make_reporter", lambda *, quiet: shown)
    assert invoke("probe", pair[0]).exit_code == 0
    assert list(shown.steps) == [f"opening {pair[0]}"]


def test_testing_engines_is_shown_until_each_outcome(monkeypatch: pytest.MonkeyPatch) -> None:
    shown = Recorder()
    open_steps = []

    def retest(*_: object, **__: object) -> Iterator[Outcome]:
        for name in ("torch", "onnx"):
            open_steps.append(shown.open)
            yield Outcome(f"{name} is the baseline")

    monkeypatch.setattr("pipeline.tools.engines.retest_engines", retest)
    monkeypatch.setattr("pipeline.progress.make_reporter", lambda *, quiet: shown)
    done = invoke("engines", "verify")
    assert (done.exit_code, done.stdout.count("is the baseline")) == (0, 2)
    assert open_steps == [1, 1]
    assert list(shown.steps) == ["testing engines"]
    assert shown.open == 0


def test_training_is_counted_from_its_first_step() -> None:
    shown = Recorder()
    with show_training(shown, 50) as show:
        assert list(shown.steps) == ["opening the training data"]
        show(30, "")
        assert shown.steps["training"] == (50, 30)
        show(31, "total 0.2")
    assert shown.steps["training"] == (50, 31)
    assert shown.open == 0


def test_training_writes_nothing_when_it_is_quiet(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = tmp_path / "tiny.yaml"
    source = {"kind": "photographs", "files": ["kodak_21.jpg"]}
    tiny = {"steps": 1, "batch": 1, "size": 64, "workers": 0, "log_every": 1, "sources": [source]}
    config.write_text(json.dumps(tiny))
    train_network(str(config), DATA, tmp_path / "w.safetensors", quiet=True)
    captured = capsys.readouterr()
    assert (captured.out, captured.err) == ("", "")
    assert (tmp_path / "w.log.jsonl").is_file()


@pytest.mark.parametrize(
    "command",
    [
        "degrade",
        "evaluate",
        "compare",
        "report",
        "train",
        "plan",
        "run",
        "engines bench",
        "engines build",
        "engines export",
        "engines verify",
        "probe",
        "convert",
        "look",
        "verify",
    ],
)
def test_every_long_command_can_be_quiet(command: str) -> None:
    listed = invoke(*command.split(), "--help")
    assert "--quiet" in listed.stdout


@pytest.mark.parametrize(
    ("count", "text"),
    [
        (0, "0.0 kB"),
        (1_234, "1.2 kB"),
        (12_345, "12 kB"),
        (99_600, "0.1 MB"),
        (1_500_000, "1.5 MB"),
        (9_960_000, "10 MB"),
        (999_400_000, "999 MB"),
        (999_600_000, "1.0 GB"),
        (76_600_000_000, "76.6 GB"),
        (2_345_600_000_000, "2345.6 GB"),
    ],
)
def test_numbers_of_bytes_have_a_suitable_unit(count: int, text: str) -> None:
    assert format_bytes(count) == text
