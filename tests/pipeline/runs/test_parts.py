"""Engines that the inputs of a batch share."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from deploy.engines.bicubic_engine import BicubicEngine
from deploy.protocol import Engine
from pipeline.runs.parts import EngineCache
from pipeline.schema.plan import Plan
from tests.support.recordings import plan_pair


def ignore(_: str) -> None:
    pass


@pytest.fixture
def loads(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Return the pixels for which engines are loaded from now on."""
    pixels: list[int] = []

    def load(*_: Any, **options: Any) -> Engine:
        pixels.append(options["pixels"])
        return BicubicEngine()

    monkeypatch.setattr("deploy.load.load_engine", load)
    return pixels


def enlarge(plan: Plan, times: int) -> Plan:
    recording = plan.input.model_copy(update={"width": times * plan.input.width})
    return plan.model_copy(update={"input": recording, "width": times * plan.width})


def test_auto_is_decided_again_for_a_far_larger_input_only(
    pair: tuple[Path, Path], tmp_path: Path, loads: list[int]
) -> None:
    plan = plan_pair(pair, tmp_path / "out.mkv").model_copy(update={"engine": "auto"})
    pixels = plan.width * plan.height * len(plan.reference_map)
    engines = EngineCache()
    for times in (1, 1, 4, 5, 20, 1):
        engines.load(enlarge(plan, times), ignore)
    assert loads == [pixels, 5 * pixels]


def test_a_named_engine_serves_inputs_of_all_sizes(
    pair: tuple[Path, Path], tmp_path: Path, loads: list[int]
) -> None:
    plan = plan_pair(pair, tmp_path / "out.mkv")
    engines = EngineCache()
    first = engines.load(plan, ignore)
    assert engines.load(enlarge(plan, 100), ignore) is first
    assert len(loads) == 1
