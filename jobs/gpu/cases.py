"""The cases of `jobs.gpu.check`; `python -m jobs.gpu.cases CASE` runs one and prints JSON lines."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

Case = dict[str, Any]
# billions of floating-point operations per 512x320 frame; proportional to the number of pixels
GFLOP_AT_320X512 = {"fast": 15.72, "paper": 374.0}


def print_line(**values: Any) -> None:
    """Print a measurement as one line of JSON."""
    sys.stdout.write(json.dumps(values) + "\n")
    sys.stdout.flush()


def _try(attempt: Callable[[], None], /, **known: Any) -> None:
    """Run `attempt`; if it raises, print a failed measurement with the fields in `known`."""
    try:
        attempt()
    except Exception as error:
        sys.stderr.write(traceback.format_exc())
        print_line(**known, failed=f"{type(error).__name__}: {' '.join(str(error).split())[:400]}")


def measure_ceilings(case: Case) -> None:
    """Print the device's matrix multiplication throughput, copy bandwidth and properties."""
    import torch

    device = case["device"]
    on_gpu = device == "cuda"
    if on_gpu:
        _try(_describe_gpu, what="gpu")

    torch.backends.cuda.matmul.allow_tf32 = False
    side = 8192 if on_gpu else 512
    types = {"fp32": torch.float32}
    if on_gpu:
        types["fp16"] = torch.float16
    for precision, dtype in types.items():

        def multiply(dtype: Any = dtype, precision: str = precision) -> None:
            one = torch.randn(side, side, device=device, dtype=dtype)
            seconds = _time_call(lambda: one @ one, on_gpu)
            print_line(precision=precision, matrix_tflops=round(2 * side**3 / seconds / 1e12, 3))

        _try(multiply, what=f"matrix product {precision}")

    count = 2**28 if on_gpu else 2**24  # bytes

    def copy_on_the_device() -> None:
        source = torch.zeros(count, dtype=torch.uint8, device=device)
        target = torch.empty_like(source)
        seconds = _time_call(lambda: target.copy_(source), on_gpu)
        print_line(copy_gb_per_second=round(2 * count / seconds / 1e9, 1))

    def copy_over_the_bus() -> None:
        host = torch.zeros(count, dtype=torch.uint8, pin_memory=True)
        there = torch.empty(count, dtype=torch.uint8, device="cuda")
        into = _time_call(lambda: there.copy_(host, non_blocking=True), on_gpu)
        out = _time_call(lambda: host.copy_(there, non_blocking=True), on_gpu)
        rates = {"to_device": count / into / 1e9, "to_host": count / out / 1e9}
        print_line(bus_gb_per_second={name: round(rate, 1) for name, rate in rates.items()})

    _try(copy_on_the_device, what="copy")
    if on_gpu:
        _try(copy_over_the_bus, what="bus")


def _describe_gpu() -> None:
    import torch

    from deploy.machine import driver_version, library_versions
    from deploy.trt.gpu import find_gpu

    print_line(
        gpu=find_gpu()._asdict(),
        driver=driver_version(),
        cuda=torch.version.cuda,
        versions=library_versions(),
    )


def _time_call(work: Callable[[], Any], on_gpu: bool) -> float:
    """Return the seconds per call of `work`, from the fastest of three rounds of ten calls."""
    import torch

    def wait() -> None:
        if on_gpu:
            torch.cuda.synchronize()

    work()  # warm up
    best = float("inf")
    for _ in range(3):
        wait()
        start = time.perf_counter()
        for _ in range(10):
            work()
        wait()
        best = min(best, (time.perf_counter() - start) / 10)
    return best


def _make_engine(name: str, weights: str) -> Any:
    from deploy.load import create_engine

    if name == "torch-fp32":
        from deploy.engines.torch_engine import TorchEngine

        return TorchEngine(weights, precision="fp32")
    if name.startswith("tensorrt"):
        from deploy.engines.tensorrt_engine import TensorrtEngine
        from deploy.trt.library import find_library

        return TensorrtEngine(weights, library=find_library(rtx=name == "tensorrt-rtx"))
    return create_engine(name, weights, None)


