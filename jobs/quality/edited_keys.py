"""Measure how well --trust-reference propagates the edits of key frames to the other frames.

    python -m jobs.quality.edited_keys --data FOLDER --pictures FOLDER

The central part of a clip is edited frame by frame: graded, denoised, repaired or painted over. The
inputs of the run are the unedited clip, downscaled, and every 15th edited frame as a key frame. The
edited clip is the ground truth. Runs with and without the option are compared with bicubic
up-sampling of the input, graded like the key frames.

"psnr", "worst" and "agreement" exclude the key frames. "agreement" is the PSNR against the nearest
key frame, warped by the flow of the ground truth, where both frames show the same content.
"flicker" is the mean absolute change of the error from frame to frame, in 8-bit levels.
"""

from __future__ import annotations

import argparse
import tempfile
from contextlib import closing
from itertools import pairwise
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from crossnetpp.classical.optical_flow import warp_image
from crossnetpp.data.recorder import Encoder, encode_and_decode
from crossnetpp.evaluation.temporal import estimate_motion
from crossnetpp.metrics import measure_quality
from jobs.machine import write_result
from jobs.quality.edits import SEED, Clip, Material, Picture, make_materials
from pipeline.api import enhanced_frames
from pipeline.media.pictures.stills import save_picture
from pipeline.media.read.frames import read_frames
from pipeline.media.read.probe import probe
from pipeline.media.write.video import VideoWriter
from pipeline.pairing.edits.frames import EditedFrames
from pipeline.pairing.upsample import upsample
from pipeline.planning.plan import make_plan
from pipeline.recording import open_frames
from pipeline.schema.settings import RunSettings
from pipeline.tools.demo import SAMPLE

SCALE = 4
EVERY = 15
RATE = 25
SIZE = (192, 256)  # rows and columns of the central part of each clip that is used


def read_clip(path: Path, frames: int, size: tuple[int, int] = SIZE) -> Clip:
    """Return the central part, of `size` (rows, columns), of a clip's first frames.

    `frames` is the largest number of frames. Each is uint8 H x W x 3 RGB.
    """
    found: Clip = []
    for frame in read_frames(probe(str(path))):
        height, width = frame.rgb.shape[:2]
        top, left = (height - size[0]) // 2, (width - size[1]) // 2
        part = frame.rgb[top : top + size[0], left : left + size[1]]
        found.append(np.ascontiguousarray(part, np.uint8))
        if len(found) == frames:
            break
    return found


def reduce_clip(material: Material, scale: int, crf: float | None) -> Clip:
    """Return the LR recording, reduced by area averaging, with the noise of `material`.

    It is encoded by x264 at `crf`, and decoded again, unless `crf` is None.
    """
    random = np.random.default_rng(SEED)
    small = []
    for picture in material.recorded:
        size = picture.shape[1] // scale, picture.shape[0] // scale
        reduced = cv2.resize(picture, size, interpolation=cv2.INTER_AREA).astype(np.float64)
        noisy = reduced + material.noise * random.standard_normal(reduced.shape)
        small.append(np.rint(noisy).clip(0, 255).astype(np.uint8))
    return small if crf is None else encode_and_decode(small, Encoder(crf))


def write_inputs(
    material: Material, folder: Path, scale: int, crf: float | None, every: int
) -> tuple[Path, Path]:
    """Write the LR recording and a folder of key frames, and return their paths."""
    lr, keys = folder / "lr.mkv", folder / "keys"
    with closing(VideoWriter(lr, lossless=True)) as writer:
        for picture in reduce_clip(material, scale, crf):
            writer.write(picture)
    keys.mkdir()
    for number in range(0, len(material.edited), every):
        name = f"key_{number:06d}_{number / RATE:.3f}s.png"
        save_picture(keys / name, material.edited[number])
    return lr, keys


def enhance(lr: Path, keys: Path, scale: int, engine: str, *, trust: bool) -> Clip:
    """Run the pipeline with or without --trust-reference, and return the enhanced frames."""
    results = enhanced_frames(
        lr, keys, scale=scale, engine=engine, trust_reference=trust, adapt="off"
    )
    return [np.asarray(result.rgb, np.uint8) for result in results]


def upsample_graded(lr: Path, keys: Path, scale: int) -> Clip:
    """Return the clip `lr`, bicubically up-sampled and graded like the key frames.

    The grading is the one that a run with --trust-reference applies; nothing is repaired.
    """
    settings = RunSettings(
        input=str(lr),
        ref_stream=str(keys),
        scale=str(scale),  # type: ignore[arg-type]
        engine="bicubic",
        trust_reference=True,
    )
    plan = make_plan(settings, is_written=False)
    with (
        closing(open_frames(plan.input, cache=1, apart=True)) as frames,
        closing(open_frames(plan.reference.clip)) as references,
    ):
        edits = EditedFrames(plan, frames, references)
        return [
            np.asarray(
                upsample(edits.edit(frame.pts, frame.rgb, repair=False), plan.height, plan.width),
                np.uint8,
            )
            for frame in read_frames(probe(str(lr)))
        ]


