"""Enhance recordings from the command line, killing and resuming the runs, inline and on Ray.

    python -m jobs.stress.recorded_runs CLIP... [--seconds 20] [--work FOLDER]

`pipeline degrade` makes the recording of each clip (pixel means, H.264 at crf 20) and its key
frames (every 15th frame, H.264 at crf 10). One plan is run twice, in a single process and on Ray.
Each run is killed twice with SIGKILL and resumed. The two outputs must be bit-identical. The
figures go to `jobs/results/recorded_runs.json`.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from jobs.machine import write_result
from pipeline.ledger.durable import sha256

KILLS = 2
POLL = 0.2  # seconds
ADAPT_SECONDS = 90
PIPELINE = (sys.executable, "-m", "pipeline")
RECORDING = ("--scale", "4", "--kernel", "area", "--codec", "libx264", "--crf", "20")
KEYS = ("--scale", "1", "--every", "15", "--codec", "libx264", "--crf", "10")


def call(*arguments: object) -> dict[str, Any]:
    """Run `pipeline ARGUMENTS --json`, and return the printed object."""
    command = [*PIPELINE, *map(str, arguments), "--json", "-q"]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    answer: dict[str, Any] = json.loads(done.stdout)
    return answer


def count_segments(output: Path) -> int:
    """Return how many segments the unfinished run with the given `output` has committed."""
    return len(list(output.with_name(f".{output.name}.run").glob("segments/*.json")))


def run_until_segments(count: int, output: Path, words: Sequence[object]) -> bool:
    """Start a run, and kill it once it has committed a segment and `count` segments exist.

    Return whether the run was killed; it may have finished first.
    """
    least = max(count, count_segments(output) + 1)
    command = [*PIPELINE, *map(str, words), "--json", "-q"]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, start_new_session=True) as running:
        while running.poll() is None:
            if count_segments(output) >= least:
                os.killpg(running.pid, signal.SIGKILL)
                return True
            time.sleep(POLL)
    return False


def measure_run(plan: Path, output: Path, words: Sequence[object], segments: int) -> dict[str, Any]:
    """Run a plan, killing and resuming it at one and two thirds of its segments.

    Return the figures of the finished run. `words` are the arguments of `pipeline run`.
    """
    command = ("run", *words, "--plan", plan, "-o", output)
    kills = sum(
        run_until_segments(max(segments * (n + 1) // (KILLS + 1), 1), output, command)
        for n in range(KILLS)
    )
    result = call(*command)
    return {
        "kills": kills,
        "resumed_segments": result["resumed_segments"],
        "segments": result["segments"],
        "sha256": sha256(output),
        "adapted": result["adapted"],
        "model": Path(result["model"]).name,
    }


def adapt_weights(inputs: Sequence[object], output: Path) -> Path | None:
    """Adapt weights to the recording, and return their path, or None if they are no better.

    Both runs use this file, because an adaptation within each run would train for a number of steps
    that depends on its speed. Raises SystemExit if the command fails.
    """
    words = ("adapt", *inputs, "--seconds", ADAPT_SECONDS, "-o", output, "--force", "-q")
    done = subprocess.run([*PIPELINE, *map(str, words)], check=False)
    if done.returncode not in (0, 1):
        raise SystemExit(
            f"`pipeline adapt` failed with status {done.returncode}, expected 0 or 1; "
            "try another clip"
        )
    return output if done.returncode == 0 else None


def measure_clip(clip: Path, seconds: float, work: Path) -> dict[str, Any]:
    """Simulate a recording of a clip, enhance it inline and on Ray, and return all figures."""
    lr, keys = work / f"{clip.stem}_lr.mp4", work / f"{clip.stem}_keys.mp4"
    call("degrade", clip, *RECORDING, "-o", lr)
    call("degrade", clip, *KEYS, "-o", keys)

    plan = work / f"{clip.stem}.plan.json"
    inputs = (lr, "--ref-stream", keys)
    weights = adapt_weights(inputs, work / f"{clip.stem}.safetensors")
    adapt = ("--adapt", weights or "off")
    made = call(
        *("plan", *inputs, "--end", seconds, "--segment", "2", "--engine", "torch", *adapt),
        *("--save", plan, "-o", work / "out.mkv"),
    )
    started = time.monotonic()
    outputs = {runner: work / f"{clip.stem}_{runner}.mkv" for runner in ("inline", "ray")}
    runs = {
        runner: measure_run(
            plan, output, (*inputs, *adapt, "--runner", runner), len(made["segments"])
        )
        for runner, output in outputs.items()
    }

    seconds_of_runs = time.monotonic() - started

    bicubic = work / f"{clip.stem}_bicubic.mkv"
    call("run", *inputs, "--end", seconds, "--engine", "bicubic", "-o", bicubic)
    quality = {
        name: call("evaluate", path, "--ground-truth", clip)["psnr"]
        for name, path in {"bicubic": bicubic, "fast": outputs["inline"]}.items()
    }
    return {
        "frames": len(made["reference_map"]),
        "capture": made["capture"],
        "psnr": quality,
        "same_bits": len({run["sha256"] for run in runs.values()}) == 1,
        "seconds_of_both_runs": round(seconds_of_runs, 1),
        "runs": runs,
    }


def main() -> None:
    """Measure all clips, and write the results; exit with status 1 if any two outputs differ."""
    parser = argparse.ArgumentParser(
        prog="python -m jobs.stress.recorded_runs",
        description=(__doc__ or "").partition("\n\n")[0],
    )
    parser.add_argument("clips", nargs="+", type=Path)
    parser.add_argument("--seconds", type=float, default=20.0, help="length of each run")
    parser.add_argument("--work", type=Path, help="folder for all files, kept afterwards")
    arguments = parser.parse_args()

    with tempfile.TemporaryDirectory() as temporary:
        work = arguments.work or Path(temporary)
        work.mkdir(parents=True, exist_ok=True)
        clips = {}
        for clip in arguments.clips:
            clips[clip.stem] = measure_clip(clip, arguments.seconds, work)
            print(json.dumps({clip.stem: clips[clip.stem]}, indent=1))  # noqa: T201
    command = f"python -m jobs.stress.recorded_runs CLIP... --seconds {arguments.seconds:g}"
    write_result("recorded_runs", {"command": command, "clips": clips})
    if not all(facts["same_bits"] for facts in clips.values()):
        raise SystemExit("the outputs of the two runners differ, but should be bit-identical")


if __name__ == "__main__":
    main()
