"""An output that the same command finished earlier is done; any other is refused."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from deploy.protocol import Engine
from jobs.stress.hostile.killing import program
from pipeline.assembly.record import format_command, read_command
from pipeline.errors import OutputExistsError
from pipeline.ledger.durable import content_digest
from pipeline.ledger.plan_beside import plan_path
from pipeline.planning.capture import make_sensor_capture
from pipeline.planning.plan import make_plan
from pipeline.runs.finished import find_finished_plan
from pipeline.runs.parts import EngineCache, RunParts
from pipeline.runs.run import run
from pipeline.schema.plan import Plan
from pipeline.schema.plan_file import save_plan
from pipeline.schema.settings import RunSettings
from tests.support import ROOT
from tests.support.recordings import settings_for, texture, write_video
from tests.support.scenes import flowers, save_picture

PAIR_FRAMES = 20


@pytest.fixture
def copied(pair: tuple[Path, Path], tmp_path: Path) -> tuple[Path, Path]:
    """Return copies of an input and its reference, which a test may change."""
    lr, hr = (Path(shutil.copy(path, tmp_path)) for path in pair)
    return lr, hr


@pytest.mark.parametrize("output", ["out.mkv", "frames/%06d.png"])
def test_the_same_settings_find_their_output_finished(
    copied: tuple[Path, Path], tmp_path: Path, output: str
) -> None:
    out = tmp_path / output
    video_only = {"preset": None} if "%" in output else {}
    first = run(settings_for(copied, out, **video_only))
    before = content_digest(Path(first.output))
    # defaults, places and names of files are no settings of the output
    same = {"max_ref_distance": 2, "workers": 3, "sandbox": "off", "crf": None}
    moved = copied[1].rename(tmp_path / "moved.mkv")
    again = run(settings_for((copied[0], moved), out, **same, **video_only))
    assert (again.frames, again.resumed_segments, again.segments) == (20, 2, 2)
    assert (again.engine, again.device) == (first.engine, first.device)
    assert content_digest(Path(first.output)) == before
    assert not list(tmp_path.glob(".*"))


@pytest.mark.parametrize("kind", ["folder", "one picture", "views"])
def test_finished_pictures_and_views_are_found(tmp_path: Path, kind: str) -> None:
    name = "view_{row:02}_{col:02}.png" if kind == "views" else "{row}.png"
    pair = (tmp_path / "lr", tmp_path / "hr")
    for row in range(2):
        for col in range(2):
            sharp = flowers(row, col)
            for folder, step in zip(pair, (2, 1), strict=True):
                save_picture(folder / name.format(row=row, col=col), sharp[::step, ::step])
    if kind == "one picture":
        pair = (pair[0] / "0.png", pair[1] / "0.png")
    out = tmp_path / ("out.png" if kind == "one picture" else "out")
    chosen = settings_for(pair, out, preset=None)
    first = run(chosen)
    assert (first.resumed_segments, run(chosen).resumed_segments) == (0, first.segments)
    if kind == "views":
        # the default, given explicitly
        plain = settings_for(pair, out, preset=None, consistent=False)
        assert run(plain).resumed_segments == first.segments
    with pytest.raises(OutputExistsError, match="already exists"):
        run(settings_for(pair, out, preset=None, batch=1))


def change_input(lr: Path, hr: Path, out: Path) -> None:
    write_video(lr, [texture(i + 1, 48, 64) for i in range(PAIR_FRAMES)])


def change_reference(lr: Path, hr: Path, out: Path) -> None:
    write_video(hr, [texture(i + 1, 96, 128) for i in range(PAIR_FRAMES)])


def cut_output(lr: Path, hr: Path, out: Path) -> None:
    times = out.stat()
    out.write_bytes(out.read_bytes()[: out.stat().st_size // 2])
    os.utime(out, ns=(times.st_atime_ns, times.st_mtime_ns))


def replace_output(lr: Path, hr: Path, out: Path) -> None:
    out.write_bytes(out.read_bytes())


def forget_plan(lr: Path, hr: Path, out: Path) -> None:
    plan_path(out).unlink()


@pytest.mark.parametrize(
    "spoil", [change_input, change_reference, cut_output, replace_output, forget_plan]
)
def test_an_output_of_other_or_damaged_files_is_refused(
    copied: tuple[Path, Path], tmp_path: Path, spoil: Callable[[Path, Path, Path], None]
) -> None:
    out = tmp_path / "out.mkv"
    run(settings_for(copied, out))
    spoil(*copied, out)
    before = content_digest(out)
    with pytest.raises(OutputExistsError, match="already exists"):
        run(settings_for(copied, out))
    assert content_digest(out) == before


@pytest.mark.parametrize(
    "other",
    [
        {"crf": 30.0},
        {"end": 0.4},
        {"ref_offset": 0.2},
        {"segment": 5},
        {"batch": 1},
        {"preset": None},
    ],
)
def test_an_output_of_other_settings_is_refused(
    pair: tuple[Path, Path], tmp_path: Path, other: dict[str, object]
) -> None:
    out = tmp_path / "out.mkv"
    run(settings_for(pair, out))
    with pytest.raises(OutputExistsError, match="already exists"):
        run(settings_for(pair, out, **other))


def write_capture(path: Path, *weights: float) -> Path:
    """Write a capture of scale 2 whose kernel has these middle weights each way."""
    row = (0.0, 0.0, 0.0, *weights, 0.0, 0.0, 0.0)
    path.write_text(json.dumps({"scale": 2, "rows": [row], "columns": [row]}))
    return path


def test_files_of_captures_are_compared_by_content(pair: tuple[Path, Path], tmp_path: Path) -> None:
    out = tmp_path / "out.mkv"
    file = write_capture(tmp_path / "box.json", 0.5, 0.5)
    first = run(settings_for(pair, out, capture=str(file)))
    assert first.model == "none"
    moved = file.rename(tmp_path / "moved.json")
    assert run(settings_for(pair, out, capture=str(moved))).resumed_segments == first.segments

    write_capture(moved, 0.4, 0.6)
    for other in (str(moved), "auto", "sensor"):
        with pytest.raises(OutputExistsError, match="already exists"):
            run(settings_for(pair, out, capture=other))


@pytest.mark.parametrize(
    ("there", "here", "found"),
    [
        ({}, {}, True),
        ({}, {"model": "fast"}, True),
        ({"model": "fast"}, {}, True),
        ({"model": "fast-recorded"}, {}, False),
        ({"model": "fast-recorded"}, {"model": "fast"}, False),
        ({"adapt": "off"}, {"adapt": "off"}, True),
        ({"adapt": "off"}, {}, False),
    ],
)
def test_weights_are_compared_by_content(
    pair: tuple[Path, Path],
    tmp_path: Path,
    there: dict[str, object],
    here: dict[str, object],
    found: bool,
) -> None:
    """What an engine does with the weights plays no part."""
    out = tmp_path / "out.mkv"
    common = {"engine": "torch", "end": 0.08, "capture": "sensor"}
    settings = settings_for(pair, out, **common, **there)
    assert run(settings, parts=RunParts(engines=BicubicEngines())).model != "none"
    plan = find_finished_plan(settings_for(pair, out, **common, **here), str(out))
    assert (plan is not None) == found


def test_a_capture_from_a_file_does_not_choose_the_weights(
    pair: tuple[Path, Path], tmp_path: Path
) -> None:
    """Neither in a run nor where a finished output is looked for."""
    file, out = tmp_path / "capture.json", tmp_path / "out.mkv"
    capture = make_sensor_capture(2).model_copy(update={"source": "measured", "fits_db": 38.0})
    file.write_text(capture.model_dump_json())
    settings = settings_for(pair, out, engine="torch", end=0.08, capture=str(file))
    assert run(settings, parts=RunParts(engines=BicubicEngines())).model == "fast"
    assert find_finished_plan(settings, str(out)) is not None


class BicubicEngines(EngineCache):
    """Loads the bicubic engine for every plan."""

    def load(self, plan: Plan, notify: Callable[[str], None]) -> Engine:
        return super().load(plan.model_copy(update={"engine": "bicubic"}), notify)


def test_a_plan_finds_its_output_finished(pair: tuple[Path, Path], tmp_path: Path) -> None:
    out = tmp_path / "out.mkv"
    chosen = settings_for(pair, out)
    save_plan(make_plan(chosen), tmp_path / "plan.json")
    values: dict[str, object] = {
        "plan": str(tmp_path / "plan.json"),
        "segment": 10.0,
        "preset": None,
    }
    run(settings_for(pair, out, **values))
    assert run(settings_for(pair, out, **values)).resumed_segments == 2

    text = (tmp_path / "plan.json").read_text()
    (tmp_path / "plan.json").write_text(text.replace('"on_error": "stop"', '"on_error": "conceal"'))
    with pytest.raises(OutputExistsError, match="already exists"):
        run(settings_for(pair, out, **values))


def test_a_recorded_command_is_read_back() -> None:
    settings = RunSettings.model_validate(
        {"input": "a b.mkv", "crf": 18, "force": True, "consistent": False, "start": "0:01"}
    )
    assert read_command(format_command(settings)) == {
        "crf": "18.0", "force": "True", "consistent": "False", "start": "1.0",
    }  # fmt: skip


APPEARS = """
import sys
from pathlib import Path
from pipeline.cli.main import main

