"""Runs whose weights are adapted to the recording first, by the command line."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import pipeline
from crossnetpp.checkpoint import find_weights, read_adapted_facts
from crossnetpp.machine import is_linux
from deploy.protocol import Engine
from pipeline.errors import InputError
from pipeline.paths import sha256
from pipeline.runs import conductor
from pipeline.runs.parts import EngineCache, RunParts
from pipeline.runs.run import run as run_settings
from pipeline.schema.plan import Plan
from pipeline.schema.plan_file import read_plan
from pipeline.schema.settings import RunSettings
from tests.support.camera import write_camera
from tests.support.commands import invoke
from tests.support.killed_command import run_until

OPTIONS = ("--engine", "torch", "--segment", "0.4", "--preset", "ultrafast", "--quiet")
ADAPT = ("--adapt", "0.01")  # the least number of steps


@pytest.fixture(scope="module")
def camera(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path, Path]:
    return write_camera(tmp_path_factory.mktemp("camera"))


@pytest.fixture(scope="module")
def adapted(
    camera: tuple[Path, Path, Path], tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, dict[str, Any]]:
    """Return the output of an uninterrupted run with adapted weights, and its result."""
    output = tmp_path_factory.mktemp("adapted") / "out.mkv"
    return output, run(camera, output, *ADAPT)


def words(camera: tuple[Path, Path, Path], output: Path, *more: object) -> list[object]:
    lr, keys, truth = camera
    given = [*more] if "--runner" in more else ["--runner", "inline", *more]
    files = [lr, "--ref-stream", keys, "-o", output, "--ground-truth", truth]
    return ["run", *files, *OPTIONS, *given, "--json"]


def run(camera: tuple[Path, Path, Path], output: Path, *more: object) -> dict[str, Any]:
    done = invoke(*words(camera, output, *more))
    assert done.exit_code == 0, done.stderr
    result: dict[str, Any] = json.loads(done.stdout)
    return result


def report_on(output: Path) -> str:
    """Return the page of `pipeline report`."""
    page = output.with_suffix(".html")
    done = invoke("report", output, "-o", page)
    assert done.exit_code == 0, done.stderr
    text = page.read_text(encoding="utf-8")
    page.unlink()
    return text


def test_adapted_weights_gain_and_are_described(
    camera: tuple[Path, Path, Path], adapted: tuple[Path, dict[str, Any]], tmp_path: Path
) -> None:
    output, result = adapted
    plain = run(camera, tmp_path / "plain.mkv", "--adapt", "off")
    assert plain["adapted"] is None
    assert result["psnr"] > plain["psnr"]
    assert result["model"] == plain["model"]
    assert result["adapted"]["used"] is True
    assert result["adapted"]["steps"] == 10
    assert result["adapted"]["held_out_gain_db"] >= 0.05
    assert result["adapted"]["seconds"] > 0
    assert 0 < result["adapted"]["blend"] <= 1

    plan = read_plan(output.with_name("out.plan.json"))
    assert plan.adaptation is not None
    assert plan.adaptation.weights_sha256
    assert [pair.pts for pair in plan.adaptation.pairs] == [
        choice.pts for choice in plan.reference_map
    ][::6]
    assert sorted(path.name for path in output.parent.iterdir()) == ["out.mkv", "out.plan.json"]

    before, gain = (result["adapted"][name] for name in ("held_out_db", "held_out_gain_db"))
    assert (
        f"The weights are adapted with 10 steps on up to 6 key frames in "
        f"{result['adapted']['seconds']:.0f} s: PSNR {before:.2f} -&gt; {before + gain:.2f} dB"
    ) in report_on(output)

    again = run(camera, output, *ADAPT)
    assert again["resumed_segments"] == again["segments"]
    assert again["adapted"] == result["adapted"]


@pytest.mark.parametrize(
    ("event", "path"), [("os.rename", "adapted.safetensors"), ("os.rename", ".nut")]
)
def test_a_killed_run_resumes_to_the_same_bits(
    camera: tuple[Path, Path, Path],
    adapted: tuple[Path, dict[str, Any]],
    tmp_path: Path,
    event: str,
    path: str,
) -> None:
    output = tmp_path / "out.mkv"
    run_until(event, path, *words(camera, output, *ADAPT))
    folder = tmp_path / ".out.mkv.run"
    weights = folder / "adapted.safetensors"
    stored = weights.stat().st_mtime_ns if weights.exists() else None
    assert (stored is not None) == (path == ".nut")

    plan = read_plan(folder / "plan.json")
    assert plan.adaptation is not None
    assert plan.adaptation.steps == 10
    assert plan.adaptation.done == (path == ".nut")

    result = run(camera, output, *ADAPT)
    assert sha256(output) == sha256(adapted[0])
    assert result["adapted"]["held_out_gain_db"] == adapted[1]["adapted"]["held_out_gain_db"]
    if stored is not None:  # the weights were not made again
        assert result["adapted"]["seconds"] == plan.adaptation.took_seconds


def test_weights_that_were_damaged_are_made_again(
    camera: tuple[Path, Path, Path], adapted: tuple[Path, dict[str, Any]], tmp_path: Path
) -> None:
    output = tmp_path / "out.mkv"
    run_until("os.rename", "00000.json", *words(camera, output, *ADAPT))
    weights = tmp_path / ".out.mkv.run" / "adapted.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1])
    run(camera, output, *ADAPT)
    assert sha256(output) == sha256(adapted[0])


@pytest.mark.skipif(not is_linux(), reason="Ray runs on Linux only")
def test_all_actors_use_the_weights_that_the_driver_made(
    camera: tuple[Path, Path, Path], adapted: tuple[Path, dict[str, Any]], tmp_path: Path
) -> None:
    output = tmp_path / "out.mkv"
    result = run(camera, output, *ADAPT, "--runner", "ray", "--workers", "1")
    assert result["adapted"]["used"] is True
    assert sha256(output) == sha256(adapted[0])


@pytest.fixture(scope="module")
def camera_weights(
    camera: tuple[Path, Path, Path], tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, dict[str, Any]]:
    """Return a file that `pipeline adapt` wrote, and what it printed."""
    lr, keys, _ = camera
    file = tmp_path_factory.mktemp("weights") / "camera.safetensors"
    made = invoke(
        "adapt", lr, "--ref-stream", keys, "-o", file, "--seconds", "0.01", "--json", "-q"
    )
    assert made.exit_code == 0, made.stderr
    facts: dict[str, Any] = json.loads(made.stdout)
    return file, facts


def test_weights_for_a_camera_are_written_and_used(
    camera: tuple[Path, Path, Path], camera_weights: tuple[Path, dict[str, Any]], tmp_path: Path
) -> None:
    lr, keys, _ = camera
    file, facts = camera_weights
    assert facts["output"] == str(file)
    assert facts["steps"] == 10
    assert facts["key_frames"] == 6
    assert facts["held_out_gain_db"] >= 0.05
    stored = read_adapted_facts(file)
    assert stored is not None
    assert stored.base == sha256(find_weights(facts["model"]))

    again = invoke("adapt", lr, "--ref-stream", keys, "-o", file, "--seconds", "0.01")
    assert again.exit_code == 2
    assert "already exists" in again.stderr

    result = run(camera, tmp_path / "out.mkv", "--adapt", file)
    assert result["adapted"] == {
        "seconds": 0.0,
        "steps": 10,
        "held_out_db": None,
        "held_out_gain_db": stored.held_out_gain_db,
        "blend": stored.blend,
        "used": True,
        "shared": False,
    }
    repeated = run(camera, tmp_path / "out.mkv", "--adapt", file)
    assert repeated["resumed_segments"] == repeated["segments"]

    other = invoke(*words(camera, tmp_path / "x.mkv", "--adapt", file, "--model", file))
    assert other.exit_code == 2
    assert "were adapted from the weights" in other.stderr
    assert other.stderr.count("\n") == 1


def test_adapting_checks_only_the_file_that_it_writes(tmp_path: Path) -> None:
    lr, keys, _ = write_camera(tmp_path, frames=7)
    (tmp_path / "lr_x4.mkv").mkdir()  # where a run would write by default
    (tmp_path / "lr_x4.mkv" / "notes.txt").touch()
    command = ("adapt", lr, "--ref-stream", keys, "--seconds", "0.01", "-q", "-o")

    few = invoke(*command, tmp_path / "camera.safetensors")
    assert few.exit_code == 2
    assert "show 2 frames of the input, but at least 3 are needed" in few.stderr
    assert not list(tmp_path.glob(".*"))

    (tmp_path / "there.safetensors").touch()
    for output, reason in (
        (tmp_path / "none" / "camera.safetensors", "does not exist; create it first"),
        (tmp_path / "there.safetensors", "already exists"),
        (tmp_path / "camera.pt", "does not end with .safetensors"),
    ):
        refused = invoke(*command, output)
        assert refused.exit_code == 2
        assert reason in refused.stderr
        assert refused.stderr.count("\n") == 1


def test_frames_are_enhanced_with_weights_from_a_file(
    camera: tuple[Path, Path, Path], camera_weights: tuple[Path, dict[str, Any]]
) -> None:
    lr, keys, _ = camera
    file, _ = camera_weights

    def enhance_first(**options: Any) -> np.ndarray[Any, Any]:
        return next(pipeline.enhanced_frames(lr, keys, engine="torch", end=0.1, **options)).rgb

    shipped, adapted = enhance_first(adapt="off"), enhance_first(adapt=file)
    assert not np.array_equal(shipped, adapted)
    np.testing.assert_array_equal(adapted, enhance_first(model=file))
    with pytest.raises(InputError, match=r"adapt='30' is not possible for frames"):
        enhance_first(adapt="30")


def test_what_cannot_be_used_for_adapting_is_refused_in_one_line(
    camera: tuple[Path, Path, Path], tmp_path: Path
) -> None:
    shipped = find_weights("fast")
    text = tmp_path / "text.safetensors"
    text.write_text("no weights")
    for value, message in (
        (str(shipped), "were not adapted to a recording"),
        (str(text), "found no readable safetensors file"),
        ("never", "is not auto, off, a positive number of seconds, or a file"),
        ("-3", "is not auto, off, a positive number of seconds, or a file"),
        (str(tmp_path / "gone.safetensors"), "a positive number of seconds, or a file"),
    ):
        done = invoke(*words(camera, tmp_path / "x.mkv", "--adapt", value))
        assert done.exit_code == 2
        assert message in done.stderr
        assert done.stderr.count("\n") == 1
    lr, keys, _ = camera
    for option, value, message in (
        ("--model", str(text), "found no readable safetensors file"),
        ("--seconds", "nan", "--seconds is nan, but must be a finite number above 0"),
        ("--seconds", "inf", "--seconds is inf, but must be a finite number above 0"),
    ):
        made = ("-o", tmp_path / "made.safetensors", "-q", option, value)
        done = invoke("adapt", lr, "--ref-stream", keys, *made)
        assert done.exit_code == 2
        assert message in done.stderr
        assert done.stderr.count("\n") == 1
    assert [path.name for path in tmp_path.iterdir()] == ["text.safetensors"]


class NoEngines(EngineCache):
    """Loads no engine."""

    def load(self, plan: Plan, notify: Callable[[str], None]) -> Engine:
        raise AssertionError(f"loaded {plan.engine}")


class TrainingBeganError(Exception):
    """The run has come as far as the training."""


@pytest.mark.skipif(torch.cuda.is_available(), reason="needs a machine without CUDA")
def test_only_a_missing_engine_is_found_before_training(
    camera: tuple[Path, Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One that is there is loaded after the training only, with the adapted weights."""

    def begin(*_: object) -> None:
        raise TrainingBeganError

    monkeypatch.setattr(conductor, "complete_adaptation", begin)
    lr, keys, _ = camera
    settings = RunSettings(
        input=str(lr),
        ref_stream=str(keys),
        output=str(tmp_path / "out.mkv"),
        engine="tensorrt",
        runner="inline",
        adapt="0.01",
    )
    parts = RunParts(engines=NoEngines())
    with pytest.raises(InputError, match="TensorRT needs an NVIDIA driver"):
        run_settings(settings, parts=parts)
    assert not list(tmp_path.iterdir())
    for engine in ("onnx", "torch"):
        with pytest.raises(TrainingBeganError):
            run_settings(settings.model_copy(update={"engine": engine}), parts=parts)


def test_a_short_run_is_not_adapted_by_default(
    camera: tuple[Path, Path, Path], tmp_path: Path
) -> None:
    result = run(camera, tmp_path / "out.mkv")
    assert result["adapted"] is None
    plan = read_plan(tmp_path / "out.plan.json")
    assert plan.adaptation is None
    assert "weights are" not in report_on(tmp_path / "out.mkv")
