#!/usr/bin/env bash
# A second camera: at another position, or started at another time.
set -euo pipefail
rig=tests/data/stereo
out=${1:-example-output/05}
mkdir -p "$out"

# Another position: downscale the left picture of a stereo rig, and use the sharp right one
pipeline degrade $rig/motorcycle_left.png --scale 4 -o "$out/left.png" --force
pipeline run "$out/left.png" --ref-stream $rig/motorcycle_right.png -o "$out/large.png" --engine torch -q --force
pipeline evaluate "$out/large.png" --ground-truth $rig/motorcycle_left.png
pipeline compare "$out/left.png" "$out/large.png" $rig/motorcycle_left.png -o "$out/compare.png" --force

# Another time: estimate the offset between the clocks, here from the sound (it is 0)
clip=pipeline/samples/monster.mp4
pipeline degrade $clip --scale 4 -o "$out/small.mp4" --force
pipeline plan "$out/small.mp4" --ref-stream $clip --ref-offset auto --save "$out/plan.json"
echo "look at $out/compare.png"
