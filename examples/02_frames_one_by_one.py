"""Get enhanced frames as arrays for further processing, with only a few in memory at a time."""

from __future__ import annotations

import subprocess
import sys
from itertools import islice
from pathlib import Path

import cv2

from pipeline import enhanced_frames

ORIGINAL = Path(__file__).parents[1] / "pipeline" / "samples" / "monster.mp4"

folder = Path(sys.argv[1] if len(sys.argv) > 1 else "example-output/02")
folder.mkdir(parents=True, exist_ok=True)
small = folder / "small.mp4"
keys = folder / "keys.mp4"

# Create a test with a ground truth: a small clip, and every 15th frame of the original
degrade = [sys.executable, "-m", "pipeline", "degrade", ORIGINAL, "--force"]
subprocess.run([*degrade, "--scale", "4", "-o", small], check=True)
subprocess.run([*degrade, "--scale", "1", "--every", "15", "-o", keys], check=True)

for frame in islice(enhanced_frames(small, keys, scale=4, end=0.2, engine="torch"), 4):
    borrowed = "nothing" if frame.reference is None else f"from {frame.reference:+.2f} s away"
    print(f"{frame.seconds:.3f} s: {frame.rgb.shape} {frame.rgb.dtype}, borrowed {borrowed}")
    picture = folder / f"frame_{frame.seconds:.3f}s.png"
    cv2.imwrite(str(picture), cv2.cvtColor(frame.rgb, cv2.COLOR_RGB2BGR))

print(f"look at {picture}")