def measure_engine(case: Case) -> None:
    """Compare an engine with PyTorch in float32, then time it for every frame and batch size."""
    from deploy.choice import measure_fps
    from deploy.engines.torch_engine import TorchEngine
    from deploy.selftest import compare_engines

    known = {"engine": case["engine"], "model": case["model"]}
    engines: list[Any] = []

    def start() -> None:
        start_time = time.perf_counter()
        engines.append(_make_engine(case["engine"], case["weights"]))
        info = engines[0].info
        print_line(**known, on=info.device, reason=info.reason, start_s=_seconds_since(start_time))

    _try(start, **known)
    if not engines:
        return
    engine = engines[0]

    def compare_with_torch() -> None:
        start_time = time.perf_counter()
        figures = compare_engines(engine, TorchEngine(case["weights"], precision="fp32"))
        print_line(**known, against="torch fp32", **figures, test_s=_seconds_since(start_time))

    _try(compare_with_torch, **known, against="torch fp32")
    if getattr(engine, "cuda_graphs", None) is not None:
        _try(lambda: _compare_recorded(engine, known), **known, what="recorded")

    for height, width in case["sizes"]:
        gflop = GFLOP_AT_320X512[case["model"]] * height * width / (320 * 512)
        for batch in case["batches"]:
            size = {"height": height, "width": width, "batch": batch}

            def time_size(size: dict[str, int] = size, gflop: float = gflop) -> None:
                start_time = time.perf_counter()
                fps = measure_fps(
                    engine,
                    height=size["height"],
                    width=size["width"],
                    frames=size["batch"],
                    turns=2 if case["quick"] else 5,
                )
                print_line(
                    **known,
                    **size,
                    precision=engine.info.precision,
                    gflop=round(gflop, 1),
                    fps=round(fps, 3),
                    ms=round(1000 / fps, 3),
                    took_s=_seconds_since(start_time),
                )

            _try(time_size, **known, **size)


def _compare_recorded(engine: Any, known: dict[str, str]) -> None:
    """Print whether CUDA graphs change the output, and the speeds with and without them."""
    from deploy.choice import make_sample_frames, measure_fps
    from deploy.engines.cuda_graph import CudaGraphCache

    lr, ref = make_sample_frames(320, 512, 2)
    recordings: CudaGraphCache = engine.cuda_graphs
    recorded = engine.enhance(lr, ref)
    recorded_fps = measure_fps(engine)

    engine.cuda_graphs = None
    plain = engine.enhance(lr, ref)
    plain_fps = measure_fps(engine)
    engine.cuda_graphs = recordings

    print_line(
        **known,
        recorded_same=bool((recorded == plain).all()),
        recorded_fps=round(recorded_fps, 1),
        plain_fps=round(plain_fps, 1),
    )


def _seconds_since(start: float) -> float:
    return round(time.perf_counter() - start, 2)


