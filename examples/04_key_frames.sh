#!/usr/bin/env bash
# Key frames: a low-resolution clip in which one frame in 15 is also available sharp.
set -euo pipefail
original=pipeline/samples/monster.mp4
out=${1:-example-output/04}
mkdir -p "$out"

# 1. Create a test with a ground truth
pipeline degrade $original --scale 4 -o "$out/small.mp4" --force
pipeline degrade $original --scale 1 --every 15 -o "$out/keys.mp4" --force
# 2. See which key frame serves which frame, without running anything
pipeline run "$out/small.mp4" --ref-stream "$out/keys.mp4" --end 0.3 -o "$out/large.mkv" --dry-run --force
# 3. Run it; the original serves only for the figures and the report
pipeline run "$out/small.mp4" --ref-stream "$out/keys.mp4" --end 0.3 -o "$out/large.mkv" --engine torch -q \
    --ground-truth $original --report "$out/report.html" --force
# 4. Measure the result, leaving out the key frames
pipeline evaluate "$out/large.mkv" --ground-truth $original --plan "$out/large.plan.json"
echo "look at $out/report.html"
