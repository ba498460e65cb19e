"""TensorRT 10.x and 11.x, faked by a module with their API: find, build, store and run."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from onnx import TensorProto, helper

from crossnetpp.networks.taps import make_box_taps
from deploy.engines.tensorrt_engine import TensorrtEngine
from deploy.export.graphs import GraphSpec
from deploy.export.stored import get_or_export_graph
from deploy.load import load_engine
from deploy.protocol import EngineError, OutOfMemoryError, Pixels
from deploy.registry import Registry
from deploy.trt import library as library_module
from deploy.trt.build_process import build_plan
from deploy.trt.building import BuildRequest
from deploy.trt.gpu import Gpu, find_gpu
from deploy.trt.library import TensorrtError, find_library
from deploy.trt.profiles import SizeRange, frames_at_once
from deploy.trt.stored_plans import get_or_build_plan
from tests.support import ROOT

GPU = Gpu("NVIDIA H100", "sm90", 13, 1 << 36)
SMALL = SizeRange.for_frames(64, 96)
PREPARE = GraphSpec("prepare", 4, target="tensorrt")


class Host:
    """A device of ordinary memory, initialised to 77 so that unwritten memory shows."""

    name = "cuda:0 NVIDIA H100"

    def __init__(self, gpu: Gpu = GPU) -> None:
        self.gpu = gpu
        self.captures = 0
        self.releases = 0

    def allocate(self, shape: tuple[int, ...], dtype: torch.dtype) -> torch.Tensor:
        return torch.from_numpy(np.full(shape, 77, str(dtype).removeprefix("torch.")))

    allocate_pinned = allocate

    def create_stream(self) -> Any:
        return SimpleNamespace(cuda_stream=7)

    def create_event(self) -> Any:
        def nothing(*_: Any) -> None:
            pass

        return SimpleNamespace(record=nothing, wait=nothing, synchronize=nothing)

    def use_stream(self, stream: Any) -> Any:
        return contextlib.nullcontext()

    def capture(self, stream: Any, work: Callable[[int], None]) -> Callable[[], None]:
        self.captures += 1
        return lambda: work(stream.cuda_stream)

    def release_memory(self) -> None:
        self.releases += 1


class Fake:
    """The fake TensorRT on sys.path."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self._calls = folder / "calls"
        self._patch = monkeypatch
        package = folder / "lib" / "tensorrt"
        package.mkdir(parents=True)
        shutil.copy(ROOT / "tests" / "support" / "fake_tensorrt.py", package / "__init__.py")
        monkeypatch.syspath_prepend(str(folder / "lib"))
        monkeypatch.setenv("FAKE_TENSORRT_CALLS", str(self._calls))
        self.restart("")

    def restart(self, fault: str, version: str = "11.4.0.5") -> None:
        """Reload the module with a fault and a version."""
        self._patch.setenv("FAKE_TENSORRT_DOES", fault)
        self._patch.setenv("FAKE_TENSORRT", version)
        sys.modules.pop("tensorrt", None)
        library_module._probe.cache_clear()

    def calls(self, name: str) -> list[Any]:
        lines = self._calls.read_text().splitlines() if self._calls.exists() else []
        return [rest for first, *rest in map(json.loads, lines) if first == name]


@pytest.fixture
def fake(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Fake]:
    yield Fake(tmp_path, monkeypatch)
    sys.modules.pop("tensorrt", None)
    library_module._probe.cache_clear()


@pytest.fixture(scope="module")
def graph() -> bytes:
    return get_or_export_graph("fast", PREPARE).read()


def request_of(sizes: SizeRange = SMALL) -> BuildRequest:
    found = find_library(rtx=False)
    return BuildRequest(found.module, found.version, 4, (sizes,))


