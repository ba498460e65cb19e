"""Compare the speed of whole runs with that of an older commit, running the two alternately.

    python -m jobs.bench.against [COMMIT] [--turns 3] [--only CASE]

The commit is checked out into a temporary worktree, and both versions run in this environment. Each
case runs on a short and on a long clip. The seconds per frame are the extra seconds divided by the
extra frames, so start-up does not count. CPU time is measured as well, because it depends less on
the other load of the machine. The PSNR of both outputs shows what any extra speed costs in quality.
The figures are written to jobs/results/bench_against.json.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from jobs.bench.pipeline import ROOT, SAMPLE, time_command, write_lr_and_key_frames
from jobs.machine import RESULTS, write_result

BASELINE = "8909375"  # before the network and the code around it were made faster
RATE = 30  # frames per second of the bundled clip
KEY_FRAME_EVERY = 15


class Case(NamedTuple):
    """A run of both versions, with further options for the newer one."""

    options: tuple[str, ...]
    new_options: tuple[str, ...] = ()
    """Options that the older version does not support."""
    frames: tuple[int, int] = (15, 60)
    """The number of frames in the short run and in the long run."""


# the mix with optical flow costs time for quality that the older version lacks
NETWORK_ALONE = ("--effort", "normal")

# adaptation is off, because it takes as long as the user allows, whatever the engine's speed
CASES = {
    "fast": Case(("--engine", "torch"), (*NETWORK_ALONE, "--adapt", "off")),
    "fast, one reference": Case(
        ("--engine", "torch"), (*NETWORK_ALONE, "--adapt", "off", "--ref-count", "1")
    ),
    "bicubic": Case(("--engine", "bicubic"), ("--adapt", "off")),
}


class Seconds(NamedTuple):
    """The wall-clock and CPU time that a command takes."""

    wall: float
    cpu: float


def time_run(tree: Path, arguments: list[str]) -> Seconds:
    """Return how long a `pipeline` command takes with the packages in `tree`.

    Raises SystemExit if it fails.
    """
    command = [sys.executable, "-P", "-m", "pipeline", *arguments]
    cost = time_command(command, {**os.environ, "PYTHONPATH": str(tree)})
    return Seconds(cost.seconds, cost.cpu_seconds)


@contextmanager
def check_out(commit: str) -> Iterator[Path]:
    """Yield a temporary worktree of `commit`, which is removed afterwards."""
    with tempfile.TemporaryDirectory() as folder:
        tree = Path(folder) / "tree"
        git = ["git", "-C", str(ROOT), "worktree"]
        subprocess.run([*git, "add", "--quiet", "--detach", str(tree), commit], check=True)
        try:
            yield tree
        finally:
            subprocess.run([*git, "remove", "--force", str(tree)], check=True)


def compare(trees: dict[str, Path], case: Case, folder: Path, turns: int) -> dict[str, Any]:
    """Return a case's figures: each version's seconds per frame and PSNR, and the speed ratios."""
    lr, ref = write_lr_and_key_frames(folder)
    turned: dict[str, list[Seconds]] = {name: [] for name in trees}
    psnr: dict[str, float] = {}
    for _ in range(turns):
        for name, tree in trees.items():
            out = folder / f"{name}.mp4"
            more = case.options + (case.new_options if name == "new" else ())
            command = ["run", str(lr), "--ref-stream", str(ref), "-o", str(out), "--force"]
            command += ["--runner", "inline", "--quiet", *more]
            short = time_run(tree, [*command, "--end", f"{case.frames[0] / RATE:g}"])
            long = time_run(tree, [*command, "--end", f"{case.frames[1] / RATE:g}"])

            extra = case.frames[1] - case.frames[0]
            turned[name].append(
                Seconds((long.wall - short.wall) / extra, (long.cpu - short.cpu) / extra)
            )
            psnr[name] = measure_psnr(out, case.frames[1])

    result = summarise(turned)
    for name, value in psnr.items():
        result[name]["psnr"] = round(value, 3)
    return result


def measure_psnr(output: Path, frames: int) -> float:
    """Return the mean PSNR (dB, RGB) of an output's frames, excluding the key frames."""
    from pipeline.measuring.clips import evaluate

    return evaluate(output, SAMPLE, skip=frozenset(range(0, frames, KEY_FRAME_EVERY))).psnr


def summarise(turned: dict[str, list[Seconds]]) -> dict[str, Any]:
    """Return the median seconds per frame, and the ratio of the speed of `new` to that of `old`.

    Ratios are computed within each turn, because the speed of a shared machine drifts.
    """
    result: dict[str, Any] = {
        name: {
            "seconds_per_frame": round(statistics.median(one.wall for one in each), 4),
            "cpu_seconds_per_frame": round(statistics.median(one.cpu for one in each), 4),
        }
        for name, each in turned.items()
    }
    for kind in ("wall", "cpu"):
        ratios = sorted(
            getattr(old, kind) / getattr(new, kind)
            for old, new in zip(turned["old"], turned["new"], strict=True)
        )
        result[f"{kind}_ratio"] = round(statistics.median(ratios), 3)
        result[f"{kind}_ratios"] = [round(ratio, 3) for ratio in ratios]
    return result


def main() -> None:
    """Run the selected cases, and keep the earlier results of the others."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("commit", nargs="?", default=BASELINE, metavar="COMMIT")
    parser.add_argument("--turns", type=int, default=3, metavar="N", help="default 3")
    parser.add_argument("--only", action="append", choices=CASES, metavar="CASE")
    chosen = parser.parse_args()

    path = RESULTS / "bench_against.json"
    result = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    if result.get("against") != chosen.commit:
        result = {}
    result.pop("machine", None)
    result |= {"against": chosen.commit, "size": "180x120 to 720x480"}

    with check_out(chosen.commit) as old:
        for name in chosen.only or CASES:
            with tempfile.TemporaryDirectory() as folder:
                trees = {"old": old, "new": ROOT}
                result[name] = compare(trees, CASES[name], Path(folder), chosen.turns)
            sys.stdout.write(f"{name}: {json.dumps(result[name])}\n")
            write_result("bench_against", result)


if __name__ == "__main__":
    main()
