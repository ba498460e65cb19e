"""Which engine `auto` chooses, from given records: no test times an engine."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from deploy import choice
from deploy.choice import (
    LEAST_PIXELS,
    MOST_AGE,
    Choice,
    Measurement,
    choose_engine,
    is_current,
    make_record,
    measure_engine,
    pick_first_to_end,
)
from deploy.engines.bicubic_engine import BicubicEngine
from deploy.protocol import Engine, EngineError, Pixels
from deploy.registry import Registry

NOW = 1_800_000_000.0  # seconds since 1970
HOUR = 3600.0
DAY = 24 * HOUR
FRAME = 320 * 512  # pixels


def measurement(fps: float, load_seconds: float, spread: float = 0.05) -> Measurement:
    return Measurement(fps * FRAME, fps, load_seconds, spread)


# as on a laptop: OpenVINO compiles for 14 s
USUAL = {
    "torch": measurement(5.0, 0.5),
    "onnx": measurement(4.0, 3.0),
    "openvino": measurement(7.0, 14.0),
}


def record(**changes: Any) -> dict[str, Any]:
    made = make_record(USUAL, {}, measured_at=NOW, busy=False)
    return {**made, **changes}


@pytest.mark.parametrize(
    ("frames", "name"),
    [
        (1, "torch"),
        (100, "torch"),
        (200, "torch"),  # 40.5 s, and OpenVINO 42.6
        (240, "torch"),  # 48.5 s, and OpenVINO 48.3: about as early
        (300, "openvino"),  # 56.9 s, and torch 60.5
        (100_000, "openvino"),
    ],
)
def test_the_engine_that_ends_first_is_chosen(frames: int, name: str) -> None:
    assert pick_first_to_end(record(), frames * FRAME).name == name


def test_the_reason_names_what_takes_long_to_load() -> None:
    fastest = pick_first_to_end(record(), 10_000 * FRAME)
    assert fastest.why == (
        "auto: frames per second measured here: openvino 7, torch 5, onnx 4"
    )  # fmt: skip
    first = pick_first_to_end(record(), FRAME)
    assert first.why == f"{fastest.why}; openvino takes 14 s to load, so torch finishes first"


def test_frames_count_by_their_pixels() -> None:
    # 75 frames of 4 times the size are 300 frames
    assert pick_first_to_end(record(), 75 * (4 * FRAME)).name == "openvino"


def test_without_any_engine_it_is_an_error() -> None:
    nothing = make_record({}, {"torch": "broken"}, measured_at=NOW, busy=False)
    with pytest.raises(EngineError, match="no engine works on this machine: torch: broken"):
        pick_first_to_end(nothing, FRAME)


@pytest.mark.parametrize(
    ("changes", "age", "busy_now", "current"),
    [
        ({}, 0, False, True),
        ({}, 29 * DAY, False, True),
        ({}, 31 * DAY, False, False),
        ({}, -DAY, False, False),  # the clock was set back
        ({"busy": True}, HOUR / 2, False, True),
        ({"busy": True}, 2 * HOUR, False, False),
        ({"busy": True}, 2 * HOUR, True, True),  # measuring now would not be better
        ({"busy": True}, 31 * DAY, True, False),
    ],
)
def test_old_and_disturbed_records_are_not_used(
    changes: dict[str, Any], age: float, busy_now: bool, current: bool
) -> None:
    assert is_current(record(**changes), NOW + age, busy_now=busy_now) == current


def test_a_record_is_current_at_the_moment_it_is_made() -> None:
    made = make_record(USUAL, {}, measured_at=NOW + 0.7, busy=False)
    assert is_current(made, NOW + 0.7, busy_now=False)


def test_records_of_earlier_versions_are_not_used() -> None:
    earlier = {"fps": {"torch": 5.0}, "failed": {}}
    assert not is_current(earlier, NOW, busy_now=False)


def test_turns_that_differ_mean_a_busy_machine() -> None:
    assert not record()["busy"]
    uneven = {**USUAL, "onnx": measurement(4.0, 3.0, spread=0.4)}
    assert make_record(uneven, {}, measured_at=NOW, busy=False)["busy"]
    assert make_record(USUAL, {}, measured_at=NOW, busy=True)["busy"]


class Machine:
    """A machine with given measurements, its clock and its load."""

    def __init__(self, folder: Path) -> None:
        self.registry = Registry(folder)
        self.measurements = USUAL
        self.time = NOW
        self.busy = False
        self.measured = 0

    def measure(self, load: Callable[[], Engine]) -> Measurement:
        self.measured += 1
        return self.measurements[load().info.name]

    def choose(self, pixels: int | None = None) -> Choice:
        def load(name: str) -> Engine:
            engine = BicubicEngine()
            engine.info = replace(engine.info, name=name)
            return engine

        return choose_engine(
            "fast",
            tuple(USUAL),
            load,
            self.registry,
            threads=2,
            notify=lambda _: None,
            pixels=pixels,
            now=lambda: self.time,
            is_busy=lambda: self.busy,
        )


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Machine:
    made = Machine(tmp_path / "engines")
    monkeypatch.setattr(choice, "measure_engine", made.measure)
    return made


def test_little_work_measures_nothing(machine: Machine) -> None:
    found = machine.choose(1920 * 1080)
    assert (found.name, machine.measured) == ("torch", 0)
    assert found.why == "auto: too few pixels to be worth measuring the engines"
    assert machine.choose(LEAST_PIXELS * 100).name == "openvino"
    assert machine.measured == 3
    # and then it uses what is known
    found = machine.choose(1920 * 1080)
    assert (found.name, machine.measured) == ("torch", 3)
    assert "openvino takes 14 s to load" in found.why


def test_a_record_is_used_for_a_month(machine: Machine) -> None:
    machine.choose()
    machine.time += MOST_AGE - DAY
    assert machine.choose().name == "openvino"
    assert machine.measured == 3
    machine.time += 2 * DAY
    machine.measurements = {**USUAL, "onnx": measurement(9.0, 3.0)}
    assert machine.choose().name == "onnx"
    assert machine.measured == 6


def test_a_record_of_a_busy_machine_is_replaced_once_it_is_idle(machine: Machine) -> None:
    machine.busy = True
    machine.measurements = {**USUAL, "openvino": measurement(3.0, 14.0)}
    assert machine.choose().name == "torch"

    machine.time += DAY
    assert machine.choose().name == "torch"
    assert machine.measured == 3

    machine.busy = False
    machine.measurements = USUAL
    assert machine.choose().name == "openvino"
    assert machine.measured == 6
    machine.time += DAY
    machine.choose()
    assert machine.measured == 6


def test_the_time_to_load_is_that_of_the_first_result_without_the_result(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    class Slow(BicubicEngine):
        """Takes 3 s to load, 2 s to compile and 0.5 s per call, of a clock that only it moves."""

        def __init__(self) -> None:
            nonlocal clock
            super().__init__()
            clock += 3
            self.compiled = False

        def enhance(self, lr: Pixels, *refs: Pixels, **options: Any) -> Pixels:
            nonlocal clock
            clock += 0.5 if self.compiled else 2.5
            self.compiled = True
            return super().enhance(lr, *refs, **options)

    clock = 0.0
    monkeypatch.setattr(choice.time, "perf_counter", lambda: clock)
    found = measure_engine(Slow)
    assert found == Measurement(4 * FRAME, fps=4.0, load_seconds=5.0, spread=0.0)


def test_a_machine_that_is_never_quiet_is_measured_ever_more_rarely(machine: Machine) -> None:
    machine.measurements = {**USUAL, "onnx": measurement(4.0, 3.0, spread=0.4)}
    hours = []
    for hour in range(24 * 7):
        before = machine.measured
        machine.time = NOW + hour * HOUR
        assert machine.choose().name == "openvino"
        if machine.measured > before:
            hours.append(hour)
    assert hours == [0, 2, 7, 24, 89]  # once 1, 4, 16 and 64 hours have passed

    # a quiet hour ends it
    machine.measurements = USUAL
    machine.time = NOW + (89 + 257) * HOUR
    machine.choose()
    measured = machine.measured
    machine.time += 28 * DAY
    machine.choose()
    assert machine.measured == measured
