"""Measure --trust-reference with key frames that a generative network enlarged.

    python -m jobs.quality.generated_keys frames/ --write
    python -m jobs.quality.generated_keys frames/ --network NAME

The first command writes the LR frames of a clip, `000000.png` and so on, to `frames/lr`. Enlarge
all of them by 4 with any program, and save the results with the same names in `frames/generated`.
The second command enhances the LR frames with every 15th generated picture as a key frame. For
comparison, it also measures the generated pictures themselves, each of which was made without its
neighbours.

What a network invents has no ground truth. Therefore "agreement" is the PSNR in dB against the
nearest key frame, warped by the flow of the original clip, where both frames show the same content.
"flicker" is the mean absolute difference between consecutive frames, warped in the same way, in
8-bit levels; the original clip's own flicker is the value to compare with. "original" is the PSNR
in dB against the original clip. "agreement" and "original" exclude the key frames.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from crossnetpp.evaluation.temporal import estimate_motion, measure_warping_error
from jobs.machine import write_result
from jobs.quality.edited_keys import (
    EVERY,
    SCALE,
    enhance,
    measure_agreement,
    measure_frames,
    read_clip,
    reduce_clip,
    upsample_graded,
    write_inputs,
    write_pictures,
)
from jobs.quality.edits import Clip, Material
from pipeline.media.pictures.stills import load_picture, save_picture
from pipeline.tools.demo import SAMPLE


def measure_flicker(made: Clip, original: Clip) -> float:
    """Return the clip's mean warping error along the motion of the original, in 8-bit levels."""
    errors = []
    for number in range(1, len(made)):
        motion = estimate_motion(original[number - 1], original[number])
        errors.append(measure_warping_error(made[number - 1], made[number], motion))
    return float(np.mean(errors))


def read_generated(folder: Path, count: int) -> Clip:
    """Return the first `count` enlarged pictures in `folder`, each uint8 H x W x 3 RGB.

    Raises SystemExit if one is missing.
    """
    found = []
    for number in range(count):
        file = folder / f"{number:06d}.png"
        if not file.exists():
            raise SystemExit(f"{file} is missing; enlarge all pictures in {folder.parent / 'lr'}")
        found.append(np.asarray(load_picture(str(file)), np.uint8))
    return found


def describe_clip(made: Clip, generated: Clip, original: Clip) -> dict[str, float]:
    """Return the figures for the clip `made`, one of several enlarged versions of `original`."""
    found = list(measure_frames(made, original, EVERY).values())
    return {
        "agreement": round(measure_agreement(made, generated, EVERY, scene=original), 2),
        "flicker": round(measure_flicker(made, original), 3),
        "original": round(float(np.mean(found)), 2),
    }


def measure_generated(original: Clip, generated: Clip, pictures: Path | None) -> dict[str, Any]:
    """Return the figures for runs with generated key frames, and for other versions of the clip.

    If `pictures` is set, write one frame of all versions side by side to that folder.
    """
    material = Material(original, generated)
    with tempfile.TemporaryDirectory() as folder:
        lr, keys = write_inputs(material, Path(folder), SCALE, None, EVERY)
        graded = upsample_graded(lr, keys, SCALE)
        off, on = (enhance(lr, keys, SCALE, "torch", trust=trust) for trust in (False, True))
    if pictures is not None:
        clips = [graded, off, on, generated, original]
        write_pictures(pictures, "generated", EVERY // 2, clips)
    clips = {
        "original": original,
        "generated one by one": generated,
        "graded bicubic": graded,
        "without": off,
        "with": on,
    }
    return {name: describe_clip(clip, generated, original) for name, clip in clips.items()}


def main() -> None:
    """Write the LR frames, or measure and write jobs/results/generated_keys.json."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", type=Path, help="folder that contains lr and generated")
    parser.add_argument("--write", action="store_true", help="write the LR frames, and stop")
    parser.add_argument("--network", default="", help="name of the network, for the result")
    parser.add_argument("--frames", type=int, default=16, help="frames of the clip (default 16)")
    parser.add_argument("--pictures", type=Path, help="folder for a comparison picture")
    arguments = parser.parse_args()

    original = read_clip(SAMPLE, arguments.frames)
    if arguments.write:
        folder = arguments.folder / "lr"
        folder.mkdir(parents=True, exist_ok=True)
        for number, picture in enumerate(reduce_clip(Material(original, original), SCALE, None)):
            save_picture(folder / f"{number:06d}.png", picture)
        return

    generated = read_generated(arguments.folder / "generated", len(original))
    figures = measure_generated(original, generated, arguments.pictures)
    write_result(
        "generated_keys",
        {
            "clip": SAMPLE.name,
            "network": arguments.network,
            "scale": SCALE,
            "every": EVERY,
            "frames": len(original),
            "figures": figures,
        },
    )


if __name__ == "__main__":
    main()
