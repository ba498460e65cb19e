"""Engines that run exported graphs, compared with PyTorch on real pictures."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from crossnetpp.checkpoint import save_weights
from crossnetpp.machine import is_linux
from crossnetpp.networks.build import build_network
from crossnetpp.networks.taps import make_box_taps, separate_kernel
from deploy.engines.graph_engine import GraphEngine
from deploy.engines.onnx_engine import OnnxEngine
from deploy.engines.openvino_engine import OpenvinoEngine
from deploy.load import load_engine
from deploy.protocol import Engine, EngineError, Pixels
from tests.support import DATA, ROOT

_X, _Y = np.meshgrid(np.arange(16) - 8.2, np.arange(16) - 7.1)
SKEWED = separate_kernel(np.exp(-((_X - 0.4 * _Y) ** 2) / 4 - _Y**2 / 12))
PHOTOGRAPH = DATA / "kodak_21.jpg"


def frames(count: int, height: int, width: int) -> Pixels:
    """Return a pan over a photograph, uint8 N x H x W x 3."""
    picture = cv2.imread(str(PHOTOGRAPH))[..., ::-1]
    return np.stack([picture[3 * i :, 5 * i :][:height, :width] for i in range(count)])


def shrink(pictures: Pixels, scale: int) -> Pixels:
    size = (pictures.shape[2] // scale, pictures.shape[1] // scale)
    return np.stack([cv2.resize(p, size, interpolation=cv2.INTER_AREA) for p in pictures])


@pytest.fixture(scope="module", params=["onnx", "openvino"])
def engine(request: pytest.FixtureRequest) -> Engine:
    return load_engine(request.param)


@pytest.fixture(scope="module")
def baseline() -> Engine:
    return load_engine("torch")


def agree(one: Pixels, other: Pixels) -> bool:
    levels = 1 if one.dtype == np.uint8 else 257
    return float((np.abs(one.astype(int) - other.astype(int)) <= levels).mean()) >= 0.999


def test_they_agree_with_torch_at_any_size(engine: Engine, baseline: Engine) -> None:
    pan = frames(3, 124, 188)  # padded to 128 x 192
    lr = shrink(pan, 4)
    ref = np.stack([pan[0], pan[0], pan[2]])
    sr = engine.enhance(lr, ref)
    assert sr.shape == ref.shape
    assert agree(sr, baseline.enhance(lr, ref))
    plain = np.stack([cv2.resize(p, (188, 124), interpolation=cv2.INTER_CUBIC) for p in lr])
    assert not agree(sr, plain)
    # another size, then the first again
    small = (slice(0, 64), slice(0, 96))
    cut = pan[:1, *small]
    assert agree(engine.enhance(shrink(cut, 4), cut), baseline.enhance(shrink(cut, 4), cut))
    assert np.array_equal(engine.enhance(lr, ref), sr)


@pytest.mark.parametrize("count", [1, 2])
def test_any_kernel_and_several_references(engine: Engine, baseline: Engine, count: int) -> None:
    # a part with much detail, in which the kernel matters most
    pan = frames(6, 212, 244)[:, 120:, 120:].copy()
    lr = shrink(pan[:2], 4)
    refs = [pan[2 * k : 2 * k + 2] for k in range(count)]
    weights = np.linspace(1, 0.4, 2 * count, dtype=np.float32).reshape(2, count)
    for kernel in (make_box_taps(4), SKEWED):
        sr = engine.enhance(lr, *refs, weights=weights, kernel=kernel)
        assert agree(sr, baseline.enhance(lr, *refs, weights=weights, kernel=kernel))
        assert not agree(sr, baseline.enhance(lr, *refs, weights=weights))


@pytest.mark.parametrize("scale", [2, 8])
def test_sixteen_bits_and_other_scales(engine: Engine, baseline: Engine, scale: int) -> None:
    pan = frames(1, 64, 96).astype(np.uint16) * 257
    lr = shrink(pan, scale)
    sr = engine.enhance(lr, pan)
    assert sr.dtype == np.uint16
    assert agree(sr, baseline.enhance(lr, pan))


@pytest.mark.parametrize("name", ["onnx", "openvino"])
def test_each_graph_is_loaded_once_for_all_sizes_and_uses(name: str) -> None:
    loaded: list[int] = []
    base = {"onnx": OnnxEngine, "openvino": OpenvinoEngine}[name]

    class Counting(base):  # type: ignore[misc, valid-type]
        def _load_graph(self, content: bytes) -> Any:
            loaded.append(len(content))
            return super()._load_graph(content)

    engine = Counting()
    pan = frames(3, 92, 124)
    lr = shrink(pan[:1], 4)
    engine.enhance(lr, pan[:1])
    assert len(loaded) == 2
    engine.enhance(lr, pan[1:2], pan[2:])  # the same graph prepares both references
    assert len(loaded) == 3
    engine.enhance(lr[:, :16, :16], pan[:1, :64, :64])
    assert len(loaded) == 3


def test_networks_without_parts_run_as_one_graph(tmp_path: Path) -> None:
    weights = tmp_path / "crossnet.safetensors"
    save_weights(build_network("crossnet"), "crossnet", weights)
    pan = frames(2, 64, 64)
    lr = shrink(pan, 4)
    expected = load_engine("torch", model=str(weights)).enhance(lr, pan)
    assert agree(load_engine("onnx", model=str(weights)).enhance(lr, pan), expected)


@pytest.mark.parametrize(("name", "package"), [("onnx", "onnxruntime"), ("openvino", "openvino")])
def test_a_missing_package_is_an_error_of_one_line(
    name: str, package: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(EngineError, match=rf"; try pip install '.*{package}.*'"):
        load_engine(name)


@pytest.mark.parametrize(("base", "name"), [(OnnxEngine, "onnxruntime"), (OpenvinoEngine, "OpenV")])
def test_a_rejected_graph_is_an_error_of_one_line(base: type[GraphEngine], name: str) -> None:
    engine = base()
    with pytest.raises(
        EngineError, match=f"^{name}.* rejects the graph: .*; try --engine"
    ) as caught:
        engine._load_graph(b"no graph")
    assert "\n" not in str(caught.value)
    assert "cpp" not in str(caught.value)


@pytest.mark.parametrize(
    ("frames", "advice"),
    [(1, "free some memory, or try --engine bicubic"), (2, "try a smaller --batch")],
)
@pytest.mark.parametrize("base", ["onnx_engine.OnnxEngine", "openvino_engine.OpenvinoEngine"])
@pytest.mark.skipif(not is_linux(), reason="limits the address space, as only Linux does")
def test_a_want_of_memory_is_an_error_after_which_smaller_parts_are_tried(
    base: str, frames: int, advice: str
) -> None:
    module, name = base.split(".")
    script = f"""
import resource
import numpy as np
from deploy.engines.{module} import {name}
from deploy.protocol import OutOfMemoryError

engine = {name}(threads=1)
small, large = (np.zeros((n, s, s, 3), np.uint8) for n, s in ((1, 64), ({frames}, 1024)))
# loads what libraries load late, which would fail in other ways without memory
engine.enhance(small[:, ::4, ::4], small)
pages = int(open("/proc/self/statm").read().split()[0])
limit = pages * resource.getpagesize() + 200 * 2**20
resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
try:
    engine.enhance(large[:, ::4, ::4], large)
except OutOfMemoryError as error:
    print(error)
"""
    command = [sys.executable, "-c", script]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout == (
        f"there is too little memory on cpu for a batch of {frames} at 1024x1024; {advice}\n"
    )
