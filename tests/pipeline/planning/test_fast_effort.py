"""The effort `fast`: a smaller network, and one reference per frame."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from crossnetpp.capture.variants import QUICK, RECORDED
from crossnetpp.checkpoint import load_network
from crossnetpp.networks.fast import CrossNetFast
from pipeline.planning.edited_plan import load_plan
from pipeline.planning.plan import make_plan
from pipeline.schema.adaptation import Adaptation
from pipeline.schema.plan import Plan
from pipeline.schema.plan_file import save_plan
from pipeline.schema.settings import RunSettings
from pipeline.tools.degrade import degrade
from tests.support import ROOT

SAMPLE = ROOT / "pipeline" / "samples" / "monster.mp4"


@pytest.fixture(scope="module")
def key_frames(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return every 15th frame of the sample."""
    path = tmp_path_factory.mktemp("key_frames") / "ref.mkv"
    degrade(str(SAMPLE), path, scale=1, every=15)
    return path


@pytest.fixture(scope="module")
def plan_run(key_frames: Path) -> Callable[..., Plan]:
    """Return a function that plans a run for an LR clip, with the settings passed as keywords."""

    def make(lr: Path, **changes: object) -> Plan:
        output = str(lr.with_name("out.mkv"))
        values = {"input": str(lr), "ref_stream": str(key_frames), "output": output}
        return make_plan(RunSettings.model_validate({**values, **changes}))

    return make


def count_references(plan: Plan) -> int:
    """Return the largest number of references of any frame."""
    return max(len(choice.references) for choice in plan.reference_map)


def test_it_chooses_the_smaller_network_that_suits_the_input(
    plan_run: Callable[..., Plan], faithful: Path, compressed: Path
) -> None:
    plan = plan_run(faithful, effort="fast")
    assert (plan.model, plan.mixes_flow, count_references(plan)) == ("fast-quick", False, 1)
    assert plan_run(compressed, effort="fast").model == "fast-recorded-quick"


def test_what_the_user_names_is_kept(plan_run: Callable[..., Plan], faithful: Path) -> None:
    plan = plan_run(faithful, effort="fast", model="fast", ref_count=2)
    assert (plan.model, plan.mixes_flow) == ("fast", False)
    assert count_references(plan) == 2


def test_a_stored_plan_can_be_run_with_the_smaller_network(
    plan_run: Callable[..., Plan], faithful: Path, tmp_path: Path
) -> None:
    save_plan(plan_run(faithful, effort="best"), tmp_path / "plan.json")
    given = {"input": str(faithful), "effort": "fast"}
    plan = load_plan(tmp_path / "plan.json", RunSettings.model_validate(given))
    assert (plan.model, plan.mixes_flow) == ("fast-quick", False)
    plan = load_plan(
        tmp_path / "plan.json", RunSettings.model_validate({**given, "model": "fast-recorded"})
    )
    assert plan.model == "fast-recorded"


@pytest.mark.parametrize(
    ("changes", "model"),
    [
        ({"effort": "normal"}, "fast"),
        ({"effort": "best"}, "fast"),
        ({"effort": "fast"}, "fast-quick"),
        ({}, "fast-quick"),
        ({"effort": "normal", "model": "fast-quick"}, "fast-quick"),
    ],
)
def test_a_plan_for_the_smaller_network_can_be_run_with_the_usual_one(
    plan_run: Callable[..., Plan],
    faithful: Path,
    tmp_path: Path,
    changes: dict[str, str],
    model: str,
) -> None:
    adaptation = Adaptation(request="seconds", seconds=90, steps=10)
    quick = plan_run(faithful, effort="fast").model_copy(update={"adaptation": adaptation})
    save_plan(quick, tmp_path / "plan.json")
    given = RunSettings.model_validate({"input": str(faithful), **changes})
    plan = load_plan(tmp_path / "plan.json", given)
    assert plan.model == model
    assert count_references(plan) == 1
    is_usual = model == "fast"
    assert any("the plan still decides the number" in note for note in plan.notes) == is_usual
    # other weights need another number of steps
    assert plan.adaptation is not None
    assert (plan.adaptation.steps is None) == (is_usual or "model" in changes)

    save_plan(plan, tmp_path / "again.json")
    given = RunSettings.model_validate({"input": str(faithful), "effort": "fast"})
    again = load_plan(tmp_path / "again.json", given)
    assert again.model == "fast-quick"
    assert not any(note.startswith("weights: fast, ") for note in again.notes)


def test_a_note_about_weights_is_dropped_with_them(
    plan_run: Callable[..., Plan], compressed: Path, tmp_path: Path
) -> None:
    plan = plan_run(compressed, effort="fast")
    assert any(note.startswith("weights: fast-recorded-quick, because") for note in plan.notes)
    save_plan(plan, tmp_path / "plan.json")

    def list_notes(**changes: str) -> list[str]:
        given = RunSettings.model_validate({"input": str(compressed), **changes})
        notes = load_plan(tmp_path / "plan.json", given).notes
        return [note for note in notes if note.startswith("weights: ")]

    assert len(list_notes()) == 1
    assert list_notes(model="fast") == []
    assert list_notes(engine="bicubic") == []
    (note,) = list_notes(effort="normal")
    assert note.startswith("weights: fast-recorded, instead of fast-recorded-quick")


@pytest.mark.parametrize("model", QUICK)
def test_the_smaller_networks_have_the_parts_that_the_larger_ones_have(model: str) -> None:
    quick, usual = load_network(QUICK[model]), load_network(model)
    assert isinstance(quick, CrossNetFast)
    assert isinstance(usual, CrossNetFast)
    assert quick.config.chroma == usual.config.chroma
    assert quick.config.votes == usual.config.votes
    assert sum(p.numel() for p in quick.parameters()) < sum(p.numel() for p in usual.parameters())


def test_every_smaller_network_has_a_variant_for_recordings() -> None:
    assert RECORDED["fast-quick"] == QUICK["fast-recorded"]
