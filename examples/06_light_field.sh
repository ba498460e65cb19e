#!/usr/bin/env bash
# A light field: 25 small views, and one sharp picture of the same scene.
set -euo pipefail
out=${1:-example-output/06}
mkdir -p "$out"

# A mosaic from a Lytro capture, whose rows and columns are swapped, as `probe` detects
capture=(tests/data/flowers_8x8.png --layout mosaic --grid 8x8 --order col,row)
pipeline convert "${capture[@]}" --crop-grid 5x5 --to folder -o "$out/sharp" --force
pipeline probe "$out/sharp"
pipeline degrade "$out/sharp" --scale 2 -o "$out/small" --force
# The middle view is the reference; all others borrow from it
pipeline run "$out/small" --ref-stream "$out/sharp/view_03_03.png" --ref-view center -o "$out/large" --engine torch -q \
    --ground-truth "$out/sharp" --report "$out/report.html" --force
pipeline evaluate "$out/large" --ground-truth "$out/sharp" --plan "$out/large.plan.json"
pipeline look "$out/large" --epi --refocus -0.5,0,0.5 -o "$out/look" --force
echo "look at $out/report.html"
