"""One hour of tiny frames through the pipeline: `python -m jobs.bench.long_clip`.

Prints frames, times that differ and the peak memory, beside those of a clip a tenth as long, and
what the program ffmpeg takes to copy the same packets: containers have an index of all frames.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path

from jobs.bench.pipeline import timed
from jobs.media.cases import Case
from jobs.media.clips import write
from jobs.media.contract import contents


def main() -> int:
    """Return 1 when a time differs."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=60)
    parser.add_argument("--json", type=Path, help="write the figures there")
    options = parser.parse_args()
    figures = [measure(options.minutes * part) for part in (0.1, 1)]
    for figure in figures:
        sys.stdout.write(json.dumps(figure) + "\n")
    if options.json:
        options.json.write_text(json.dumps(figures, indent=1) + "\n")
    return 1 if any(figure["times_off"] or figure["numbers_off"] for figure in figures) else 0


def measure(minutes: float) -> dict[str, float]:
    """Run a clip of `minutes` at 25 frames a second; returns its figures."""
    case = Case(container="mp4", frames=round(minutes * 1500), audio=1)
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        source, out = write(case, folder), folder / "out.mp4"
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
        peak = timed(command)[1]
        copy = ["ffmpeg", "-v", "error", "-i", str(source), "-c", "copy", str(folder / "copy.mp4")]
        floor = timed(copy)[1]
        before, after = contents(source), contents(out, 2)
    pairs = list(zip(before.times, after.times, strict=True))
    numbers = [reading.number for reading in after.readings]
    return {
        "minutes": minutes,
        "frames": len(pairs),
        "times_off": sum(a != b for a, b in pairs),
        "numbers_off": sum(n != i % 256 for i, n in enumerate(numbers)),
        "end_off_s": float(abs(before.end - after.end)),
        "peak_mb": round(peak / 1024, 1),
        "ffmpeg_copy_peak_mb": round(floor / 1024, 1),
    }


if __name__ == "__main__":
    raise SystemExit(main())
