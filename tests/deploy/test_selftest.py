"""The self-test that every engine must pass, and the choice of `auto` among those that do."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from deploy import choice, load, selftest
from deploy.choice import Measurement, choose_engine, measure_fps, pick_fastest
from deploy.engines.bicubic_engine import BicubicEngine
from deploy.engines.onnx_engine import OnnxEngine
from deploy.engines.torch_engine import TorchEngine
from deploy.load import load_engine
from deploy.protocol import Engine, EngineError, Pixels
from deploy.registry import Registry
from deploy.selftest import (
    SelfTestError,
    compare_engines,
    load_baseline_engine,
    make_test_batches,
    require_selftest,
    selftest_key,
)


class Broken(BicubicEngine):
    """Bicubic with an error of `levels` in one row of every frame."""

    def __init__(self, levels: int = 0, *, precision: str = "fp32") -> None:
        super().__init__()
        self.info = replace(self.info, name="broken", model="fast", precision=precision)
        self._levels = levels

    def enhance(self, lr: Pixels, *refs: Pixels, **options: Any) -> Pixels:
        sr = super().enhance(lr, *refs, **options).clip(40, 200)
        sr[:, 5] += np.uint8(self._levels)
        return sr


@pytest.fixture
def registry(tmp_path: Path) -> Registry:
    return Registry(tmp_path / "engines")


def test_a_self_test_has_noise_and_motion() -> None:
    (noise, *_), (small, (ref,), *_), several = make_test_batches()
    assert len(several.refs) == 2
    assert several.weights is not None
    assert several.kernel is not None
    assert noise.shape == (2, 24, 40, 3)
    assert ref.shape == (2, small.shape[1] * 4, small.shape[2] * 4, 3)
    baseline = load_baseline_engine("fast")
    assert (baseline.info.name, baseline.info.precision) == ("torch", "fp32")
    # plain up-sampling fails: an engine must find the photograph in the moved reference
    plain = compare_engines(BicubicEngine(), baseline)
    assert plain["psnr"] < 40


def test_figures_are_those_of_an_independent_computation() -> None:
    expected = 10 * np.log10(255**2 / (50**2 / 96))
    figures = compare_engines(Broken(50), Broken())
    assert figures["largest_difference"] == 50
    assert figures["psnr"] == pytest.approx(expected, abs=0.01)
    assert compare_engines(Broken(), Broken()) == {"psnr": 99.0, "largest_difference": 0.0}


def test_an_engine_that_fails_stays_quarantined(registry: Registry) -> None:
    loaded = 0

    def load_baseline() -> Engine:
        nonlocal loaded
        loaded += 1
        return Broken()

    with pytest.raises(
        SelfTestError, match=r"by up to 50 levels \(PSNR 3\d\.\d dB, expected at least 50 dB\)"
    ):
        require_selftest(Broken(50), registry, load_baseline)
    with pytest.raises(SelfTestError, match=r"expected at least 50 dB\) \(found earlier; "):
        require_selftest(Broken(50), registry, load_baseline)
    assert loaded == 1
    # half precision may differ more than single precision
    assert (
        require_selftest(Broken(1, precision="fp16"), registry, load_baseline)["largest_difference"]
        == 1
    )
    assert require_selftest(Broken(0), registry, load_baseline, retest=True)["psnr"] == 99.0
    assert require_selftest(Broken(50), registry, load_baseline)["psnr"] == 99.0
    assert loaded == 3


def test_another_driver_or_library_needs_another_test(
    registry: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    require_selftest(Broken(), registry, Broken)
    monkeypatch.setattr(selftest, "library_versions", lambda: {"torch": "99"})
    with pytest.raises(SelfTestError):
        require_selftest(Broken(50), registry, Broken)


def test_figures_of_a_test_with_fewer_batches_are_not_trusted(registry: Registry) -> None:
    old = {name: value for name, value in selftest_key(Broken()).items() if name != "test"}
    registry.put(old, b"", "selftest", {"psnr": 99.0, "largest_difference": 0.0})
    with pytest.raises(SelfTestError):
        require_selftest(Broken(50), registry, Broken)


def test_the_figures_of_a_real_engine_are_stored(registry: Registry) -> None:
    loaded = load_engine("onnx", registry=registry)
    assert loaded.info.reason == "requested"
    (tested,) = [e for e in registry.entries() if e["key"]["kind"] == "selftest"]
    assert tested["key"]["engine"] == "onnx"
    assert tested["facts"]["psnr"] > 60


def test_torch_replaces_an_engine_that_fails(
    registry: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    def wrong(self: OnnxEngine, lr: Pixels, *refs: Pixels, **options: Any) -> Pixels:
        return refs[0]

    monkeypatch.setattr(OnnxEngine, "enhance", wrong)
    loaded = load_engine("onnx", registry=registry)
    assert loaded.info.name == "torch"
    assert "onnx: its results differ from PyTorch's" in loaded.info.reason
    assert loaded.info.reason.endswith("torch fp32 runs instead")


def test_convolutions_in_half_precision_pass() -> None:
    figures = compare_engines(TorchEngine(precision="fp16"), load_baseline_engine("fast"))
    assert 45 < figures["psnr"] < 90


def stub_speeds(speeds: dict[str, float]) -> Callable[[Callable[[], Engine]], Measurement]:
    """Return a replacement of `measure_engine` with speeds in frames per second, by engine."""

    def measure(load_it: Callable[[], Engine]) -> Measurement:
        fps = speeds[load_it().info.name]
        return Measurement(fps * 320 * 512, fps, load_seconds=1.0, spread=0.0)

    return measure


def load_stub(name: str) -> Engine:
    if name == "absent":
        raise EngineError("cannot be loaded")
    engine = BicubicEngine()
    engine.info = replace(engine.info, name=name)
    return engine


def test_auto_measures_once_and_chooses_the_fastest(
    registry: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    lines: list[str] = []
    monkeypatch.setattr(choice, "measure_engine", stub_speeds({"torch": 4.0, "onnx": 5.0}))
    names = ("torch", "onnx", "absent")
    for _ in range(2):
        found = choose_engine("fast", names, load_stub, registry, threads=1, notify=lines.append)
        assert found.name == "onnx"
        assert "onnx 5, torch 4; not usable: absent" in found.why
    assert len(lines) == 1
    slower = stub_speeds({"torch": 6.0, "onnx": 5.0})
    monkeypatch.setattr(choice, "measure_engine", slower)
    options = {"threads": 1, "notify": lines.append}
    assert choose_engine("fast", names, load_stub, registry, **options).name == "onnx"
    assert (
        choose_engine("fast", names, load_stub, registry, **options, remeasure=True).name == "torch"
    )
    monkeypatch.setattr(choice, "measure_engine", stub_speeds({"torch": 9.0, "onnx": 5.0}))
    assert (
        choose_engine("fast", names, load_stub, registry, threads=2, notify=lines.append).name
        == "torch"
    )


def test_auto_is_torch_if_no_registry_can_be_used(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    blocked = tmp_path / "file"
    blocked.touch()
    monkeypatch.setenv("PIPELINE_CACHE", str(blocked))
    assert "measurements cannot be stored" in load_engine("auto").info.reason
    assert load_engine("torch").info.name == "torch"
    with pytest.raises(EngineError, match="set PIPELINE_CACHE to a folder that you own"):
        load_engine("onnx")


def test_small_differences_in_speed_do_not_decide() -> None:
    assert pick_fastest({"torch": 4.0, "onnx": 4.1}, {}).name == "torch"
    assert pick_fastest({"torch": 4.0, "onnx": 4.3}, {}).name == "onnx"
    assert pick_fastest({"onnx": 1.0}, {"torch": "no"}).name == "onnx"
    with pytest.raises(EngineError, match="no engine works on this machine: torch: broken"):
        pick_fastest({}, {"torch": "broken"})


def test_auto_runs_what_it_chose(registry: Registry, monkeypatch: pytest.MonkeyPatch) -> None:
    speeds = {"torch": 1.0, "onnx": 3.0, "openvino": 2.0}
    monkeypatch.setattr(choice, "measure_engine", stub_speeds(speeds))
    monkeypatch.setattr(load, "list_candidates", lambda: ("torch", "onnx"))
    loaded = load_engine("auto", registry=registry)
    assert loaded.info.name == "onnx"
    assert loaded.info.reason.startswith("auto: frames per second measured here: onnx 3, torch 1")


def test_speed_is_frames_per_second_of_the_best_turn(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = iter([0.0, 4.0, 10.0, 12.0, 20.0, 23.0])
    monkeypatch.setattr(choice.time, "perf_counter", lambda: next(clock))
    assert measure_fps(BicubicEngine(), height=32, width=32, frames=6) == 3.0
