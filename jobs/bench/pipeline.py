"""Measure the pipeline's speed and memory, as ratios of measurements made side by side.

    python -m jobs.bench.pipeline [overhead] [end_to_end] [presets] [memory]

`overhead` and `memory` need the `ffmpeg` program. Frame rates exclude the start-up time: each
command runs on a short and on a long clip, and the rate is the number of extra frames divided by
the extra seconds. The plain loop in `end_to_end` runs in this process, and its first frames are not
timed.
"""

from __future__ import annotations

import argparse
import json
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from jobs.machine import RESULTS, write_result

ROOT = Path(__file__).parents[2]
CLIP_720P = ROOT / "tests" / "data" / "big_buck_bunny_720p.mp4"
SAMPLE = ROOT / "pipeline" / "samples" / "monster.mp4"
PIPELINE = [sys.executable, "-m", "pipeline"]

# options with which a run does no more work per frame than the plain loop
AS_IN_THE_LOOP = ("--engine", "torch", "--effort", "normal", "--ref-count", "1", "--adapt", "off")

# a forked child inherits its parent's peak memory, so fork the command from a small process
RUN_AND_WEIGH = """
import resource, subprocess, sys, time
start = time.monotonic()
ended = subprocess.run(sys.argv[1:], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
seconds = time.monotonic() - start
if ended.returncode:
    sys.exit(ended.stderr.decode()[-500:])
used = resource.getrusage(resource.RUSAGE_CHILDREN)
print(seconds, used.ru_utime + used.ru_stime, used.ru_maxrss)
"""


class CommandCost(NamedTuple):
    """The time and memory that a command takes."""

    seconds: float
    """Wall-clock time."""
    cpu_seconds: float
    peak_kb: int
    """Peak memory in kB."""


def time_command(command: list[str], environment: Mapping[str, str] | None = None) -> CommandCost:
    """Run a command, and return its cost; `environment` defaults to this process's own.

    Raises SystemExit if the command fails.
    """
    small = [sys.executable, "-S", "-c", RUN_AND_WEIGH, *command]
    ended = subprocess.run(small, capture_output=True, text=True, env=environment)
    if ended.returncode:
        raise SystemExit(f"{' '.join(command)}: {ended.stderr}")

    seconds, cpu_seconds, peak = ended.stdout.split()
    return CommandCost(float(seconds), float(cpu_seconds), int(peak))


def count_frames(path: Path) -> int:
    """Return the number of frames in a video."""
    from pipeline.media.read.probe import probe, scan

    return len(scan(probe(str(path))).pts)


def loop_clip(source: Path, times: int, out: Path) -> Path:
    """Write `times` repetitions of `source` to `out` by copying packets, and return `out`."""
    loop = ["ffmpeg", "-v", "error", "-y", "-stream_loop", str(times - 1), "-i", str(source)]
    subprocess.run([*loop, "-map", "0:v", "-c", "copy", str(out)], check=True)
    return out


def run_command(lr: Path, ref: Path, out: Path, *more: str) -> list[str]:
    """Return the command line of a run in a single process, with `more` as additional options."""
    paths = [*PIPELINE, "run", str(lr), "--ref-stream", str(ref), "-o", str(out)]
    return [*paths, "--runner", "inline", "--quiet", "--force", *more]


def measure_overhead(folder: Path) -> dict[str, Any]:
    """Compare the speeds of the pipeline and of `ffmpeg` at 2x bicubic up-sampling.

    Both enlarge a 720p clip with the same encoder settings.
    """
    import cv2
    import imageio.v3 as imageio

    from pipeline.media.read.frames import read_frames
    from pipeline.media.read.probe import probe
    from pipeline.media.write.encoder import choose_encoding

    short = loop_clip(CLIP_720P, 2, folder / "s.mp4")
    long = loop_clip(CLIP_720P, 12, folder / "l.mp4")
    clip = probe(str(long))
    encoding = choose_encoding(clip)

    ref = folder / "ref.png"
    first = next(iter(read_frames(clip))).rgb
    imageio.imwrite(ref, cv2.resize(first, None, fx=2, fy=2, interpolation=cv2.INTER_CUBIC))
    out = folder / "out.mp4"

    def ffmpeg_command(source: Path) -> list[str]:
        scale = "scale=2*iw:2*ih:flags=bicubic"
        x264 = ["-c:v", "libx264", "-crf", f"{encoding.crf:g}", "-preset", str(encoding.preset)]
        return [
            *["ffmpeg", "-v", "error", "-y", "-i", str(source), "-vf", scale, *x264],
            *["-pix_fmt", encoding.pix_fmt, "-threads", str(encoding.threads), str(out)],
        ]

    def pipeline_command(source: Path) -> list[str]:
        return run_command(source, ref, out, "--engine", "bicubic", "--scale", "2")

    counts = (count_frames(short), count_frames(long))
    result: dict[str, Any] = {"frames": counts, "encoder": encoding.model_dump()}
    for name, command in (("ffmpeg", ffmpeg_command), ("pipeline", pipeline_command)):
        short_seconds = time_command(command(short)).seconds
        long_seconds = time_command(command(long)).seconds
        rate = (counts[1] - counts[0]) / (long_seconds - short_seconds)
        result[name] = {
            "seconds": [round(short_seconds, 2), round(long_seconds, 2)],
            "fps": round(rate, 3),
            "startup_seconds": round(short_seconds - counts[0] / rate, 2),
        }

    result["ratio"] = round(result["pipeline"]["fps"] / result["ffmpeg"]["fps"], 3)
    return result


