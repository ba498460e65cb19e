"""Measure the gain with a faulty reference: noise, grain, compression, text or a watermark.

    python -m jobs.quality.faulty_references

The bundled clip is reduced by averaging pixels. Its first frame, with a fault, is the only
reference. The gain over bicubic up-sampling is measured for every fourth frame; the reference does
no harm if no gain is below zero.

After that, an unrelated photograph is the only reference, at 2x and 4x, for lossless LR frames and
for LR frames encoded by x264 at crf 20. The gains of the network alone, without the checks that a
run makes, are measured as well.
"""

from __future__ import annotations

import argparse
import math
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from crossnetpp.data.recorder import Encoder, encode_and_decode
from crossnetpp.metrics import measure_quality
from deploy.load import load_engine
from jobs.machine import write_result
from pipeline.api import enhanced_frames
from pipeline.media.pictures.stills import save_picture
from pipeline.media.read.frames import read_frames
from pipeline.media.read.probe import probe
from pipeline.pairing.upsample import upsample
from pipeline.tools.demo import SAMPLE

SCALE = 4
STEP = 4  # one in STEP frames is measured
OTHER = Path(__file__).parents[2] / "tests" / "data" / "stereo" / "motorcycle_left.png"

Picture = NDArray[np.uint8]
Fault = Callable[[Picture], Picture]


def add_noise(level: float, blur: float = 0.0) -> Fault:
    """Return a fault that adds noise with a standard deviation of `level` 8-bit levels.

    If `blur` is 0, the noise of each channel is independent. Otherwise it is film grain: blurred by
    a Gaussian with a sigma of `blur` pixels, and equal in all channels.
    """

    def apply(picture: Picture) -> Picture:
        noise = np.random.default_rng(1).normal(0, 1, picture.shape)
        if blur:
            noise = np.asarray(cv2.GaussianBlur(noise[..., 0], (0, 0), blur))[..., None]
            noise /= noise.std()
        return np.clip(np.rint(picture + level * noise), 0, 255).astype(np.uint8)

    return apply


def compress(quality: int) -> Fault:
    """Return a fault that compresses the picture to a JPEG of the given `quality`."""

    def apply(picture: Picture) -> Picture:
        data = cv2.imencode(".jpg", picture, [cv2.IMWRITE_JPEG_QUALITY, quality])[1]
        return np.asarray(cv2.imdecode(data, cv2.IMREAD_COLOR), np.uint8)

    return apply


