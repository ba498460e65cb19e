"""The recorded speed of engines, which plans use and nothing measures again."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from deploy.choice import MOST_AGE, Measurement, make_key, make_record
from deploy.load import list_candidates
from deploy.machine import device_facts
from deploy.registry import Registry, default_root
from deploy.speed import Speed, find_speed

FRAME = 320 * 512  # pixels


def store_speeds(*, age: float = 0.0) -> None:
    """Store speeds of torch and another candidate, as a first run with `auto` does."""
    candidates = list_candidates()
    other = next(name for name in candidates if name != "torch")
    found = {
        "torch": Measurement(5.0 * FRAME, 5.0, 0.5, 0.0),
        other: Measurement(7.0 * FRAME, 7.0, 14.0, 0.0),
    }
    facts = make_record(found, {}, measured_at=time.time() - age, busy=True)
    key = make_key("fast", candidates, device_facts()["cores"])
    Registry().put(key, b"", "speed", facts)


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Use an empty registry."""
    monkeypatch.setenv("PIPELINE_CACHE", str(tmp_path / "cache"))


def test_a_recorded_speed_is_that_of_the_engine_that_would_run() -> None:
    store_speeds()
    torch = Speed("torch", 5.0 * FRAME, 0.5)
    assert find_speed("torch", "fast", FRAME) == torch
    assert find_speed("auto", "fast", FRAME) == torch
    fastest = find_speed("auto", "fast", 10_000 * FRAME)
    assert fastest is not None
    assert (fastest.engine, fastest.pixels_per_second) != (torch.engine, torch.pixels_per_second)
    assert torch.seconds(100 * FRAME) == pytest.approx(20.5)


def test_without_a_current_record_the_speed_is_unknown_and_nothing_is_written() -> None:
    assert find_speed("auto", "fast", FRAME) is None
    assert not default_root().exists()

    store_speeds(age=MOST_AGE + 60)
    assert find_speed("auto", "fast", FRAME) is None
    store_speeds()
    assert find_speed("bicubic", "fast", FRAME) is None
    assert find_speed("auto", "no such weights", FRAME) is None