def write_file(event, arguments):
    if event == "os.rename" and str(arguments[1]).endswith("00000.json"):
        Path(sys.argv[-1]).with_suffix(".plan.json").write_text("precious notes")

sys.addaudithook(write_file)
main()
"""


def test_a_file_that_appears_as_the_plan_is_not_overwritten(
    pair: tuple[Path, Path], tmp_path: Path
) -> None:
    out = tmp_path / "out.mkv"
    words = ["--engine", "bicubic", "--runner", "inline", "-q", "-o", str(out)]
    command = [sys.executable, "-c", APPEARS, "run", str(pair[0]), "--ref-stream", str(pair[1])]
    done = subprocess.run([*command, *words], capture_output=True, text=True, check=False)
    assert done.returncode == 2, done.stderr
    assert "is not a plan" in done.stderr
    assert (tmp_path / "out.plan.json").read_text() == "precious notes"
    assert not out.exists()

    # the segments are kept
    (tmp_path / "out.plan.json").unlink()
    again = subprocess.run(
        [sys.executable, "-m", "pipeline", *command[3:], *words, "--json"],
        capture_output=True,
        check=True,
    )
    assert json.loads(again.stdout)["resumed_segments"] == 1


def test_an_interrupt_while_publishing_says_that_the_output_is_complete(
    pair: tuple[Path, Path], tmp_path: Path
) -> None:
    out = tmp_path / "out.mkv"
    words = ["--engine", "bicubic", "--runner", "inline", "-q", "-o", str(out)]
    command = ["run", str(pair[0]), "--ref-stream", str(pair[1]), *words]
    interrupted = program(signal.SIGINT, "os.rename", str(out))
    environment = os.environ | {"PYTHONPATH": str(ROOT)}  # jobs are not installed
    done = subprocess.run(
        [*interrupted, *command], capture_output=True, text=True, env=environment, check=False
    )
    assert done.returncode == 130
    assert done.stderr == f"error: interrupted after {out} was published; it is complete\n"
    assert out.is_file()
    again = subprocess.run([sys.executable, "-m", "pipeline", *command], check=False)
    assert again.returncode == 0