def measure_end_to_end(folder: Path) -> dict[str, Any]:
    """Compare the speed of `fast` in the pipeline and in a loop whose stages do not overlap.

    The loop decodes, enhances and encodes one frame after another. Both are timed three times in
    turn, and the median ratio is reported, because the speed of a shared machine drifts.
    """
    lr, ref = write_lr_and_key_frames(folder)
    count = count_frames(lr)
    few = 16
    out = folder / "fast.mp4"
    command = run_command(lr, ref, out, *AS_IN_THE_LOOP)

    turns = []
    for _ in range(3):
        short = time_command([*command, "--end", str(few / 30)]).seconds
        plain = time_plain_loop(lr, ref, folder / "plain.nut")
        long = time_command(command).seconds
        rate = (count - few) / (long - short)
        turns.append({"pipeline_fps": rate, "plain_fps": plain, "ratio": rate / plain})

    turns.sort(key=lambda turn: turn["ratio"])
    return {
        "frames": count,
        "size": "180x120 to 720x480",
        "turns": [{name: round(value, 3) for name, value in turn.items()} for turn in turns],
        "ratio": round(turns[1]["ratio"], 3),
    }


def write_lr_and_key_frames(folder: Path) -> tuple[Path, Path]:
    """Write the bundled clip downscaled by 4, and a clip of every 15th original frame.

    Return the paths of the two files.
    """
    from pipeline.tools.degrade import degrade

    lr = folder / "lr.mp4"
    ref = folder / "ref.mp4"
    degrade(str(SAMPLE), lr, scale=4, force=True)
    degrade(str(SAMPLE), ref, scale=1, every=15, force=True)
    return lr, ref