def write_text(opacity: float) -> Fault:
    """Return a fault that writes white text over the picture, with an `opacity` in 0..1."""

    def apply(picture: Picture) -> Picture:
        over = picture.copy()
        height = picture.shape[0]
        for row in range(height // 4, height, height // 4):
            place = (20, row)
            cv2.putText(over, "reference 0123", place, cv2.FONT_HERSHEY_DUPLEX, 2, (255,) * 3, 3)
        return np.asarray(cv2.addWeighted(over, opacity, picture, 1 - opacity, 0), np.uint8)

    return apply


FAULTS: dict[str, Fault] = {
    "none": lambda picture: picture,
    **{f"noise {level}": add_noise(level) for level in (5, 10, 20, 40)},
    **{f"grain {level}": add_noise(level, 1.0) for level in (5, 10, 20)},
    **{f"jpeg {quality}": compress(quality) for quality in (90, 50, 30, 10)},
    "text": write_text(1.0),
    "watermark": write_text(0.3),
}


def read_clip(frames: int, size: tuple[int, int] | None) -> list[Picture]:
    """Return the first `frames` frames of the bundled clip, uint8 H x W x 3 RGB.

    If `size` (rows, columns) is set, return only the top left part of each frame.
    """
    found = []
    for frame in read_frames(probe(str(SAMPLE))):
        rows, cols = size or frame.rgb.shape[:2]
        found.append(np.asarray(frame.rgb[:rows, :cols], np.uint8))
        if len(found) == frames:
            break
    return found


def reduce_picture(picture: Picture, scale: int = SCALE) -> Picture:
    """Return `picture` reduced by averaging blocks of `scale` x `scale` pixels."""
    size = (picture.shape[1] // scale, picture.shape[0] // scale)
    return np.asarray(cv2.resize(picture, size, interpolation=cv2.INTER_AREA), np.uint8)


def measure_fault(truth: list[Picture], fault: Fault, engine: str) -> Iterator[tuple[float, float]]:
    """Yield the PSNR in dB of bicubic up-sampling and of the result, for every STEP-th frame.

    The reference is the first frame of `truth`, with the fault.
    """
    measured = truth[::STEP]
    small = [reduce_picture(picture) for picture in measured]
    results = run_frames(small, fault(truth[0]), SCALE, engine)
    for lr, result, picture in zip(small, results, measured, strict=True):
        plain = upsample(lr, *picture.shape[:2])
        yield measure_quality(plain, picture).psnr, measure_quality(result, picture).psnr


def measure_faults(
    frames: int,
    engine: str = "torch",
    size: tuple[int, int] | None = None,
    faults: dict[str, Fault] | None = None,
) -> Iterator[dict[str, Any]]:
    """Yield a row of figures for each of `faults` (by default FAULTS)."""
    truth = read_clip(frames, size)
    for name, fault in (faults or FAULTS).items():
        pairs = list(measure_fault(truth, fault, engine))
        gains = [result - plain for plain, result in pairs]
        yield {
            "fault": name,
            "frames": len(gains),
            "bicubic": round(float(np.mean([plain for plain, _ in pairs])), 2),
            "gain": round(float(np.mean(gains)), 2),
            "worst": math.floor(100 * min(gains)) / 100,  # rounded down, so that no loss becomes 0
        }


def measure_unrelated(
    frames: int, size: tuple[int, int] | None = None, crfs: tuple[int | None, ...] = (None, 20)
) -> Iterator[dict[str, Any]]:
    """Yield a row of figures for each scale and each crf of LR, with an unrelated reference.

    The scales are 2 and 4; a crf of None means that LR is lossless.
    """
    truth = read_clip(frames, size)
    other = cv2.imread(str(OTHER), cv2.IMREAD_COLOR)
    other = np.asarray(cv2.resize(other[..., ::-1], truth[0].shape[1::-1]), np.uint8)
    network = load_engine("torch")
    for scale in (2, 4):
        for crf in crfs:
            measured = truth[::STEP]
            small = [reduce_picture(picture, scale) for picture in measured]
            if crf is not None:
                small = encode_and_decode(small, Encoder(crf))
            results = run_frames(small, other, scale)
            alone = [network.enhance(lr[None], other[None])[0] for lr in small]
            plain = [upsample(lr, *other.shape[:2]) for lr in small]
            base, checked, unchecked = (
                np.array([measure_quality(a, b).psnr for a, b in zip(each, measured, strict=True)])
                for each in (plain, results, alone)
            )
            yield {
                "scale": scale,
                "crf": crf,
                "gain": round(float(np.mean(checked - base)), 2),
                "worst": math.floor(100 * float(np.min(checked - base))) / 100,
                "network_alone": round(float(np.mean(unchecked - base)), 2),
            }


def run_frames(
    small: list[Picture], reference: Picture, scale: int, engine: str = "torch"
) -> list[Picture]:
    """Return the enhanced frames of a run on LR pictures, with one still as the only reference."""
    with tempfile.TemporaryDirectory() as folder:
        lr = Path(folder) / "lr"
        lr.mkdir()
        for number, picture in enumerate(small):
            save_picture(lr / f"{number:03}.png", picture)
        file = Path(folder) / "reference.png"
        save_picture(file, reference)
        results = enhanced_frames(lr, file, scale=scale, engine=engine)
        return [np.asarray(result.rgb, np.uint8) for result in results]


def main() -> None:
    """Measure all faults, and write jobs/results/faulty_references.json."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--frames", type=int, default=17, help="frames of the clip (default 17)")
    arguments = parser.parse_args()

    rows = list(measure_faults(arguments.frames))
    unrelated = list(measure_unrelated(arguments.frames))
    write_result("faulty_references", {"clip": SAMPLE.name, "rows": rows, "unrelated": unrelated})


if __name__ == "__main__":
    main()
