"""Enhance one hour of tiny frames with the pipeline: `python -m jobs.bench.long_clip`.

For this clip and for one a tenth as long, the job prints the number of frames, how many have a
wrong time or number, and the peak memory. A container's index grows with the number of frames, so
the job also measures how much memory the `ffmpeg` program needs to copy the input's packets.
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from jobs.bench.pipeline import time_command
from jobs.machine import describe_machine, write_result
from jobs.media.cases import Case
from jobs.media.clips import write_clip
from jobs.media.contract import read_contents

MINUTES = 60.0


def main() -> int:
    """Run the benchmark; return 1 if any output frame has a wrong time or number."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--minutes", type=float, default=MINUTES, help="length of the clip (default 60)"
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures to FILE")
    options = parser.parse_args()
    if shutil.which("ffmpeg") is None:
        parser.error("the benchmark needs the ffmpeg program, which is not on the PATH; install it")

    figures = [measure_clip(options.minutes * part) for part in (0.1, 1)]
    for figure in figures:
        sys.stdout.write(json.dumps(figure) + "\n")
    result = {"clips": figures}
    if options.json:
        options.json.write_text(
            json.dumps({"machine": describe_machine(), **result}, indent=1), encoding="utf-8"
        )
    elif options.minutes == MINUTES:
        write_result("long_clip", result)
    return 1 if any(figure["times_off"] or figure["numbers_off"] for figure in figures) else 0


def measure_clip(minutes: float) -> dict[str, float]:
    """Enhance a clip that is `minutes` long at 25 frames per second, and return the figures."""
    case = Case(container="mp4", frames=round(minutes * 1500), audio=1)
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        source = write_clip(case, folder)
        out = folder / "out.mp4"

        # write the grey reference in a child process, so that this process needs little memory
        still = folder / "reference.png"
        width, height = case.width_height
        grey = (
            f"import cv2, numpy; cv2.imwrite({str(still)!r}, numpy.full("
            f"({2 * height}, {2 * width}, 3), 128, 'u1'))"
        )
        subprocess.run([sys.executable, "-c", grey], check=True)

        command = [
            sys.executable, "-m", "pipeline", "run", str(source), "--ref-stream", str(still),
            "--scale", "2", "--engine", "bicubic", "--runner", "inline", "-q", "-o", str(out),
            "--preset", "ultrafast", "--crf", "4",
        ]  # fmt: skip
        peak = time_command(command).peak_kb
        copy = ["ffmpeg", "-v", "error", "-i", str(source), "-c", "copy", str(folder / "copy.mp4")]
        copy_peak = time_command(copy).peak_kb

        before = read_contents(source)
        after = read_contents(out, 2)

    pairs = list(zip(before.times, after.times, strict=True))
    numbers = [reading.number for reading in after.readings]
    return {
        "minutes": minutes,
        "frames": len(pairs),
        "times_off": sum(a != b for a, b in pairs),
        "numbers_off": sum(n != i % 256 for i, n in enumerate(numbers)),
        "end_off_s": float(abs(before.end - after.end)),
        "peak_mb": round(peak / 1024, 1),
        "ffmpeg_copy_peak_mb": round(copy_peak / 1024, 1),
    }


if __name__ == "__main__":
    raise SystemExit(main())