def time_plain_loop(lr: Path, ref: Path, out: Path) -> float:
    """Return the frames per second of a plain loop that enhances `lr` to `out` in eager PyTorch.

    `ref` contains every 15th original frame; each frame borrows from the nearest one. The first
    three frames, which warm up the allocator and the kernels, are not timed.
    """
    import numpy as np
    import torch

    from crossnetpp.checkpoint import load_network
    from crossnetpp.networks.blocks import pad_planes
    from pipeline.media.read.frames import read_frames
    from pipeline.media.read.probe import probe
    from pipeline.media.write.encoder import choose_encoding
    from pipeline.media.write.segment import SegmentWriter

    clip = probe(str(lr))
    network = load_network("fast")
    multiple = network.multiple

    def to_tensor(frame: Any, multiple: int) -> torch.Tensor:
        planes = torch.from_numpy(np.ascontiguousarray(frame.transpose(2, 0, 1)))[None] / 255.0
        return pad_planes(planes, multiple)

    keys = [frame.rgb for frame in read_frames(probe(str(ref)))]
    height, width = keys[0].shape[:2]

    times = []
    writer = SegmentWriter(str(out), clip, choose_encoding(clip), width, height)
    with torch.no_grad(), writer:
        times.append(time.monotonic())
        for number, frame in enumerate(read_frames(clip)):
            key = keys[min(round(number / 15), len(keys) - 1)]
            sr = network(to_tensor(frame.rgb, multiple // 4), to_tensor(key, multiple)).sr
            sr = (sr[0, :, :height, :width].clamp(0, 1) * 255).round().byte()
            writer.write(np.ascontiguousarray(sr.permute(1, 2, 0).numpy()), frame.pts)
            times.append(time.monotonic())

    return (len(times) - 4) / (times[-1] - times[3])


def measure_presets(_: Path) -> dict[str, Any]:
    """Compare how many seconds `fast` and `paper` take per 512x320 frame in the torch engine."""
    import numpy as np

    from crossnetpp.checkpoint import save_weights
    from crossnetpp.networks.build import build_network
    from deploy.load import load_engine

    rng = np.random.default_rng(0)
    lr = rng.integers(0, 256, (1, 80, 128, 3)).astype(np.uint8)
    ref = rng.integers(0, 256, (1, 320, 512, 3)).astype(np.uint8)

    with tempfile.TemporaryDirectory() as folder:
        weights = Path(folder) / "paper.safetensors"
        # speed does not depend on the weights, so random ones are enough
        save_weights(build_network("paper"), "paper", weights)
        paper = load_engine("torch", model=str(weights))
    engines = {"fast": load_engine("torch", model="fast"), "paper": paper}

    seconds: dict[str, list[float]] = {name: [] for name in engines}
    for turn in range(6):
        for name, engine in engines.items():
            # a new reference in every turn bypasses the engine's cache of reference features
            start = time.monotonic()
            engine.enhance(lr, ref if turn % 2 else 255 - ref)
            seconds[name].append(time.monotonic() - start)

    median = {name: statistics.median(values[1:]) for name, values in seconds.items()}
    return {
        "seconds": {name: round(value, 4) for name, value in median.items()},
        "ratio": round(median["paper"] / median["fast"], 2),
    }


def measure_memory(folder: Path) -> dict[str, Any]:
    """Compare the peak memory for a clip with the peak memory for one ten times as long.

    Both `bicubic` and `fast` are measured.
    """
    from pipeline.tools.degrade import degrade

    # twenty seconds of 720x480 would take `fast` too long, so it gets the clip at 360x240
    lr, ref = write_lr_and_key_frames(folder)
    half = folder / "half.mp4"
    tiny = folder / "tiny.mp4"
    key = folder / "key.mp4"
    degrade(str(SAMPLE), half, scale=2, force=True)
    degrade(str(half), tiny, scale=4, force=True, pix_fmt="yuv444p")
    degrade(str(half), key, scale=1, every=15, force=True)
    # no adaptation, which needs more memory and would run only for the long clip
    cases: dict[str, tuple[Path, Path, tuple[str, ...]]] = {
        "bicubic": (lr, ref, ("--engine", "bicubic")),
        "fast": (tiny, key, AS_IN_THE_LOOP),
    }

    result: dict[str, Any] = {}
    for name, (small, reference, options) in cases.items():
        peaks = []
        for times in (1, 10):
            clips = [loop_clip(c, times, folder / f"x{times}_{c.name}") for c in (small, reference)]
            command = run_command(*clips, folder / "memory.mp4", *options)
            peaks.append(time_command([*command, "--segment", "1"]).peak_kb)
        result[name] = {
            "peak_mb": [round(peak / 1024, 1) for peak in peaks],
            "ratio": round(peaks[1] / peaks[0], 3),
        }
    return result


PARTS: dict[str, Callable[[Path], dict[str, Any]]] = {
    "presets": measure_presets,
    "end_to_end": measure_end_to_end,
    "memory": measure_memory,
    "overhead": measure_overhead,
}


def main() -> None:
    """Run the selected parts (by default all), and keep the earlier results of the others."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("parts", nargs="*", metavar="PART", help=f"{', '.join(PARTS)}; default all")
    chosen = parser.parse_args().parts or list(PARTS)
    if unknown := [name for name in chosen if name not in PARTS]:
        parser.error(f"there is no part {unknown[0]!r}; expected one of {', '.join(PARTS)}")
    if {"overhead", "memory"} & set(chosen) and shutil.which("ffmpeg") is None:
        parser.error(
            "`overhead` and `memory` need the ffmpeg program, which is not on the PATH; install it"
        )

    path = RESULTS / "bench_pipeline.json"
    result = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    result.pop("machine", None)
    for name in chosen:
        with tempfile.TemporaryDirectory() as folder:
            result[name] = PARTS[name](Path(folder))
        sys.stdout.write(f"{name}: {json.dumps(result[name])}\n")
        write_result("bench_pipeline", result)


if __name__ == "__main__":
    main()
