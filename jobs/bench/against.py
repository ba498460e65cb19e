"""Compare the speed of whole runs with an older commit, alternating between the two versions.

    python -m jobs.bench.against [COMMIT] [--turns 3] [--only CASE]

The commit is checked out into a temporary worktree, and both versions run in this environment. Each
case runs on a short and on a long recording: clips of 15 and 60 frames, and light fields of 3x9 and
9x9 views. The seconds per frame are the extra seconds divided by the extra frames, so start-up does
not count. CPU time is measured as well, because other programs on the machine affect it less. The
PSNR of both outputs shows what any extra speed costs in quality. The figures are written to
jobs/results/bench_against.json.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import numpy as np

from jobs.bench.pipeline import ROOT, SAMPLE, time_command, write_lr_and_key_frames
from jobs.machine import RESULTS, write_result

BASELINE = "8909375"  # before the network and the code around it were made faster
RATE = 30  # frames per second of the bundled clip
KEY_FRAME_EVERY = 15
PHOTOGRAPH = ROOT / "tests" / "data" / "kodak_21.jpg"
COLUMNS = 9  # of views in a light field
SIDE = 512  # height and width of a view in pixels
SCALE = 4
PARALLAX = 2  # pixels by which neighbouring views are displaced


class Case(NamedTuple):
    """A recording, and the options with which each version enhances it."""

    options: tuple[str, ...]
    """Options for both versions."""
    new_options: tuple[str, ...] = ()
    """Additional options for the newer version, which the older version does not support."""
    frames: tuple[int, int] = (15, 60)
    """The number of frames in the short run and in the long run."""
    is_light_field: bool = False


# No mix with optical flow, which improves quality but takes time, and which BASELINE lacks.
NETWORK_ALONE = ("--effort", "normal")

# Adaptation is off, because it takes as long as the user allows, whatever the engine's speed.
CASES = {
    "effort fast": Case((), ("--effort", "fast", "--adapt", "off")),
    "fast": Case(("--engine", "torch"), (*NETWORK_ALONE, "--adapt", "off")),
    "fast, one reference": Case(
        ("--engine", "torch"), (*NETWORK_ALONE, "--adapt", "off", "--ref-count", "1")
    ),
    "bicubic": Case(("--engine", "bicubic"), ("--adapt", "off")),
    "light field": Case((), ("--adapt", "off"), frames=(27, 81), is_light_field=True),
    "light field, effort fast": Case(
        (), ("--effort", "fast", "--adapt", "off"), frames=(27, 81), is_light_field=True
    ),
}


class Seconds(NamedTuple):
    """The wall-clock time and the CPU time that a command takes, in seconds."""

    wall: float
    cpu: float


def time_run(tree: Path, arguments: list[str]) -> Seconds:
    """Return how long a `pipeline` command takes with the packages in `tree`.

    Raises SystemExit if the command fails.
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
    """Return a case's figures: each version's seconds per frame and PSNR, and the speed ratios.

    `trees` maps "old" and "new" to the checkouts of the two versions.
    """
    write = write_light_fields if case.is_light_field else write_clips
    recordings = write(folder, case.frames)
    turned: dict[str, list[Seconds]] = {name: [] for name in trees}
    psnr: dict[str, float] = {}
    # `--engine auto` measures the engines in an additional first turn, which does not count
    for turn in range(turns + 1):
        for name, tree in trees.items():
            out = folder / (name if case.is_light_field else f"{name}.mp4")
            more = case.options + (case.new_options if name == "new" else ())
            more += ("-o", str(out), "--force", "--runner", "inline", "--quiet")
            short, long = (time_run(tree, ["run", *each, *more]) for each in recordings)

            extra = case.frames[1] - case.frames[0]
            if turn > 0:
                turned[name].append(
                    Seconds((long.wall - short.wall) / extra, (long.cpu - short.cpu) / extra)
                )
            psnr[name] = measure_psnr(out, case)

    result = summarise(turned)
    for name, value in psnr.items():
        result[name]["psnr"] = round(value, 3)
    return result


def write_clips(folder: Path, frames: tuple[int, int]) -> list[list[str]]:
    """Write the bundled clip as LR and key frames, and return the arguments for each run.

    `frames` are the numbers of frames from the start of the clip that the runs enhance.
    """
    lr, ref = write_lr_and_key_frames(folder)
    return [[str(lr), "--ref-stream", str(ref), "--end", f"{count / RATE:g}"] for count in frames]


def write_light_fields(folder: Path, frames: tuple[int, int]) -> list[list[str]]:
    """Write light fields with the given numbers of views, and return the arguments for their runs.

    The views are parts of a photograph, each displaced by PARALLAX from its neighbours. The HR view
    is the first one.
    """
    runs = []
    for count in frames:
        views = folder / f"{count}_views"
        views.mkdir()
        for row, column in itertools.product(range(count // COLUMNS), range(COLUMNS)):
            small = cv2.resize(
                read_view(row, column), (SIDE // SCALE, SIDE // SCALE), interpolation=cv2.INTER_AREA
            )
            cv2.imwrite(str(views / name_view(row, column)), small)
        ref = folder / f"{count}_hr.png"
        cv2.imwrite(str(ref), read_view(0, 0))
        runs.append([str(views), "--ref-stream", str(ref), "--ref-view", "0,0"])
    return runs


def name_view(row: int, column: int) -> str:
    """Return the file name of a view."""
    return f"view_{row:02}_{column:02}.png"


def read_view(row: int, column: int) -> np.ndarray:
    """Return a view of the light field, uint8 SIDE x SIDE x 3 BGR."""
    top, left = PARALLAX * row, PARALLAX * column
    return read_large_photograph()[top : top + SIDE, left : left + SIDE]


@cache
def read_large_photograph() -> np.ndarray:
    """Return the photograph (uint8 H x W x 3 BGR), enlarged to be high enough for all views."""
    photograph = cv2.imread(str(PHOTOGRAPH))
    assert photograph is not None
    return cv2.resize(photograph, None, fx=1.25, fy=1.25, interpolation=cv2.INTER_CUBIC)


def measure_psnr(output: Path, case: Case) -> float:
    """Return the mean PSNR (dB, RGB) of an output, excluding key frames and given views."""
    if not case.is_light_field:
        from pipeline.measuring.clips import evaluate

        key_frames = frozenset(range(0, case.frames[1], KEY_FRAME_EVERY))
        return evaluate(output, SAMPLE, skip=key_frames).psnr

    values = []
    for row, column in itertools.product(range(case.frames[1] // COLUMNS), range(COLUMNS)):
        view = cv2.imread(str(output / name_view(row, column)))
        assert view is not None
        if (row, column) != (0, 0):
            values.append(cv2.PSNR(view, read_view(row, column)))
    return statistics.fmean(values)


def summarise(turned: dict[str, list[Seconds]]) -> dict[str, Any]:
    """Return each version's median seconds per frame, and how many times as fast "new" is as "old".

    `turned` contains each version's seconds per frame in every turn. Ratios are computed within
    each turn, because the speed of a shared machine drifts.
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
    result |= {"against": chosen.commit, "size": "180x120 to 720x480, views 128x128 to 512x512"}

    with check_out(chosen.commit) as old:
        for name in chosen.only or CASES:
            with tempfile.TemporaryDirectory() as folder:
                trees = {"old": old, "new": ROOT}
                result[name] = compare(trees, CASES[name], Path(folder), chosen.turns)
            sys.stdout.write(f"{name}: {json.dumps(result[name])}\n")
            write_result("bench_against", result)


if __name__ == "__main__":
    main()
