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
TURNS = 8
"""How often the bundled clip of 61 frames follows itself where the pipeline is timed."""
GFLOP_AT_320X512 = {"fast": 15.72, "paper": 374.0}
"""Multiplications and additions of a frame; they grow with its pixels."""


def say(**values: Any) -> None:
    """Print one measurement as a line of JSON."""
    sys.stdout.write(json.dumps(values) + "\n")
    sys.stdout.flush()


def _or_text(attempt: Callable[[], None], /, **known: Any) -> None:
    """Run `attempt`; a failure of any kind is a measurement, too, and the next one goes on."""
    try:
        attempt()
    except Exception as error:
        sys.stderr.write(traceback.format_exc())
        say(**known, failed=f"{type(error).__name__}: {' '.join(str(error).split())[:400]}")


def ceilings(case: Case) -> None:
    """Say what the device is, how fast it multiplies matrices and copies."""
    import torch

    on_gpu = case["device"] == "cuda"
    if on_gpu:
        _or_text(_describe_gpu, what="gpu")
    torch.backends.cuda.matmul.allow_tf32 = False
    side = 8192 if on_gpu else 512
    kinds = {"fp32": torch.float32}
    if on_gpu:
        kinds["fp16"] = torch.float16
    for precision, dtype in kinds.items():

        def multiply(dtype: Any = dtype, precision: str = precision) -> None:
            one = torch.randn(side, side, device=case["device"], dtype=dtype)
            seconds = _seconds(lambda: one @ one, on_gpu)
            say(precision=precision, matrix_tflops=round(2 * side**3 / seconds / 1e12, 3))

        _or_text(multiply, what=f"matrix product {precision}")
    count = 2**28 if on_gpu else 2**24

    def copy() -> None:
        source = torch.zeros(count, dtype=torch.uint8, device=case["device"])
        target = torch.empty_like(source)
        seconds = _seconds(lambda: target.copy_(source), on_gpu)
        say(copy_gb_per_second=round(2 * count / seconds / 1e9, 1))

    def over_the_bus() -> None:
        host = torch.zeros(count, dtype=torch.uint8, pin_memory=True)
        there = torch.empty(count, dtype=torch.uint8, device="cuda")
        into = _seconds(lambda: there.copy_(host, non_blocking=True), on_gpu)
        out = _seconds(lambda: host.copy_(there, non_blocking=True), on_gpu)
        rates = {"to_device": count / into / 1e9, "to_host": count / out / 1e9}
        say(bus_gb_per_second={name: round(rate, 1) for name, rate in rates.items()})

    _or_text(copy, what="copy")
    if on_gpu:
        _or_text(over_the_bus, what="bus")


def _describe_gpu() -> None:
    import torch

    from deploy.selftest import driver, versions
    from deploy.trt.gpu import gpu_here

    say(gpu=gpu_here()._asdict(), driver=driver(), cuda=torch.version.cuda, versions=versions())


def _seconds(work: Callable[[], Any], on_gpu: bool) -> float:
    """Return the seconds of one call, at best of three times ten."""
    import torch

    def wait() -> None:
        if on_gpu:
            torch.cuda.synchronize()

    work()
    best = float("inf")
    for _ in range(3):
        wait()
        start = time.perf_counter()
        for _ in range(10):
            work()
        wait()
        best = min(best, (time.perf_counter() - start) / 10)
    return best


def _engine(name: str, weights: str) -> Any:
    from deploy.load import make

    if name == "torch-fp32":
        from deploy.engines.torch_engine import TorchEngine

        return TorchEngine(weights, precision="fp32")
    if name.startswith("tensorrt"):
        from deploy.engines.tensorrt_engine import TensorrtEngine
        from deploy.trt.library import find

        return TensorrtEngine(weights, flavour=find(rtx=name == "tensorrt-rtx"))
    return make(name, weights, None)


def engine(case: Case) -> None:
    """Hold an engine against PyTorch in float32, then time it at every size and batch."""
    from deploy.choice import frames_per_second
    from deploy.engines.torch_engine import TorchEngine
    from deploy.selftest import compare

    known = {"engine": case["engine"], "model": case["model"]}
    made: list[Any] = []

    def start() -> None:
        begin = time.perf_counter()
        made.append(_engine(case["engine"], case["weights"]))
        info = made[0].info
        say(**known, on=info.device, reason=info.reason, start_s=_since(begin))

    _or_text(start, **known)
    if not made:
        return
    it = made[0]

    def agree() -> None:
        begin = time.perf_counter()
        figures = compare(it, TorchEngine(case["weights"], precision="fp32"))
        say(**known, against="torch fp32", **figures, test_s=_since(begin))

    _or_text(agree, **known, against="torch fp32")
    if getattr(it, "recordings", None) is not None:
        _or_text(lambda: _say_recorded(it, known), **known, what="recorded")
    for height, width in case["sizes"]:
        gflop = GFLOP_AT_320X512[case["model"]] * height * width / (320 * 512)
        for batch in case["batches"]:
            size = {"height": height, "width": width, "batch": batch}

            def speed(size: dict[str, int] = size, gflop: float = gflop) -> None:
                begin = time.perf_counter()
                fps = frames_per_second(
                    it,
                    height=size["height"],
                    width=size["width"],
                    frames=size["batch"],
                    turns=2 if case["quick"] else 5,
                )
                rates = {"fps": round(fps, 3), "ms": round(1000 / fps, 3), "took_s": _since(begin)}
                say(**known, **size, precision=it.info.precision, gflop=round(gflop, 1), **rates)

            _or_text(speed, **known, **size)