@pytest.mark.parametrize(("version", "flags"), [("10.9.0.34", 2), ("11.4.0.5", 1)])
def test_each_version_is_called_by_its_own_api(
    version: str, flags: int, fake: Fake, graph: bytes
) -> None:
    fake.restart("", version)
    phases: list[tuple[str, int, int]] = []
    built = build_plan(
        request_of(), graph, timing=b"old;", progress=lambda *step: phases.append(step)
    )
    assert built.plan.endswith(graph)
    assert built.timing == b"old;timed;"
    assert fake.calls("create_network") == [[flags]]
    assert fake.calls("clear_flag") == [["TF32"]]
    assert fake.calls("set_memory_pool_limit") == [["WORKSPACE", 1 << 37]]
    shapes = [[n, 64, 96, 3] for n in (1, 8, 8)]
    kernels = [[2, 2, 16]] * 3
    assert fake.calls("set_shape") == [["ref", *shapes], ["taps", *kernels]]
    assert phases == [("Building", step, 2) for step in (0, 1, 2, 2)]


@pytest.mark.parametrize(
    ("fault", "line"),
    [
        (
            "crash",
            r"tensorrt cannot be loaded \(it crashes \(signal 6\)\); reinstall it",
        ),
        ("oserror", r"cannot be loaded \(OSError: libnvinfer\.so\.11: cannot open shared"),
    ],
)
def test_a_broken_library_is_an_error_of_one_line(fault: str, line: str, fake: Fake) -> None:
    fake.restart(fault)
    with pytest.raises(TensorrtError, match=line) as caught:
        find_library(rtx=False)
    assert "\n" not in str(caught.value)


def test_nothing_is_imported_from_the_working_directory(
    fake: Fake, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "videos"
    folder.mkdir()
    (folder / "json.py").write_text("raise SystemExit('executed')")
    monkeypatch.chdir(folder)
    assert find_library(rtx=False).version == "11.4.0.5"


def test_old_and_missing_libraries_are_errors_of_one_line(fake: Fake, tmp_path: Path) -> None:
    fake.restart("", "8.6.1")
    with pytest.raises(
        TensorrtError, match=r"tensorrt 8\.6\.1 is too old; install TensorRT 10 or newer"
    ):
        find_library(rtx=False)
    shutil.rmtree(tmp_path / "lib")
    fake.restart("")
    with pytest.raises(TensorrtError, match=r"TensorRT \(package tensorrt\) is not installed; try"):
        find_library(rtx=False)


def test_the_message_names_the_missing_product(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(library_module.importlib.util, "find_spec", lambda name: None)
    rtx = r"TensorRT for RTX \(package tensorrt_rtx or tensorrt_rtx_bindings\)"
    with pytest.raises(TensorrtError, match=rf"^{rtx} is not installed; try pip install"):
        find_library(rtx=True)
    with pytest.raises(TensorrtError, match=r"^TensorRT \(package tensorrt\) is not installed"):
        find_library(rtx=False)
    both = rf"^neither TensorRT \(package tensorrt\) nor {rtx} is installed; try --engine torch$"
    with pytest.raises(TensorrtError, match=both):
        find_library()


@pytest.mark.parametrize(
    ("fault", "line"),
    [
        ("refuse", "TensorRT 11.4.0.5 rejects the graph: no importer for CumSum; try"),
        ("nothing", "TensorRT 11.4.0.5 could not build an engine: no tactic for node 7; try"),
        ("crash while building", r"crashed while building a plan \(signal 6\)"),
    ],
)
def test_a_failed_build_is_an_error_of_one_line_and_leaves_nothing(
    fault: str, line: str, fake: Fake, tmp_path: Path
) -> None:
    fake.restart(fault)
    registry = Registry(tmp_path / "engines")
    with pytest.raises(TensorrtError, match=line) as caught:
        get_or_build_plan("fast", PREPARE, SMALL, find_library(rtx=False), GPU, registry)
    assert "\n" not in str(caught.value)
    assert [entry["key"]["kind"] for entry in registry.entries()] == ["onnx"]


def test_warps_that_a_parser_reads_as_nearest_are_refused(fake: Fake) -> None:
    fake.restart("nearest")
    node = helper.make_node("GridSample", ["ref", "f1"], ["sr"], mode="bicubic")
    values = [
        helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, 4, 4, 3])
        for name in ("ref", "f1", "sr")
    ]
    model = helper.make_model(helper.make_graph([node], "warp", values[:2], values[2:]))
    with pytest.raises(
        TensorrtError, match=r"reads the graph's warps as .*NEAREST, but they are bicubic; try"
    ):
        build_plan(request_of(), model.SerializeToString())
    fake.restart("")
    assert build_plan(request_of(), model.SerializeToString()).plan


