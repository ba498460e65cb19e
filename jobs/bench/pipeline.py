"""Speed and memory of the pipeline, as ratios measured side by side in one run.

    python -m jobs.bench.pipeline [overhead] [end_to_end] [presets] [memory]

`overhead` needs the program ffmpeg. Rates leave start-up out: each command runs on a short and on a
long clip, and the rate is the difference in frames over the difference in seconds.
"""

from __future__ import annotations

import json
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from jobs.machine import RESULTS, write_result

ROOT = Path(__file__).parents[2]
CLIP_720P = ROOT / "tests" / "data" / "big_buck_bunny_720p.mp4"
SAMPLE = ROOT / "pipeline" / "samples" / "monster.mp4"
PIPELINE = [sys.executable, "-m", "pipeline"]


RUN_AND_WEIGH = """
import resource, subprocess, sys, time
began = time.monotonic()
ended = subprocess.run(sys.argv[1:], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
seconds = time.monotonic() - began
if ended.returncode:
    sys.exit(ended.stderr.decode()[-500:])
print(seconds, resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)
"""
"""A child's peak begins with the memory of the process that forked it: fork from a small one."""


def timed(command: list[str]) -> tuple[float, int]:
    """Return wall-clock seconds and peak memory in kB of a command that has to succeed."""
    small = [sys.executable, "-S", "-c", RUN_AND_WEIGH, *command]
    ended = subprocess.run(small, capture_output=True, text=True)
    if ended.returncode:
        raise SystemExit(f"{' '.join(command)}: {ended.stderr}")
    seconds, peak = ended.stdout.split()
    return float(seconds), int(peak)


def frames_in(path: Path) -> int:
    """Return the number of frames of a video."""
    from pipeline.media.read.probe import probe, scan

    return len(scan(probe(str(path))).pts)


def looped(source: Path, times: int, out: Path) -> Path:
    """Write `source` `times` times in a row, packets copied."""
    loop = ["ffmpeg", "-v", "error", "-y", "-stream_loop", str(times - 1), "-i", str(source)]
    subprocess.run([*loop, "-map", "0:v", "-c", "copy", str(out)], check=True)
    return out


def run_command(lr: Path, ref: Path, out: Path, *more: str) -> list[str]:
    """Return the command line of a run."""
    given = [*PIPELINE, "run", str(lr), "--ref-stream", str(ref), "-o", str(out)]
    return [*given, "--runner", "inline", "--quiet", "--force", *more]


def overhead(folder: Path) -> dict[str, Any]:
    """Bicubic x2 of a 720p clip against the ffmpeg program with the same encoder settings."""
    import cv2
    import imageio.v3 as imageio

    from pipeline.media.read.frames import read
    from pipeline.media.read.probe import probe
    from pipeline.media.write.segment import default_encoding

    short, long = looped(CLIP_720P, 2, folder / "s.mp4"), looped(CLIP_720P, 12, folder / "l.mp4")
    clip = probe(str(long))
    encoding = default_encoding(clip)
    ref = folder / "ref.png"
    first = next(iter(read(clip))).rgb
    imageio.imwrite(ref, cv2.resize(first, None, fx=2, fy=2, interpolation=cv2.INTER_CUBIC))
    out = folder / "out.mp4"

    def ffmpeg(source: Path) -> list[str]:
        scale = "scale=2*iw:2*ih:flags=bicubic"
        x264 = ["-c:v", "libx264", "-crf", f"{encoding.crf:g}", "-preset", str(encoding.preset)]
        return [
            *["ffmpeg", "-v", "error", "-y", "-i", str(source), "-vf", scale, *x264],
            *["-pix_fmt", encoding.pix_fmt, "-threads", str(encoding.threads), str(out)],
        ]

    def pipeline(source: Path) -> list[str]:
        return run_command(source, ref, out, "--engine", "bicubic", "--scale", "2")

    counts = frames_in(short), frames_in(long)
    result: dict[str, Any] = {"frames": counts, "encoder": encoding.model_dump()}
    for name, command in (("ffmpeg", ffmpeg), ("pipeline", pipeline)):
        few, many = timed(command(short))[0], timed(command(long))[0]
        rate = (counts[1] - counts[0]) / (many - few)
        result[name] = {
            "seconds": [round(few, 2), round(many, 2)],
            "fps": round(rate, 3),
            "startup_seconds": round(few - counts[0] / rate, 2),
        }
    result["ratio"] = round(result["pipeline"]["fps"] / result["ffmpeg"]["fps"], 3)
    return result


def end_to_end(folder: Path) -> dict[str, Any]:
    """`fast` through the pipeline against decode, eager torch and encode one after the other.

    In turns, three times; the median ratio counts, because a shared machine's speed drifts.
    """
    lr, ref = small_and_key_frames(folder)
    count, few = frames_in(lr), 16
    out = folder / "fast.mp4"
    turns = []
    for _ in range(3):
        short = timed(run_command(lr, ref, out, "--end", str(few / 30)))[0]
        plain = plain_script(lr, ref, folder / "plain.nut")
        long = timed(run_command(lr, ref, out))[0]
        rate = (count - few) / (long - short)
        turns.append({"pipeline_fps": rate, "plain_fps": plain, "ratio": rate / plain})
    turns.sort(key=lambda turn: turn["ratio"])
    return {
        "frames": count,
        "size": "180x120 to 720x480",
        "turns": [{name: round(value, 3) for name, value in turn.items()} for turn in turns],
        "ratio": round(turns[1]["ratio"], 3),
    }