def _say_recorded(it: Any, known: dict[str, str]) -> None:
    """Say whether what is recorded makes the bits of what is not, and how much faster it is."""
    from deploy.choice import frames_per_second, sample
    from deploy.engines.cuda_graph import Recordings

    lr, ref = sample(320, 512, 2)
    recordings: Recordings = it.recordings
    played, fps = it.enhance(lr, ref), frames_per_second(it)
    it.recordings = None
    plain, plain_fps = it.enhance(lr, ref), frames_per_second(it)
    it.recordings = recordings
    same = bool((played == plain).all())
    say(**known, recorded_same=same, recorded_fps=round(fps, 1), plain_fps=round(plain_fps, 1))


def _since(begin: float) -> float:
    return round(time.perf_counter() - begin, 2)


def rtx(case: Case) -> None:
    """Say whether TensorRT for RTX builds and runs on this compute capability."""

    def attempt() -> None:
        from deploy.export.graphs import Spec
        from deploy.registry import Registry
        from deploy.trt.device import Cuda
        from deploy.trt.library import find
        from deploy.trt.profiles import Sizes
        from deploy.trt.program import Program, Run
        from deploy.trt.stored_plans import plan_here

        found = find(rtx=True)
        say(rtx=found.name, builds_for=found.targets())
        device = Cuda()
        spec = Spec("prepare", 4, target="tensorrt")
        plan = plan_here("fast", spec, Sizes.of(64, 96), found, device.gpu, Registry())
        run = Run(Program(plan.read(), found, device), {"ref": (1, 64, 96, 3)})
        stream = device.stream()
        run(stream)
        stream.synchronize()
        say(rtx_runs_on=device.gpu.capability)

    _or_text(attempt, what="TensorRT for RTX")


def _repeated(source: Path, turns: int, seconds: float) -> Path:
    """Write `source` `turns` times in a row, each after `seconds`; returns the file."""
    from pipeline.media.read.frames import read
    from pipeline.media.read.probe import probe
    from pipeline.media.write.segment import SegmentWriter, default_encoding

    clip, out = probe(str(source)), source.with_name(f"{source.stem}-{turns}.nut")
    frames = list(read(clip))
    with SegmentWriter(out, clip, default_encoding(clip), clip.width, clip.height) as writer:
        for turn in range(turns):
            for frame in frames:
                writer.write(frame.rgb, frame.pts + round(turn * seconds / clip.time_base))
    return out


def pipeline(case: Case) -> None:
    """Say how much of the engine's speed `pipeline run` keeps on the bundled clip, x4.

    A long clip less a short one: what starting takes is in both.
    """
    from deploy.choice import frames_per_second
    from deploy.load import load_engine
    from jobs.bench.pipeline import run_command, write_lr_and_key_frames
    from pipeline.media.read.probe import probe

    def run(lr: Path, ref: Path, turns: int) -> dict[str, Any]:
        clip = probe(str(lr))
        seconds = clip.duration_pts * clip.time_base
        sources = [_repeated(path, turns, seconds) for path in (lr, ref)]
        # choosing takes longer than a few frames
        more = ["--engine", "torch", "--end", "0.1"] if case["quick"] else ["--engine", "auto"]
        command = [*run_command(*sources, lr.with_name("out.mp4"), *more), "--json"]
        ended = subprocess.run(command, capture_output=True, text=True)
        if ended.returncode:
            raise RuntimeError(ended.stderr.strip()[-300:])
        result: dict[str, Any] = json.loads(ended.stdout)
        result["seconds"] = result["frames"] / result["fps"]
        return result

    def compare() -> None:
        with tempfile.TemporaryDirectory() as name:
            lr, ref = write_lr_and_key_frames(Path(name))
            # the first run also measures which engine is the fastest
            first, short, long = (
                run(lr, ref, turns) for turns in (1, 1, 1 if case["quick"] else 20)
            )
        it = load_engine(long["engine"], model=case["weights"])
        turns = 1 if case["quick"] else 3
        frames = 1 if case["quick"] else 4
        alone = frames_per_second(it, height=480, width=720, frames=frames, turns=turns)
        more = long["frames"] - short["frames"]
        steady = more / (long["seconds"] - short["seconds"]) if more else long["fps"]
        say(
            pipeline_fps=round(steady, 2),
            with_start_up_fps=first["fps"],
            engine_fps=round(alone, 2),
            of_engine=round(steady / alone, 3),
            with_engine=long["engine"],
            frames=long["frames"],
        )

    _or_text(compare, what="pipeline")


CASES: dict[str, Callable[[Case], None]] = {
    "ceilings": ceilings,
    "engine": engine,
    "rtx": rtx,
    "pipeline": pipeline,
}


if __name__ == "__main__":
    given = json.loads(sys.argv[1])
    CASES[given["case"]](given)
