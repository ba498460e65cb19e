"""Plans keep what `--adapt` requested, and runs of a plan follow it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from crossnetpp.checkpoint import AdaptedFacts, find_weights, load_network, save_weights
from pipeline.adaptation.training import PRESET
from pipeline.paths import sha256
from pipeline.planning.edited_plan import load_plan
from pipeline.schema.adaptation import Adaptation
from pipeline.schema.plan_file import read_plan, save_plan
from pipeline.schema.settings import RunSettings
from tests.support.camera import write_camera
from tests.support.commands import invoke
from tests.support.killed_command import run_until

Camera = tuple[Path, Path, Path]
ENCODER = ("--engine", "torch", "--segment", "0.4", "--preset", "ultrafast")


@pytest.fixture(scope="module")
def camera(tmp_path_factory: pytest.TempPathFactory) -> Camera:
    return write_camera(tmp_path_factory.mktemp("camera"))


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a file of weights as `pipeline adapt` writes them, which were not really trained."""
    file = tmp_path_factory.mktemp("weights") / "camera.safetensors"
    base = find_weights("fast")
    facts = AdaptedFacts(base=sha256(base), steps=10, held_out_gain_db=0.3, blend=0.5)
    save_weights(load_network("fast"), PRESET, file, facts)
    return file


def plan_with(camera: Camera, folder: Path, *options: object) -> tuple[Path, dict[str, Any]]:
    """Return the path of a saved plan, and what the command printed."""
    saved = folder / "plan.json"
    files = (camera[0], "--ref-stream", camera[1], "-o", folder / "out.mkv", "--save", saved)
    done = invoke("plan", *files, *ENCODER, "--json", "-q", *options)
    assert done.exit_code == 0, done.stderr
    made: dict[str, Any] = json.loads(done.stdout)
    return saved, made


def words(camera: Camera, folder: Path, *options: object) -> list[object]:
    """Return the words of a run of the plan in a folder."""
    files = [camera[0], "--ref-stream", camera[1], "-o", folder / "out.mkv"]
    planned = ["--plan", folder / "plan.json", "--runner", "inline", "-q", "--json"]
    return ["run", *files, *planned, *options]


def run(camera: Camera, folder: Path, *options: object) -> dict[str, Any]:
    done = invoke(*words(camera, folder, *options))
    assert done.exit_code == 0, done.stderr
    result: dict[str, Any] = json.loads(done.stdout)
    return result


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ((), Adaptation(request="auto")),
        (("--adapt", "off"), Adaptation(request="off")),
        (("--adapt", "1:30"), Adaptation(request="seconds", seconds=90)),
    ],
)
def test_a_plan_keeps_the_request(
    camera: Camera, tmp_path: Path, options: tuple[str, ...], expected: Adaptation
) -> None:
    saved, _ = plan_with(camera, tmp_path, *options)
    assert read_plan(saved).adaptation == expected
    again = invoke("plan", camera[0], "--plan", saved, "-o", tmp_path / "out.mkv", "--json", "-q")
    assert json.loads(again.stdout)["adaptation"]["request"] == expected.request


def test_a_run_trains_for_the_time_in_its_plan_and_resumes_to_the_same_bits(
    camera: Camera, tmp_path: Path
) -> None:
    plan_with(camera, tmp_path, "--adapt", "0.01")
    run_until("os.rename", ".nut", *words(camera, tmp_path))
    resumed = run(camera, tmp_path)
    assert resumed["adapted"]["steps"] == 10

    direct = tmp_path / "direct.mkv"
    command = ("run", camera[0], "--ref-stream", camera[1], "-o", direct, *ENCODER)
    done = invoke(*command, "--adapt", "0.01", "--runner", "inline", "-q")
    assert done.exit_code == 0, done.stderr
    assert sha256(tmp_path / "out.mkv") == sha256(direct)

    finished = run(camera, tmp_path)
    assert finished["resumed_segments"] == finished["segments"]


@pytest.mark.parametrize("value", ["off", "file"])
def test_the_adapt_of_a_run_replaces_that_of_its_plan(
    camera: Camera, weights: Path, tmp_path: Path, value: str
) -> None:
    plan_with(camera, tmp_path, "--adapt", "0.01")
    chosen = weights if value == "file" else value
    result = run(camera, tmp_path, "--adapt", chosen)
    assert (result["adapted"] is None) == (value == "off")
    assert result["model"] == (str(weights) if value == "file" else "fast")


def test_a_plan_that_is_not_adapted_stays_so(camera: Camera, tmp_path: Path) -> None:
    plan_with(camera, tmp_path, "--adapt", "off")
    assert run(camera, tmp_path)["adapted"] is None
    stored = read_plan(tmp_path / "out.plan.json").adaptation
    assert stored is not None
    assert stored.request == "off"


def test_a_plan_has_the_weights_from_a_file(camera: Camera, weights: Path, tmp_path: Path) -> None:
    _, made = plan_with(camera, tmp_path, "--adapt", weights)
    assert made["model"] == str(weights)
    assert made["adaptation"]["request"] == "file"
    assert made["adaptation"]["held_out_gain_db"] == 0.3

    result = run(camera, tmp_path)
    assert result["model"] == str(weights)
    assert result["adapted"]["used"] is True
    finished = run(camera, tmp_path)
    assert finished["resumed_segments"] == finished["segments"]


@pytest.mark.parametrize("replaces", [False, True])
def test_weights_from_a_file_decide_the_network(
    camera: Camera, weights: Path, tmp_path: Path, replaces: bool
) -> None:
    effort = ("--effort", "fast")
    saved, made = plan_with(camera, tmp_path, "--adapt", "off" if replaces else weights, *effort)
    if replaces:
        command = ("plan", camera[0], "--plan", saved, "-o", tmp_path / "out.mkv", "--json", "-q")
        made = json.loads(invoke(*command, "--adapt", weights, *effort).stdout)
    assert made["model"] == str(weights)
    note = f"weights: {weights.name}, the file of --adapt, which decides the network"
    assert any(text.startswith(note) for text in made["notes"])


def test_a_plan_with_weights_from_a_file_has_no_smaller_network(
    camera: Camera, weights: Path, tmp_path: Path
) -> None:
    saved, made = plan_with(camera, tmp_path, "--adapt", weights)
    assert not any(note.startswith("weights: ") for note in made["notes"])

    fast = load_plan(saved, RunSettings(input=str(camera[0]), effort="fast"))
    assert fast.model == str(weights)
    note = f"weights: {weights.name}, as in the plan, because it has no smaller variant"
    assert any(text.startswith(note) for text in fast.notes)

    save_plan(fast, saved)
    normal = load_plan(saved, RunSettings(input=str(camera[0]), effort="normal"))
    assert not any(text.startswith("weights: ") for text in normal.notes)


def test_a_plan_cannot_pass_off_other_weights_as_adapted(
    camera: Camera, weights: Path, tmp_path: Path
) -> None:
    saved, _ = plan_with(camera, tmp_path, "--adapt", weights)
    plan = read_plan(saved)
    for model, reason in (
        (str(find_weights("fast")), "is not a file written by `pipeline adapt`"),
        (str(tmp_path / "gone.safetensors"), "gone.safetensors"),
    ):
        save_plan(plan.model_copy(update={"model": model}), saved)
        refused = invoke(*words(camera, tmp_path))
        assert refused.exit_code == 2
        assert reason in refused.stderr
        assert refused.stderr.count("\n") == 1
    assert not (tmp_path / "out.mkv").exists()
