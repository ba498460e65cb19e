"""Compare the quality and the CPU time of float32, bfloat16 and 8-bit convolutions.

    python -m jobs.quality.precision [CLIP ...] [--frames 46]

LR frames are pixel means with slight noise, 4 times smaller than the clip. Every 15th frame of the
clip is a key frame. The PyTorch engine enhances every fifth frame with the key frames before and
after it, once in each precision. The figures are written to jobs/results/precision.json.
"""

from __future__ import annotations

import argparse
import itertools
import sys
import time
from pathlib import Path
from typing import Any, cast

import cv2
import numpy as np

from crossnetpp.metrics import measure_quality
from crossnetpp.networks.taps import make_box_taps
from deploy.engines.bf16_engine import Bf16Engine
from deploy.engines.int8_engine import Int8Engine
from deploy.engines.torch_engine import TorchEngine
from jobs.machine import write_result
from pipeline.media.read.frames import read_frames
from pipeline.media.read.probe import probe
from pipeline.pixels import Pixels
from pipeline.tools.demo import SAMPLE

SCALE = 4
KEY_FRAME_EVERY = 15
FRAME_EVERY = 5
NOISE = 1.0  # standard deviation in 8-bit levels
ENGINES = {"fp32": TorchEngine, "bf16": Bf16Engine, "int8": Int8Engine}


def read_clip(path: Path, most: int) -> list[Pixels]:
    """Return up to `most` frames from the start of a clip, cropped to multiples of SCALE."""
    frames = itertools.islice(read_frames(probe(str(path))), most)
    cropped = []
    for frame in frames:
        height, width = (side - side % SCALE for side in frame.rgb.shape[:2])
        cropped.append(cast(Pixels, np.ascontiguousarray(frame.rgb[:height, :width])))
    return cropped


def reduce_frame(frame: Pixels, seed: int) -> Pixels:
    """Return the frame reduced by averaging blocks of pixels, with noise added."""
    size = (frame.shape[1] // SCALE, frame.shape[0] // SCALE)
    means = cv2.resize(frame, size, interpolation=cv2.INTER_AREA)
    noise = np.random.default_rng(seed).normal(0, NOISE, means.shape)
    return cast(Pixels, np.clip(np.rint(means + noise), 0, 255).astype(np.uint8))


def measure_clip(path: Path, most: int) -> dict[str, Any]:
    """Return a clip's figures: each precision's quality and CPU time, and how it differs from fp32.

    `most` is the largest number of frames to read.
    """
    truth = read_clip(path, most)
    numbers = [i for i in range(2, len(truth), FRAME_EVERY) if i % KEY_FRAME_EVERY]
    last_key = (len(truth) - 1) // KEY_FRAME_EVERY * KEY_FRAME_EVERY

    results: dict[str, list[Pixels]] = {}
    seconds: dict[str, float] = {}
    for precision, make_engine in ENGINES.items():
        engine = make_engine("fast", threads=1)
        start = time.process_time()
        results[precision] = []
        for i in numbers:
            before = i // KEY_FRAME_EVERY * KEY_FRAME_EVERY
            after = min(before + KEY_FRAME_EVERY, last_key)
            refs = [truth[key][None] for key in sorted((before, after), key=lambda k: abs(k - i))]
            lr = reduce_frame(truth[i], seed=i)[None]
            results[precision].append(engine.enhance(lr, *refs, kernel=make_box_taps(SCALE))[0])
        seconds[precision] = (time.process_time() - start) / len(numbers)

    psnr = {
        name: np.array(
            [measure_quality(sr, truth[i]).psnr for sr, i in zip(each, numbers, strict=True)]
        )
        for name, each in results.items()
    }
    exact = np.array(results.pop("fp32"), np.int16)
    return {
        "frames": len(numbers),
        "psnr": {name: round(float(values.mean()), 3) for name, values in psnr.items()},
        "cpu_seconds_per_frame": {name: round(value, 3) for name, value in seconds.items()},
        **{
            name: {
                "mean_loss_db": round(float((psnr["fp32"] - psnr[name]).mean()), 4),
                "largest_loss_db": round(float((psnr["fp32"] - psnr[name]).max()), 4),
                "within_a_level": round(
                    float((np.abs(np.array(frames, np.int16) - exact) <= 1).mean()), 6
                ),
            }
            for name, frames in results.items()
        },
    }


def main() -> None:
    """Measure all clips, and write the figures."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("clips", nargs="*", type=Path, default=[SAMPLE], metavar="CLIP")
    parser.add_argument("--frames", type=int, default=46, metavar="N", help="default 46")
    chosen = parser.parse_args()

    result = {}
    for clip in chosen.clips:
        result[clip.stem] = measure_clip(clip, chosen.frames)
        sys.stdout.write(f"{clip.stem}: {result[clip.stem]}\n")
    write_result("precision", {"clips": result})


if __name__ == "__main__":
    main()
