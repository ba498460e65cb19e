"""Enhance a file: downscale a clip, keep every 15th frame sharp, enhance it and write a report."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from pipeline import enhance

ORIGINAL = Path(__file__).parents[1] / "pipeline" / "samples" / "monster.mp4"
PIPELINE = [sys.executable, "-m", "pipeline"]

folder = Path(sys.argv[1] if len(sys.argv) > 1 else "example-output/01")
folder.mkdir(parents=True, exist_ok=True)
small = folder / "small.mp4"
keys = folder / "keys.mp4"
output = folder / "large.mkv"
report = folder / "report.html"

# Create a test with a ground truth: a small clip, and every 15th frame of the original
degrade = [*PIPELINE, "degrade", ORIGINAL, "--force"]
subprocess.run([*degrade, "--scale", "4", "-o", small], check=True)
subprocess.run([*degrade, "--scale", "1", "--every", "15", "-o", keys], check=True)

# The options are those of `pipeline run`; the engine "auto" would first measure all engines
done = enhance(small, keys, output, scale=4, end=0.3, engine="torch", force=True)

report_command = [*PIPELINE, "report", output, "--ground-truth", ORIGINAL, "-o", report, "--force"]
subprocess.run(report_command, check=True)
print(f"{done.frames} frames in {done.seconds:.1f} s; look at {report}")