def small_and_key_frames(folder: Path) -> tuple[Path, Path]:
    """Make the bundled clip small, and keep every 15th frame of it."""
    from pipeline.tools.degrade import degrade

    lr, ref = folder / "lr.mp4", folder / "ref.mp4"
    degrade(str(SAMPLE), lr, scale=4, force=True)
    degrade(str(SAMPLE), ref, scale=1, every=15, force=True)
    return lr, ref


def plain_script(lr: Path, ref: Path, out: Path) -> float:
    """Return the frames per second of the obvious loop with the same weights."""
    import numpy as np
    import torch
    import torch.nn.functional as F

    from crossnetpp.checkpoint import load_network
    from pipeline.media.read.frames import read
    from pipeline.media.read.probe import probe
    from pipeline.media.write.segment import SegmentWriter, default_encoding

    clip = probe(str(lr))
    network = load_network("fast")
    multiple = network.multiple

    def tensor(frame: Any, multiple: int) -> torch.Tensor:
        planes = torch.from_numpy(np.ascontiguousarray(frame.transpose(2, 0, 1)))[None] / 255.0
        pads = (0, -planes.shape[-1] % multiple, 0, -planes.shape[-2] % multiple)
        return F.pad(planes, pads, mode="replicate")

    keys = [frame.rgb for frame in read(probe(str(ref)))]
    height, width = keys[0].shape[:2]
    times = []
    writer = SegmentWriter(str(out), clip, default_encoding(clip), width, height)
    with torch.no_grad(), writer:
        times.append(time.monotonic())
        for number, frame in enumerate(read(clip)):
            key = keys[min(round(number / 15), len(keys) - 1)]
            sr = network(tensor(frame.rgb, multiple // 4), tensor(key, multiple)).sr
            sr = (sr[0, :, :height, :width].clamp(0, 1) * 255).round().byte()
            writer.write(np.ascontiguousarray(sr.permute(1, 2, 0).numpy()), frame.pts)
            times.append(time.monotonic())
    # the first frames warm the allocator and the kernels up
    return (len(times) - 4) / (times[-1] - times[3])


def presets(_: Path) -> dict[str, Any]:
    """Seconds a frame of `fast` and of `paper` at 320 x 512 in the torch engine, in turns."""
    import numpy as np

    from crossnetpp.checkpoint import save_weights
    from crossnetpp.networks.build import build_network
    from deploy.load import load_engine

    rng = np.random.default_rng(0)
    lr = rng.integers(0, 256, (1, 80, 128, 3)).astype(np.uint8)
    ref = rng.integers(0, 256, (1, 320, 512, 3)).astype(np.uint8)
    with tempfile.TemporaryDirectory() as folder:
        weights = Path(folder) / "paper.safetensors"
        # no trained weights are needed to time a network
        save_weights(build_network("paper"), "paper", weights)
        paper = load_engine("torch", model=str(weights))
    engines = {"fast": load_engine("torch", model="fast"), "paper": paper}
    seconds: dict[str, list[float]] = {name: [] for name in engines}
    for turn in range(6):
        for name, engine in engines.items():
            # another reference each time: what is kept of it must not help
            began = time.monotonic()
            engine.enhance(lr, ref if turn % 2 else 255 - ref)
            seconds[name].append(time.monotonic() - began)
    median = {name: statistics.median(values[1:]) for name, values in seconds.items()}
    return {
        "seconds": {name: round(value, 4) for name, value in median.items()},
        "ratio": round(median["paper"] / median["fast"], 2),
    }


def memory(folder: Path) -> dict[str, Any]:
    """Peak memory on a clip and on one ten times as long, bicubic and `fast`."""
    from pipeline.tools.degrade import degrade

    result: dict[str, Any] = {}
    lr, ref = small_and_key_frames(folder)
    tiny, key = folder / "tiny.mp4", folder / "key.mp4"
    # 720x480 is too slow for ten times two seconds: the same clip at 360x240
    degrade(str(SAMPLE), folder / "half.mp4", scale=2, force=True)
    degrade(str(folder / "half.mp4"), tiny, scale=4, force=True, pix_fmt="yuv444p")
    degrade(str(folder / "half.mp4"), key, scale=1, every=15, force=True)
    cases: dict[str, tuple[Path, Path, str]] = {"bicubic": (lr, ref, "bicubic")}
    cases["fast"] = (tiny, key, "torch")
    for name, (small, reference, engine) in cases.items():
        peaks = []
        for times in (1, 10):
            clips = [looped(c, times, folder / f"x{times}_{c.name}") for c in (small, reference)]
            command = run_command(*clips, folder / "memory.mp4", "--engine", engine)
            peaks.append(timed([*command, "--segment", "1"])[1])
        result[name] = {
            "peak_mb": [round(peak / 1024, 1) for peak in peaks],
            "ratio": round(peaks[1] / peaks[0], 3),
        }
    return result


PARTS: dict[str, Callable[[Path], dict[str, Any]]] = {
    "presets": presets,
    "end_to_end": end_to_end,
    "memory": memory,
    "overhead": overhead,
}


def main() -> None:
    """Run the parts named on the command line, or all; keep earlier results of the others."""
    chosen = sys.argv[1:] or list(PARTS)
    if "overhead" in chosen and shutil.which("ffmpeg") is None:
        raise SystemExit("found no program ffmpeg, which `overhead` measures against; install it")
    path = RESULTS / "bench_pipeline.json"
    result = json.loads(path.read_text()) if path.exists() else {}
    result.pop("machine", None)
    for name in chosen:
        with tempfile.TemporaryDirectory() as folder:
            result[name] = PARTS[name](Path(folder))
        sys.stdout.write(f"{name}: {json.dumps(result[name])}\n")
        write_result("bench_pipeline", result)


if __name__ == "__main__":
    main()