_INTERRUPTED_BUILD = """
import signal
import sys
from pathlib import Path
from deploy.export.graphs import GraphSpec
from deploy.registry import Registry
from deploy.trt.library import find_library
from deploy.trt.gpu import Gpu
from deploy.trt.stored_plans import get_or_build_plan
from deploy.trt.profiles import SizeRange
# a shell without job control starts background processes with Ctrl-C ignored
signal.signal(signal.SIGINT, signal.default_int_handler)
registry = Registry(Path(sys.argv[1]))
try:
    spec = GraphSpec("prepare", 4, target="tensorrt")
    sizes = SizeRange.for_frames(64, 96)
    gpu = Gpu("H100", "sm90", 13, 1)
    get_or_build_plan("fast", spec, sizes, find_library(rtx=False), gpu, registry,
                      lambda *step: print(*step, flush=True))
except KeyboardInterrupt:
    print("stopped")
"""


def test_an_interrupt_ends_a_build_and_leaves_nothing(fake: Fake, tmp_path: Path) -> None:
    fake.restart("hang")
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    root = tmp_path / "engines"
    environment = {**os.environ, "TMPDIR": str(scratch)}
    environment["PYTHONPATH"] = os.pathsep.join([str(tmp_path / "lib"), str(ROOT)])
    with subprocess.Popen(
        [sys.executable, "-c", _INTERRUPTED_BUILD, str(root)],
        env=environment,
        stdout=subprocess.PIPE,
        text=True,
    ) as child:
        assert child.stdout is not None
        assert child.stdout.readline() == "Building 0 2\n"
        start = time.monotonic()
        child.send_signal(signal.SIGINT)
        assert child.stdout.read().endswith("stopped\n")
    assert time.monotonic() - start < 30  # the build itself would hang for two minutes
    assert not list(scratch.glob("tensorrt*"))
    assert not list(root.glob("*.plan"))
    assert not list(root.glob("*.part"))


def test_a_plan_is_built_once_for_each_gpu_and_version(fake: Fake, tmp_path: Path) -> None:
    registry = Registry(tmp_path / "engines")

    def plan(gpu: Gpu = GPU, sizes: SizeRange = SMALL) -> bytes:
        return get_or_build_plan(
            "fast", PREPARE, sizes, find_library(rtx=False), gpu, registry
        ).read()

    assert plan() == plan()
    assert len(fake.calls("build")) == 1
    assert fake.calls("set_timing_cache") == [[""]]
    plan(sizes=SizeRange.for_frames(128, 96))
    assert fake.calls("set_timing_cache")[1:] == [["timed;"]]
    # another GPU needs another plan
    plan(Gpu("NVIDIA H200", "sm90", 13, 1 << 36))
    assert len(fake.calls("build")) == 3
    fake.restart("", "11.5.0.1")
    assert plan().startswith(b"a plan of 11.5.0.1")
    (changed,) = [e for e in registry.entries() if "11.5" in str(e["key"].get("version"))][:1]
    assert changed["key"]["kind"] in ("plan", "timing")