def measure_compiled(case: Case) -> None:
    """Print the speed of the network's main part, both eager and compiled as one graph.

    The network runs in float16 on a GPU and in float32 on a CPU.
    """
    import torch

    from crossnetpp.networks.fast import CrossNetFast
    from deploy.export.lowering import lower_network
    from deploy.export.stored import load_model_network

    on_gpu = case["device"] == "cuda"
    network = load_model_network(case["weights"])
    assert isinstance(network, CrossNetFast)
    if on_gpu:
        lower_network(network, "fp16")
    network.to(device=case["device"], memory_format=torch.channels_last)  # type: ignore[call-overload]

    height, width = case["sizes"][0]
    lr = torch.rand(1, 3, height // 4, width // 4, device=case["device"])
    ref = torch.rand(1, 3, height, width, device=case["device"])

    @torch.no_grad()  # the compiler's guards fail in inference mode
    def compare() -> None:
        prepared = network.prepare(ref, 4)

        def enhance(frame: torch.Tensor) -> torch.Tensor:
            return network.enhance(frame, prepared).sr

        expected = enhance(lr)
        eager = _time_call(lambda: enhance(lr), on_gpu)
        start = time.perf_counter()
        compiled = torch.compile(enhance, dynamic=False, backend=case.get("backend", "inductor"))
        difference = float((compiled(lr) - expected).abs().max())
        compile_seconds = _seconds_since(start)
        fast = _time_call(lambda: compiled(lr), on_gpu)
        print_line(
            compiled_of=case["model"],
            height=height,
            width=width,
            eager_fps=round(1 / eager, 2),
            compiled_fps=round(1 / fast, 2),
            compile_s=compile_seconds,
            difference=difference,
        )

    _try(compare, what="compiled")


def try_rtx(case: Case) -> None:
    """Print whether TensorRT for RTX builds and runs a plan on this GPU."""

    def attempt() -> None:
        from deploy.export.graphs import GraphSpec
        from deploy.registry import Registry
        from deploy.trt.device import Cuda
        from deploy.trt.library import find_library
        from deploy.trt.profiles import SizeRange
        from deploy.trt.program import Program, ProgramRun
        from deploy.trt.stored_plans import get_or_build_plan

        found = find_library(rtx=True)
        print_line(rtx=found.name, builds_for=found.targets())

        device = Cuda()
        spec = GraphSpec("prepare", 4, target="tensorrt")
        plan = get_or_build_plan(
            "fast", spec, SizeRange.for_frames(64, 96), found, device.gpu, Registry()
        )

        run = ProgramRun(Program(plan.read(), found, device), {"ref": (1, 64, 96, 3)})
        stream = device.create_stream()
        run(stream)
        stream.synchronize()
        print_line(rtx_runs_on=device.gpu.capability)

    _try(attempt, what="TensorRT for RTX")


def _repeat_clip(source: Path, turns: int, seconds: float) -> Path:
    """Write `turns` repetitions of `source` to a new file, and return its path.

    Each repetition starts `seconds` after the previous one.
    """
    from pipeline.media.read.frames import read_frames
    from pipeline.media.read.probe import probe
    from pipeline.media.write.encoder import choose_encoding
    from pipeline.media.write.segment import SegmentWriter

    clip = probe(str(source))
    out = source.with_name(f"{source.stem}-{turns}.nut")
    frames = list(read_frames(clip))
    with SegmentWriter(out, clip, choose_encoding(clip), clip.width, clip.height) as writer:
        for turn in range(turns):
            for frame in frames:
                writer.write(frame.rgb, frame.pts + round(turn * seconds / clip.time_base))
    return out


def measure_pipeline(case: Case) -> None:
    """Print the share of an engine's speed that `pipeline run` reaches on the bundled clip at 4x.

    The speed of a run is the number of extra frames in a long clip compared with a short one,
    divided by the extra seconds, so start-up time cancels out. A quick case runs only a short clip.
    """
    from deploy.choice import measure_fps
    from deploy.load import load_engine
    from jobs.bench.pipeline import run_command, write_lr_and_key_frames
    from pipeline.media.read.probe import probe

    def run(lr: Path, ref: Path, turns: int) -> dict[str, Any]:
        clip = probe(str(lr))
        seconds = clip.duration_pts * clip.time_base
        sources = [_repeat_clip(path, turns, seconds) for path in (lr, ref)]
        # measuring every engine would take longer than a run of a few frames
        more = ["--engine", "torch", "--end", "0.1"] if case["quick"] else ["--engine", "auto"]
        command = [*run_command(*sources, lr.with_name("out.mp4"), *more), "--json"]
        ended = subprocess.run(command, capture_output=True, text=True)
        if ended.returncode:
            raise RuntimeError(ended.stderr.strip()[-300:])

        result: dict[str, Any] = json.loads(ended.stdout)
        result["seconds"] = result["frames"] / result["fps"]
        return result

    def compare_with_engine() -> None:
        with tempfile.TemporaryDirectory() as name:
            lr, ref = write_lr_and_key_frames(Path(name))
            first = run(lr, ref, 1)  # warm-up, in which `auto` measures the engines
            short = run(lr, ref, 1)
            long = run(lr, ref, 1 if case["quick"] else 20)

        engine = load_engine(long["engine"], model=case["weights"])
        turns = 1 if case["quick"] else 3
        frames = 1 if case["quick"] else 4
        alone = measure_fps(engine, height=480, width=720, frames=frames, turns=turns)
        more = long["frames"] - short["frames"]
        steady = more / (long["seconds"] - short["seconds"]) if more else long["fps"]

        print_line(
            pipeline_fps=round(steady, 2),
            with_start_up_fps=first["fps"],
            engine_fps=round(alone, 2),
            of_engine=round(steady / alone, 3),
            with_engine=long["engine"],
            frames=long["frames"],
        )

    _try(compare_with_engine, what="pipeline")


CASES: dict[str, Callable[[Case], None]] = {
    "ceilings": measure_ceilings,
    "engine": measure_engine,
    "compiled": measure_compiled,
    "rtx": try_rtx,
    "pipeline": measure_pipeline,
}


if __name__ == "__main__":
    chosen = json.loads(sys.argv[1])
    CASES[chosen["case"]](chosen)
