"""Whole runs: killed, interrupted and resumed runs write the bits of undisturbed ones."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import cv2
import pytest

from pipeline.assembly.finish import finish
from pipeline.errors import InputError, Interrupted, PairingError, StageError, VerificationError
from pipeline.interrupt import Interrupts
from pipeline.ledger.durable import publish_output
from pipeline.ledger.ledger import Ledger
from pipeline.ledger.run_folder import run_folder_of
from pipeline.media.read.probe import probe, scan
from pipeline.paths import sha256
from pipeline.planning.pinned import pin_plan
from pipeline.progress import SilentReporter
from pipeline.runs import conductor
from pipeline.runs.parts import RunParts
from pipeline.runs.result import RunResult
from pipeline.runs.run import run
from pipeline.schema.capture import Capture
from pipeline.schema.plan import Plan
from tests.support import ROOT
from tests.support.recordings import plan_pair, settings_for, texture, write_pair

PAIR_FRAMES = 60


@pytest.fixture(scope="module")
def undisturbed(pair: tuple[Path, Path], tmp_path_factory: pytest.TempPathFactory) -> str:
    """Return the sha256 of an output made without any interruption."""
    result = run(settings_for(pair, tmp_path_factory.mktemp("whole") / "out.mkv"))
    assert result.segments >= 5
    return sha256(Path(result.output))


def arguments_for(pair: tuple[Path, Path], output: Path) -> list[str]:
    """Return the command line of `settings_for`."""
    files = ["run", str(pair[0]), "--ref-stream", str(pair[1]), "-o", str(output)]
    chosen = "--engine bicubic --runner inline --segment 0.4 --preset ultrafast --batch 4"
    return [*files, *chosen.split()]


def start_slow(
    pair: tuple[Path, Path], output: Path, *, seconds: float = 0.3, verifying: float = 0.0
) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "tests.support.slow_command", str(seconds), str(verifying)]
    return subprocess.Popen(
        [*command, *arguments_for(pair, output)],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def wait_for(process: subprocess.Popen[str], condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 60
    while not condition():
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.02)


def records(output: Path) -> int:
    return len(list(run_folder_of(output).glob("segments/[0-9]*.json")))


def test_a_run_writes_the_output_and_the_plan_and_nothing_else(
    pair: tuple[Path, Path], tmp_path: Path
) -> None:
    result = run(settings_for(pair, tmp_path / "out.mkv"))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out.mkv", "out.plan.json"]
    assert result.reference_map == str(tmp_path / "out.plan.json")
    plan = Plan.model_validate_json(Path(result.reference_map).read_text())
    assert len(plan.reference_map) == result.frames == PAIR_FRAMES
    assert plan.threads >= 1
    assert len(scan(probe(result.output)).pts) == PAIR_FRAMES
    assert (result.engine, result.scale, result.resumed_segments) == ("bicubic", 2, 0)
    assert (result.psnr, result.ssim) == (None, None)
    assert json.loads(result.model_dump_json()).keys() == RunResult.model_fields.keys()


def test_two_runs_give_the_same_bits(
    pair: tuple[Path, Path], tmp_path: Path, undisturbed: str
) -> None:
    assert sha256(Path(run(settings_for(pair, tmp_path / "o.mkv")).output)) == undisturbed


@pytest.mark.parametrize("moment", ["after one segment", "after three segments", "assembled"])
def test_a_killed_run_is_resumed_bit_for_bit(
    pair: tuple[Path, Path], tmp_path: Path, undisturbed: str, moment: str
) -> None:
    output = tmp_path / "out.mkv"
    assembled = run_folder_of(output) / "assembled.mkv"
    last = moment == "assembled"
    process = start_slow(pair, output, seconds=0 if last else 0.25, verifying=60 if last else 0)
    if last:
        wait_for(process, assembled.exists)
    else:
        wait_for(process, lambda: records(output) >= (1 if moment == "after one segment" else 3))
    process.kill()
    process.communicate()
    assert not output.exists()
    committed = records(output)
    result = run(settings_for(pair, output))
    assert result.resumed_segments == committed > 0
    assert (committed == result.segments) == last
    assert sha256(output) == undisturbed
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out.mkv", "out.plan.json"]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_run_says_how_to_resume(
    pair: tuple[Path, Path], tmp_path: Path, undisturbed: str, number: signal.Signals
) -> None:
    output = tmp_path / "out.mkv"
    process = start_slow(pair, output)
    wait_for(process, lambda: records(output) >= 2)
    start = time.monotonic()
    process.send_signal(number)
    stdout, stderr = process.communicate(timeout=20)
    assert time.monotonic() - start < 3
    assert process.returncode == 130
    assert stdout == ""
    last = stderr.splitlines()[-1]
    assert last.startswith("error: interrupted with ")
    assert last.endswith("run the same command again to resume")
    assert "Traceback" not in stderr
    assert list(run_folder_of(output).glob("segments/attempt-*")) == []
    assert run(settings_for(pair, output)).resumed_segments >= 2
    assert sha256(output) == undisturbed


def test_a_signal_before_anything_was_written(
    pair: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*_: object, **options: object) -> Plan:
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(5)
        raise AssertionError

    monkeypatch.setattr(conductor, "make_plan", interrupted)
    before = signal.getsignal(signal.SIGTERM)
    with pytest.raises(Interrupted, match="before anything was written"):
        run(settings_for(pair, tmp_path / "out.mkv"))
    assert signal.getsignal(signal.SIGTERM) is before
    assert list(tmp_path.iterdir()) == []


def test_a_signal_during_publishing_waits() -> None:
    reached = []

    def publish() -> None:
        with Interrupts() as interrupts, interrupts.defer():
            os.kill(os.getpid(), signal.SIGINT)
            time.sleep(0.01)
            reached.append("end")

    with pytest.raises(KeyboardInterrupt):
        publish()
    assert reached == ["end"]


def test_a_signal_is_not_lost_if_publishing_fails() -> None:
    """A batch would go on with its next input."""

    def publish() -> None:
        with Interrupts() as interrupts, interrupts.defer():
            os.kill(os.getpid(), signal.SIGINT)
            time.sleep(0.01)
            raise OSError("no space")

    with pytest.raises(KeyboardInterrupt) as raised:
        publish()
    assert isinstance(raised.value.__context__, OSError)


def test_a_second_signal_does_not_disturb_the_clean_up() -> None:
    cleaned = []

    def work() -> None:
        with Interrupts() as interrupts:
            try:
                os.kill(os.getpid(), signal.SIGINT)
                time.sleep(1)
            finally:
                os.kill(os.getpid(), signal.SIGINT)
                time.sleep(0.01)
                with interrupts.defer():
                    os.kill(os.getpid(), signal.SIGINT)
                    time.sleep(0.01)
                cleaned.append(True)

    with pytest.raises(KeyboardInterrupt):
        work()
    assert cleaned == [True]


def test_interrupts_outside_the_main_thread_do_nothing() -> None:
    before = signal.getsignal(signal.SIGINT)

    def body() -> None:
        with Interrupts() as interrupts:
            interrupts.install()

    thread = threading.Thread(target=body)
    thread.start()
    thread.join()
    assert signal.getsignal(signal.SIGINT) is before


def with_comparison(find: Callable[..., list[str]]) -> RunParts:
    """Return the parts of a run that verifies its output by `find`."""
    return RunParts(finish=partial(finish, compare=find))


def test_a_difference_is_never_published(pair: tuple[Path, Path], tmp_path: Path) -> None:
    found = [f"frame {i} is missing" for i in range(5)]
    parts = with_comparison(lambda *_: found)
    with pytest.raises(VerificationError, match=r"frame 0 is missing; .* and 2 more"):
        run(settings_for(pair, tmp_path / "out.mkv"), parts=parts)
    assert [path.name for path in tmp_path.iterdir()] == [".out.mkv.run"]


def test_assembling_without_space_keeps_the_segments(
    pair: tuple[Path, Path], tmp_path: Path, undisturbed: str
) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    output = tmp_path / "out.mkv"
    parts = RunParts(finish=partial(finish, join=full))
    with pytest.raises(StageError, match="No space left on device; the segments are kept"):
        run(settings_for(pair, output), parts=parts)
    result = run(settings_for(pair, output))
    assert result.resumed_segments == result.segments
    assert sha256(output) == undisturbed


def test_force_replaces_an_output_only_at_the_end(
    pair: tuple[Path, Path], tmp_path: Path, undisturbed: str
) -> None:
    output = tmp_path / "out.mkv"
    output.write_bytes(b"precious")
    with pytest.raises(InputError, match="--force"):
        run(settings_for(pair, output))
    parts = with_comparison(lambda *_: ["something"])
    with pytest.raises(VerificationError):
        run(settings_for(pair, output, force=True), parts=parts)
    assert output.read_bytes() == b"precious"
    run(settings_for(pair, output, force=True))
    assert sha256(output) == undisturbed


def test_an_output_that_appears_meanwhile_is_not_replaced(
    pair: tuple[Path, Path], tmp_path: Path
) -> None:
    output = tmp_path / "out.mkv"

    def meanwhile(*_: object) -> list[str]:
        output.write_bytes(b"precious")
        return []

    with pytest.raises(InputError, match="appeared during the run"):
        run(settings_for(pair, output), parts=with_comparison(meanwhile))
    assert output.read_bytes() == b"precious"


def test_a_folder_of_stills_becomes_a_folder(tmp_path: Path) -> None:
    lr, hr, output = tmp_path / "lr", tmp_path / "hr", tmp_path / "out"
    for folder, height in ((lr, 48), (hr, 96)):
        folder.mkdir()
        for index in range(5):
            picture = cv2.resize(texture(index, 96, 128), (height * 4 // 3, height))
            cv2.imwrite(str(folder / f"{index:03d}.png"), picture)
    result = run(settings_for((lr, hr), output, preset=None))
    assert result.frames == 5
    (output / "stale.png").touch()
    run(settings_for((lr, hr), output, preset=None, force=True))
    assert sorted(path.name for path in output.iterdir()) == [f"{i:03d}.png" for i in range(5)]
    assert sorted(p.name for p in tmp_path.iterdir()) == ["hr", "lr", "out", "out.plan.json"]


def test_a_folder_replaces_a_folder(tmp_path: Path) -> None:
    for name in ("finished", "out", "spare"):
        (tmp_path / name).mkdir()
        (tmp_path / name / f"{name}.png").touch()
    publish_output(tmp_path / "finished", tmp_path / "out", tmp_path / "spare", force=True)
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["finished.png"]
    assert not (tmp_path / "spare" / "replaced").exists()


def test_the_plan_beside_the_output_can_be_edited_and_run(
    pair: tuple[Path, Path], tmp_path: Path
) -> None:
    first = run(settings_for(pair, tmp_path / "out.mkv"))
    content = json.loads(Path(first.reference_map).read_text())
    for choice in content["reference_map"][:5]:
        choice.update(ref_pts=None, seconds=None, why="edited")
    edited = tmp_path / "edited.json"
    edited.write_text(json.dumps(content))
    second = run(settings_for(pair, tmp_path / "out.mkv", plan=str(edited), force=True))
    plan = Plan.model_validate_json(Path(second.reference_map).read_text())
    assert [c.why for c in plan.reference_map[:6]].count("edited") == 5
    assert second.frames == PAIR_FRAMES


def test_quality_is_measured_against_the_ground_truth(tmp_path: Path) -> None:
    short = write_pair(tmp_path, frames=6)
    result = run(settings_for(short, tmp_path / "out.mkv", ground_truth=str(short[1])))
    assert result.psnr is not None
    assert result.psnr > 20
    assert result.ssim is not None
    assert 0.5 < result.ssim <= 1


def test_a_ground_truth_of_another_size_is_refused_before_the_run(
    pair: tuple[Path, Path], tmp_path: Path
) -> None:
    with pytest.raises(PairingError, match="the ground truth is 64x48"):
        run(settings_for(pair, tmp_path / "out.mkv", ground_truth=str(pair[0])))
    assert list(tmp_path.iterdir()) == []


def test_a_part_of_the_input(pair: tuple[Path, Path], tmp_path: Path) -> None:
    result = run(settings_for(pair, tmp_path / "out.mkv", start="0.6", end="1.6"))
    assert result.frames == 25
    assert len(scan(probe(result.output)).pts) == 25


def test_a_resumed_run_keeps_its_number_of_threads(pair: tuple[Path, Path], tmp_path: Path) -> None:
    plan = plan_pair(pair, tmp_path / "out.mkv")
    undecided = plan.model_copy(update={"threads": 0})
    assert pin_plan(undecided).threads == len(os.sched_getaffinity(0))
    with Ledger(plan.model_copy(update={"threads": 7})):
        assert pin_plan(undecided).threads == 7
        assert pin_plan(undecided.model_copy(update={"batch": 5})).threads != 7


def test_a_resumed_run_keeps_the_capture_that_was_measured(
    pair: tuple[Path, Path], tmp_path: Path
) -> None:
    row = (0.0, 0.0, 0.0, 0.5, 0.5, 0.0, 0.0, 0.0)
    measured = Capture(source="measured", scale=2, rows=(row,), columns=(row,))
    elsewhere = measured.model_copy(update={"shift": (0.001, 0.0)})
    plan = plan_pair(pair, tmp_path / "out.mkv").model_copy(update={"threads": 0})
    begun = plan.model_copy(update={"capture": measured, "threads": 7})
    with Ledger(begun):
        for capture in (elsewhere, None):  # None where another processor measures nothing better
            again = pin_plan(plan.model_copy(update={"capture": capture}), keep_capture=True)
            assert again == begun
        # what the user sets or edits is not replaced
        for capture in (None, elsewhere, elsewhere.model_copy(update={"source": "file"})):
            again = pin_plan(plan.model_copy(update={"capture": capture}))
            assert again.capture == capture
            assert again.threads != 7


def test_other_weights_in_the_same_file_do_not_resume_a_run(
    pair: tuple[Path, Path], tmp_path: Path
) -> None:
    weights = tmp_path / "my.safetensors"
    plan = plan_pair(pair, tmp_path / "out.mkv")
    plan = plan.model_copy(update={"model": str(weights), "engine": "torch"})
    weights.write_bytes(b"one")
    first = pin_plan(plan)
    assert pin_plan(first).digest() == first.digest()
    weights.write_bytes(b"two")
    assert pin_plan(plan).digest() != first.digest()


def test_progress_is_closed_when_a_run_fails(tmp_path: Path) -> None:
    closed = []

    class Closing(SilentReporter):
        def close(self) -> None:
            closed.append(True)

    missing = (tmp_path / "no.mkv", tmp_path / "no.mkv")
    with pytest.raises(InputError):
        run(settings_for(missing, tmp_path / "out.mkv"), Closing())
    assert closed == [True]