def test_two_builders_at_once_build_once_and_a_truncated_plan_is_built_again(
    fake: Fake, tmp_path: Path
) -> None:
    def plan(_: int) -> Path:
        registry = Registry(tmp_path / "engines")
        return get_or_build_plan(
            "fast", PREPARE, SMALL, find_library(rtx=False), GPU, registry
        ).path

    with ThreadPoolExecutor(2) as pool:
        first, second = pool.map(plan, range(2))
    assert first == second
    assert len(fake.calls("build")) == 1
    whole = first.read_bytes()
    first.write_bytes(whole[: len(whole) // 2])
    assert plan(0).read_bytes() == whole
    assert len(fake.calls("build")) == 2


def frames(count: int, height: int, width: int) -> Pixels:
    picture = cv2.imread(str(ROOT / "tests" / "data" / "kodak_21.jpg"))[..., ::-1]
    return np.stack([picture[3 * i :, 5 * i :][:height, :width] for i in range(count)])


def shrink(pictures: Pixels) -> Pixels:
    size = (pictures.shape[2] // 4, pictures.shape[1] // 4)
    return np.stack([cv2.resize(p, size, interpolation=cv2.INTER_AREA) for p in pictures])


def agree(one: Pixels, other: Pixels) -> bool:
    levels = 1 if one.dtype == np.uint8 else 257
    return float((np.abs(one.astype(int) - other.astype(int)) <= levels).mean()) >= 0.999


def test_the_engine_agrees_with_torch_through_ring_and_cuda_graphs(
    fake: Fake, one_step_model: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("deploy.engines.tensorrt_engine.frames_at_once", lambda *_: 2)
    device = Host()
    engine = TensorrtEngine(one_step_model, device=device, library=find_library(rtx=False))
    baseline = load_engine("torch", model=one_step_model)
    pan = frames(9, 60, 92)  # padded to 64 x 96; four chunks of 2 for 3 slots, and one of 1
    ref = np.stack([pan[i // 3] for i in range(9)])
    expected = baseline.enhance(shrink(pan), ref)
    assert agree(engine.enhance(shrink(pan), ref), expected)
    # one capture for prepare and frame of both batch sizes, none in a second call
    captures = device.captures
    assert agree(engine.enhance(shrink(pan)[::-1], ref[::-1]), expected[::-1])
    assert device.captures == captures <= 4
    # two references, of which one changes, prior weights and two kernels
    others = pan[::-1].copy()
    weights = np.linspace(1, 0.2, 18, dtype=np.float32).reshape(9, 2)
    for kernel in (None, make_box_taps(4)):
        expected = baseline.enhance(shrink(pan), ref, others, weights=weights, kernel=kernel)
        sr = engine.enhance(shrink(pan), ref, others, weights=weights, kernel=kernel)
        assert agree(sr, expected)
    wide = pan[:1].astype(np.uint16) * 257
    sixteen = engine.enhance(shrink(wide), wide)
    assert sixteen.dtype == np.uint16
    assert agree(sixteen, baseline.enhance(shrink(wide), wide))
    assert "TensorRT 11.4.0.5" in engine.info.reason


def test_a_context_without_memory_raises_out_of_memory_and_frees_all(fake: Fake) -> None:
    fake.restart("no memory")
    device = Host()
    engine = TensorrtEngine(device=device, library=find_library(rtx=False))
    pan = frames(1, 64, 96)
    with pytest.raises(OutOfMemoryError, match=r"there is too little memory on cuda:0 .* at 96x64"):
        engine.enhance(shrink(pan), pan)
    assert device.releases == 1


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_without_a_driver_no_plan_is_read(fake: Fake) -> None:
    with pytest.raises(EngineError, match=r"TensorRT needs.*; .*try --engine torch"):
        find_gpu()
    with pytest.raises(EngineError, match="--engine torch"):
        TensorrtEngine()
    assert not fake.calls("deserialize")


def test_small_frames_share_a_launch_and_large_ones_do_not() -> None:
    assert [frames_at_once(*size) for size in ((320, 512), (1088, 1920), (2176, 3840))] == [8, 2, 1]