def measure_frames(made: Clip, truth: Clip, every: int) -> dict[int, float]:
    """Return a map from the number of every frame except the key frames to its PSNR in dB."""
    return {
        number: measure_quality(made[number], truth[number]).psnr
        for number in range(len(truth))
        if number % every
    }


def measure_flicker(made: Clip, truth: Clip) -> float:
    """Return the mean absolute change of the error from frame to frame, in 8-bit levels."""
    errors = [a.astype(np.float32) - b for a, b in zip(made, truth, strict=True)]
    return float(np.mean([np.abs(now - before).mean() for before, now in pairwise(errors)]))


def measure_agreement(made: Clip, truth: Clip, every: int, scene: Clip | None = None) -> float:
    """Return the mean PSNR in dB against the nearest key frame, warped by the flow of `scene`.

    The key frames, which come from `truth`, are excluded. By default, `scene` is `truth`; if the
    key frames were generated, it should be the original clip.
    """
    scene = scene or truth
    found = []
    for number in range(len(truth)):
        key = min(range(0, len(truth), every), key=lambda each: abs(each - number))
        if key == number:
            continue
        motion = estimate_motion(scene[key], scene[number])
        moved = warp_image(truth[key].astype(np.float32), motion.flow)
        error = np.square(moved - made[number])[motion.seen].mean(dtype=np.float64)
        found.append(-10 * np.log10(max(float(error), 1e-6) / 255**2))
    return float(np.mean(found))


def describe_frames(made: Clip, truth: Clip, every: int) -> dict[str, float]:
    """Return an enhanced clip's mean and worst PSNR, its agreement (dB) and its flicker."""
    found = list(measure_frames(made, truth, every).values())
    return {
        "psnr": round(float(np.mean(found)), 2),
        "worst": round(min(found), 2),
        "agreement": round(measure_agreement(made, truth, every), 2),
        "flicker": round(measure_flicker(made, truth), 3),
    }


def measure_material(
    name: str,
    material: Material,
    *,
    engine: str = "torch",
    scale: int = SCALE,
    crf: float | None = None,
    every: int = EVERY,
    pictures: Path | None = None,
) -> dict[str, Any]:
    """Return the figures for a clip whose key frames were edited.

    `crf` is the x264 quality of the LR recording, or None for a lossless one. If `pictures` is set,
    write the frame half-way between two key frames to that folder.
    """
    truth = material.edited
    with tempfile.TemporaryDirectory() as folder:
        lr, keys = write_inputs(material, Path(folder), scale, crf, every)
        graded = upsample_graded(lr, keys, scale)
        off, on = (enhance(lr, keys, scale, engine, trust=trust) for trust in (False, True))

    gains = [
        measured - measure_quality(graded[number], truth[number]).psnr
        for number, measured in measure_frames(on, truth, every).items()
    ]
    same = all(np.array_equal(on[n], truth[n]) for n in range(0, len(truth), every))
    if pictures is not None:
        write_pictures(pictures, name, every // 2, [material.recorded, graded, off, on, truth])
    return {
        "edit": name,
        "crf": crf,
        "graded bicubic": describe_frames(graded, truth, every),
        "without": describe_frames(off, truth, every),
        "with": describe_frames(on, truth, every),
        "least gain over graded bicubic": round(min(gains), 2),
        "key frames pass through": same,
    }


def write_pictures(folder: Path, name: str, number: int, clips: list[Clip]) -> None:
    """Write frame `number` of all clips side by side, as one picture."""
    folder.mkdir(parents=True, exist_ok=True)
    row: Picture = np.concatenate([clip[number] for clip in clips], axis=1)
    save_picture(folder / f"{name.replace(' ', '_')}.png", row)


def main() -> None:
    """Measure every edit on every clip, and write jobs/results/edited_keys.json."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--frames", type=int, default=16, help="frames per clip (default 16)")
    parser.add_argument("--data", type=Path, help="folder with more clips in its subfolder clips")
    parser.add_argument("--clips", nargs="*", default=["bottle.mp4"], help="names of those clips")
    parser.add_argument("--edits", nargs="*", help="names of edits (default all)")
    parser.add_argument(
        "--crf", type=float, nargs="*", default=[], help="crf of additional, encoded LR recordings"
    )
    parser.add_argument("--pictures", type=Path, help="folder for comparison pictures")
    parser.add_argument("--name", default="edited_keys", help="write jobs/results/NAME.json")
    arguments = parser.parse_args()

    paths = [SAMPLE]
    if arguments.data is not None:
        paths += [arguments.data / "clips" / name for name in arguments.clips]
    rows = []
    for path in paths:
        for name, material in make_materials(read_clip(path, arguments.frames)).items():
            if arguments.edits and name not in arguments.edits:
                continue
            for crf in (None, *arguments.crf):
                pictures = arguments.pictures and arguments.pictures / path.stem / str(crf)
                row = measure_material(name, material, crf=crf, pictures=pictures)
                rows.append({"clip": path.name, **row})
                # save after every row, because all rows together take long
                result = {"scale": SCALE, "every": EVERY, "size": SIZE, "rows": rows}
                write_result(arguments.name, result)


if __name__ == "__main__":
    main()
