"""The decision whether the network's frames are mixed with those of optical flow."""

from __future__ import annotations

from pathlib import Path

import pytest

from deploy.speed import Speed
from pipeline.planning.capture import make_sensor_capture
from pipeline.planning.cost_estimate import estimate_seconds
from pipeline.planning.edited_plan import load_plan
from pipeline.planning.effort import choose_effort
from pipeline.planning.plan import make_plan
from pipeline.schema.plan import Plan
from pipeline.schema.plan_file import save_plan
from pipeline.schema.settings import ExecutionSettings, RunSettings
from pipeline.tools.degrade import degrade
from tests.support import ROOT

SAMPLE = ROOT / "pipeline" / "samples" / "monster.mp4"


@pytest.mark.parametrize(
    ("options", "fits_db", "is_cpu", "mixes"),
    [
        ({}, 52.0, True, True),
        ({}, 40.0, True, False),  # a codec's noise hides which result is right
        ({}, None, True, False),
        ({}, 52.0, False, False),  # a GPU would have to wait
        ({"runner": "ray"}, 52.0, True, True),  # the same bits as in this process
        ({"address": "ray://host:10001"}, 52.0, True, False),
        ({"engine": "bicubic"}, 52.0, True, False),
        ({"effort": "normal"}, 52.0, True, False),
        ({"effort": "best"}, 52.0, False, True),
        ({"effort": "best", "runner": "ray"}, 52.0, True, True),
        ({"effort": "best"}, None, True, True),
        ({"effort": "best"}, 40.0, True, False),
        ({"effort": "best", "engine": "bicubic"}, 52.0, True, False),
    ],
)
def test_frames_are_mixed_where_it_helps(
    options: dict[str, str], fits_db: float | None, is_cpu: bool, mixes: bool
) -> None:
    settings = ExecutionSettings.model_validate(options)
    found = choose_effort(settings, fits_db, 1920 * 1080, lambda: is_cpu)
    assert found.mixes_flow is mixes
    is_best = options.get("effort") == "best" and "engine" not in options
    assert found.averages_mirrored is is_best
    note = "; ".join(found.notes)
    assert ("four mirrored versions" in note) is is_best
    assert ("optical flow is not mixed in" in note) is (is_best and fits_db == 40)
    assert ("are mixed with those of optical flow" in note) is mixes


