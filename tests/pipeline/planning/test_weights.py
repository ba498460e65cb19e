"""The choice of shipped weights for an input."""

from __future__ import annotations

from pathlib import Path

from pipeline.planning.plan import make_plan
from pipeline.schema.plan import Plan
from pipeline.schema.settings import RunSettings
from tests.support import ROOT

SAMPLE = ROOT / "pipeline" / "samples" / "monster.mp4"


def plan_run(lr: Path, **changes: object) -> Plan:
    values = {"input": str(lr), "ref_stream": str(SAMPLE), "output": str(lr.with_name("out.mkv"))}
    return make_plan(RunSettings.model_validate({**values, **changes}))


def test_a_compressed_input_gets_its_own_weights_and_a_note(compressed: Path) -> None:
    plan = plan_run(compressed)
    assert plan.model == "fast-recorded"
    assert any(n.startswith("weights: fast-recorded, because the input is") for n in plan.notes)


def test_a_faithful_input_keeps_the_usual_weights(faithful: Path) -> None:
    plan = plan_run(faithful)
    assert plan.model == "fast"
    assert not any("weights" in note for note in plan.notes)


def test_the_usual_weights_stay_where_nothing_is_measured(compressed: Path) -> None:
    assert plan_run(compressed, capture="bicubic").model == "fast"


def test_weights_that_the_user_names_are_used(compressed: Path) -> None:
    assert plan_run(compressed, model="fast").model == "fast"
    assert plan_run(compressed, engine="bicubic").model == "fast"
