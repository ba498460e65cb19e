"""What `plan` says about the time and the disk that a run needs."""

from __future__ import annotations

import json
import time
from pathlib import Path

import pytest

from deploy.choice import Measurement, make_key, make_record
from deploy.load import list_candidates
from deploy.machine import device_facts
from deploy.registry import Registry
from deploy.speed import Speed
from pipeline.planning.cost_estimate import estimate_disk, estimate_seconds
from pipeline.planning.segments import count_passes
from pipeline.schema.plan import Plan
from tests.support.commands import invoke
from tests.support.recordings import plan_pair

PAIR_FRAMES = 20
SIZE = 96 * 128


def plan(pair: tuple[Path, Path], output: Path, *options: str) -> str:
    done = invoke("plan", pair[0], "--ref-stream", pair[1], "-o", output, *options)
    assert done.exit_code == 0, done.output
    return done.stdout


@pytest.fixture
def recorded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Record that torch makes half a frame of the pair per second, and loads in 2 s."""
    monkeypatch.setenv("PIPELINE_CACHE", str(tmp_path / "cache"))
    found = {"torch": Measurement(SIZE / 2, 0.5, 2.0, 0.0)}
    facts = make_record(found, {}, measured_at=time.time(), busy=False)
    key = make_key("fast", list_candidates(), device_facts()["cores"])
    Registry().put(key, b"", "speed", facts)


@pytest.mark.usefixtures("recorded")
def test_the_time_comes_from_the_recorded_speed(pair: tuple[Path, Path], tmp_path: Path) -> None:
    quick = ("--effort", "normal")
    text = plan(pair, tmp_path / "out.mkv", *quick)
    # 20 frames at 0.5 frames per second, and 2 s
    assert "about 0:42 with torch" in text
    assert "0.5 frames per second" in text

    made = json.loads(plan(pair, tmp_path / "out.mkv", "--json", *quick))
    assert made["expected_seconds"] == 42.0
    parsed = Plan.model_validate(made)
    assert parsed.digest() == parsed.model_copy(update={"expected_seconds": None}).digest()


@pytest.mark.usefixtures("recorded")
def test_a_plan_is_cut_as_its_run_would_be(pair: tuple[Path, Path], tmp_path: Path) -> None:
    usual = json.loads(plan(pair, tmp_path / "out.mkv", "--engine", "bicubic", "--json"))
    assert len(usual["segments"]) == 1
    assert usual["expected_seconds"] is None
    # 20 frames take 40 s, so that all fit into one segment
    assert len(json.loads(plan(pair, tmp_path / "out.mkv", "--json"))["segments"]) == 1


def test_an_unknown_speed_names_what_measures_it(
    pair: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PIPELINE_CACHE", str(tmp_path / "cache"))
    text = plan(pair, tmp_path / "out.mkv", "--engine", "torch")
    assert "the time is unknown" in text
    assert "`pipeline engines build` measures it" in text
    assert "of disk" in text
    assert json.loads(plan(pair, tmp_path / "out.mkv", "--json"))["expected_seconds"] is None


def test_frames_without_a_reference_take_no_time_of_the_network(
    pair: tuple[Path, Path], tmp_path: Path
) -> None:
    made = plan_pair(pair, tmp_path / "out.mkv")
    served = sum(choice.ref_pts is not None for choice in made.reference_map)
    assert 0 < served < PAIR_FRAMES
    assert count_passes(made.reference_map) == served
    speed = Speed("torch", SIZE / 2, 2.0)
    assert estimate_seconds(made, speed) == pytest.approx(2.0 + served / 0.5)


def test_the_disk_holds_the_segments_and_the_output(
    pair: tuple[Path, Path], tmp_path: Path
) -> None:
    made = plan_pair(pair, tmp_path / "out.mkv")
    assert estimate_disk(made.model_copy(update={"expected_bytes": 1000})) == 2000
    pictures = tmp_path / "frames" / "%03d.png"
    pictures.parent.mkdir()
    stored = json.loads(plan(pair, pictures, "--engine", "bicubic", "--json"))
    assert stored["expected_bytes"] is None
    bound = 2 * PAIR_FRAMES * SIZE * 3
    assert bound / 20 < estimate_disk(Plan.model_validate(stored)) < bound