@pytest.fixture(scope="module")
def lr(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a quarter of the sample, without loss."""
    path = tmp_path_factory.mktemp("effort") / "lr.mkv"
    degrade(str(SAMPLE), path, scale=4)
    return path


def plan_run(lr: Path, **changes: object) -> RunSettings:
    values = {"input": str(lr), "ref_stream": str(SAMPLE), "output": str(lr.with_name("out.mkv"))}
    return RunSettings.model_validate(values | changes)


def test_plans_record_the_effort_and_may_be_run_with_another(lr: Path, tmp_path: Path) -> None:
    best = make_plan(plan_run(lr, effort="best"))
    normal = make_plan(plan_run(lr, effort="normal"))
    assert (best.mixes_flow, normal.mixes_flow) == (True, False)
    assert (best.averages_mirrored, normal.averages_mirrored) == (True, False)
    assert any("optical flow, because the input is nearly lossless" in note for note in best.notes)
    assert best.digest() != normal.digest()
    assert '"mixes_flow":false' in normal.model_dump_json()

    speed = Speed("torch", 1e6, 0.0)
    assert estimate_seconds(best, speed) == pytest.approx(4.6 * estimate_seconds(normal, speed))

    save_plan(best, tmp_path / "plan.json")
    for effort, mixes in (("normal", False), ("best", True), ("auto", True)):
        given = RunSettings(input=str(lr), effort=effort)
        loaded = load_plan(tmp_path / "plan.json", given)
        assert (loaded.mixes_flow, loaded.averages_mirrored) == (mixes, mixes)


@pytest.fixture(scope="module")
def made(lr: Path) -> dict[str, Plan]:
    """Return a plan for each of these efforts."""
    return {effort: make_plan(plan_run(lr, effort=effort)) for effort in ("best", "normal")}


AVERAGED = "four mirrored versions"
MIXED = "are mixed with those"
NOT_MIXED = "are not mixed with those"
COMPRESSED = "is not mixed in"
NO_EFFECT = "--effort best: no effect, because "


def list_claims(plan: Plan) -> set[str]:
    """Return what the plan's notes state about its effort."""
    notes = "; ".join(plan.notes)
    claims = (AVERAGED, MIXED, NOT_MIXED, COMPRESSED, NO_EFFECT)
    return {claim for claim in claims if claim in notes}


@pytest.mark.parametrize(
    ("effort", "changes", "edits", "claims"),
    [
        ("best", {}, {}, {AVERAGED, MIXED}),
        ("best", {"effort": "best"}, {}, {AVERAGED, MIXED}),
        ("best", {"effort": "normal"}, {}, {NOT_MIXED}),
        ("best", {"effort": "fast"}, {}, {NOT_MIXED}),
        ("best", {"engine": "bicubic"}, {}, {NOT_MIXED}),
        ("best", {}, {"engine": "bicubic"}, {NOT_MIXED}),
        ("best", {}, {"mixes_flow": False}, {AVERAGED}),
        ("best", {}, {"averages_mirrored": False}, {MIXED}),
        ("best", {"effort": "best", "engine": "bicubic"}, {}, {NO_EFFECT, NOT_MIXED}),
        ("normal", {}, {}, set()),
        ("normal", {"effort": "best"}, {}, {AVERAGED, MIXED}),
        ("normal", {"effort": "best"}, {"restores_from_db": 35.0}, {AVERAGED, COMPRESSED}),
    ],
)
def test_the_notes_of_a_changed_plan_are_true_of_it(
    lr: Path,
    tmp_path: Path,
    made: dict[str, Plan],
    effort: str,
    changes: dict[str, str],
    edits: dict[str, object],
    claims: set[str],
) -> None:
    save_plan(made[effort].model_copy(update=edits), tmp_path / "plan.json")
    given = RunSettings.model_validate({"input": str(lr), **changes})
    changed = load_plan(tmp_path / "plan.json", given)
    assert list_claims(changed) == claims

    # whatever one run wrote into its plan is replaced by the next
    save_plan(changed, tmp_path / "again.json")
    normal = load_plan(tmp_path / "again.json", RunSettings(input=str(lr), effort="normal"))
    assert list_claims(normal) == ({NOT_MIXED} if changed.mixes_flow else set())


def test_the_fit_of_a_capture_from_a_file_is_that_of_another_recording(
    lr: Path, made: dict[str, Plan], tmp_path: Path
) -> None:
    capture = make_sensor_capture(4).model_copy(update={"source": "file", "fits_db": 35.0})
    save_plan(made["normal"].model_copy(update={"capture": capture}), tmp_path / "plan.json")
    best = load_plan(tmp_path / "plan.json", RunSettings(input=str(lr), effort="best"))
    assert best.mixes_flow
    assert best.notes[-1].endswith("optical flow, as requested")


def test_edits_of_key_frames_are_not_mixed_away(lr: Path, tmp_path: Path) -> None:
    plan = make_plan(plan_run(lr, effort="best", trust_reference=True))
    assert not plan.mixes_flow
    assert not plan.averages_mirrored
    assert list_claims(plan) == {NO_EFFECT}

    save_plan(plan, tmp_path / "plan.json")
    for effort, claims in (("best", {NO_EFFECT}), ("normal", set()), ("auto", set())):
        given = RunSettings(input=str(lr), effort=effort)
        assert list_claims(load_plan(tmp_path / "plan.json", given)) == claims


def test_the_best_effort_of_an_engine_without_a_network_has_no_effect(lr: Path) -> None:
    plan = make_plan(plan_run(lr, effort="best", engine="bicubic"))
    assert f"{NO_EFFECT}the engine bicubic uses no network" in plan.notes
    assert not list_claims(make_plan(plan_run(lr, effort="normal", engine="bicubic")))


def test_large_frames_are_mixed_only_on_request() -> None:
    large = 33_000_000
    assert not choose_effort(ExecutionSettings(), 52.0, large, lambda: True).mixes_flow
    assert choose_effort(ExecutionSettings(effort="best"), 52.0, large, lambda: True).mixes_flow


def test_a_stored_plan_is_not_mixed_where_a_new_one_would_not_be(lr: Path, tmp_path: Path) -> None:
    best = make_plan(plan_run(lr, effort="best"))
    compressed = best.model_copy(update={"mixes_flow": False, "restores_from_db": 35.0})
    save_plan(compressed, tmp_path / "compressed.json")
    given = RunSettings(input=str(lr), effort="best")
    again = load_plan(tmp_path / "compressed.json", given)
    assert (again.mixes_flow, again.averages_mirrored) == (False, True)

    save_plan(best, tmp_path / "best.json")
    plain = load_plan(tmp_path / "best.json", RunSettings(input=str(lr), engine="bicubic"))
    assert (plain.mixes_flow, plain.averages_mirrored) == (False, False)
    assert plain.notes[-1] == "the network's frames are not mixed with those of optical flow"
