"""File to file: reduce a clip, keep every 15th frame, enhance it, and write a report."""

from __future__ import annotations

import sys
from pathlib import Path

from pipeline import enhance
from pipeline.report.page import write_report
from pipeline.tools.degrade import degrade

ORIGINAL = Path(__file__).parents[1] / "pipeline" / "samples" / "monster.mp4"

folder = Path(sys.argv[1] if len(sys.argv) > 1 else "example-output/01")
folder.mkdir(parents=True, exist_ok=True)
small, keys, output = folder / "small.mp4", folder / "keys.mp4", folder / "large.mkv"
degrade(str(ORIGINAL), small, scale=4, force=True)
degrade(str(ORIGINAL), keys, scale=1, every=15, force=True)

# the options are those of `pipeline run`; engine "auto" would first measure all engines
done = enhance(small, keys, output, scale=4, end=0.3, engine="torch", force=True)
write_report(output, folder / "report.html", ground_truth=str(ORIGINAL))
print(f"{done.frames} frames in {done.seconds:.1f} s; look at {folder / 'report.html'}")
