"""Make the picture at the top of the README from the files that `pipeline demo` writes.

    python -m jobs.quality.before_after

The picture shows two details of a frame half-way between two key frames, which is the hardest case.
The job also measures the quality of that frame and the mean quality of the demo's clips, and writes
the figures to `jobs/results/before_after.json`.
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from crossnetpp.metrics import measure_quality
from jobs.machine import write_result
from pipeline.measuring.clips import measure_frames, summarise_frames
from pipeline.media.read.frames import read_frames
from pipeline.media.read.probe import probe
from pipeline.pairing.given import list_given_frames
from pipeline.pairing.upsample import upsample
from pipeline.schema.plan_file import read_plan
from pipeline.tools.demo import SAMPLE

ROOT = Path(__file__).parents[2]
FRAME = 22  # 7 frames after one key frame, 8 before the next
DETAILS = ((368, 236), (62, 528))  # (row, col) of each detail's top left corner
DETAIL_HEIGHT = 104
DETAIL_WIDTH = 156
ZOOM = 3
GAP = 6  # pixels between the details
HEADING = 40  # height of a heading in pixels
JPEG_QUALITY = 88
# name in the result file -> clip in the demo's folder
METHODS = {"bicubic": "bicubic.mp4", "fast": "auto.mp4"}

Picture = NDArray[np.uint8]


@dataclass(frozen=True)
class ShownFrames:
    """The same frame in three versions, each uint8 H x W x 3 RGB."""

    bicubic: Picture
    fast: Picture
    original: Picture


def read_frame(path: Path, number: int) -> Picture:
    """Return frame `number`, counting from 0, as uint8 H x W x 3 RGB.

    Raises SystemExit if the clip is too short.
    """
    for index, frame in enumerate(read_frames(probe(str(path)))):
        if index == number:
            return np.asarray(frame.rgb, dtype=np.uint8)
    raise SystemExit(
        f"{path} has no frame {number}, so it is not the demo's whole clip; run `pipeline demo` "
        "again"
    )


def read_shown_frames(demo: Path) -> ShownFrames:
    """Return the frame that the picture shows, read from the original and the clips in `demo`.

    Raises SystemExit if a clip is missing or too short.
    """
    missing = [name for name in METHODS.values() if not (demo / name).exists()]
    if missing:
        raise SystemExit(
            f"{demo} does not contain {missing[0]}, which `pipeline demo` writes; "
            f"run `pipeline demo -o {demo}` first"
        )

    return ShownFrames(
        bicubic=read_frame(demo / METHODS["bicubic"], FRAME),
        fast=read_frame(demo / METHODS["fast"], FRAME),
        original=read_frame(SAMPLE, FRAME),
    )


def make_column(frame: Picture, heading: str) -> Picture:
    """Return a picture of the frame's details, magnified without smoothing, below `heading`."""
    width = DETAIL_WIDTH * ZOOM
    gap = np.full((GAP, width, 3), 255, np.uint8)
    band = np.full((HEADING, width, 3), 255, np.uint8)
    cv2.putText(band, heading, (2, 28), cv2.FONT_HERSHEY_SIMPLEX, 0.8, (0, 0, 0), 1, cv2.LINE_AA)

    parts = [band]
    for row, col in DETAILS:
        detail = frame[row : row + DETAIL_HEIGHT, col : col + DETAIL_WIDTH]
        parts += [np.kron(detail, np.ones((ZOOM, ZOOM, 1), np.uint8)), gap]
    return np.concatenate(parts[:-1])


def make_picture(shown: ShownFrames) -> Picture:
    """Return a picture of the bicubic, enhanced and original versions side by side."""
    columns = [
        make_column(shown.bicubic, "plain up-sampling (bicubic)"),
        make_column(shown.fast, "this project"),
        make_column(shown.original, "original"),
    ]
    gap = np.full((len(columns[0]), GAP, 3), 255, np.uint8)
    return np.concatenate([columns[0], gap, columns[1], gap, columns[2]], axis=1)


def measure_shown_frames(shown: ShownFrames) -> dict[str, Any]:
    """Return the PSNR in dB and the SSIM of both methods, in RGB over the whole frame."""
    pictures = {"bicubic": shown.bicubic, "fast": shown.fast}
    figures: dict[str, Any] = {"frame": FRAME}
    for name, picture in pictures.items():
        quality = measure_quality(picture, shown.original)
        figures[name] = {"psnr": round(quality.psnr, 3), "ssim": round(quality.ssim, 5)}
    return figures


def measure_demo(demo: Path) -> dict[str, Any]:
    """Return each method's mean PSNR in dB, its mean SSIM, and the PSNR of its worst frame.

    The key frames are excluded. The last entry is for bicubic up-sampling that was not encoded.
    """
    figures: dict[str, Any] = {}
    for name, file in METHODS.items():
        clip = demo / file
        plan = read_plan(clip.with_suffix(".plan.json"))
        frames = list(measure_frames(str(clip), str(SAMPLE), skip=list_given_frames(plan)))
        means = summarise_frames(frames)
        figures[name] = {
            "frames": len(frames),
            "psnr": round(means.psnr, 4),
            "ssim": round(means.ssim, 5),
            "worst": round(means.worst.psnr, 4),
        }

    given = list_given_frames(read_plan(demo / "bicubic.plan.json"))
    figures["bicubic, not encoded"] = {"psnr": measure_plain_upsampling(demo / "lr.mp4", given)}
    return figures


def measure_plain_upsampling(lr: Path, given: frozenset[int]) -> float:
    """Return the mean PSNR in dB of the clip `lr` after bicubic up-sampling, without encoding it.

    The key frames, whose numbers are in `given`, are excluded.
    """
    pairs = zip(read_frames(probe(str(lr))), read_frames(probe(str(SAMPLE))), strict=True)
    found = []
    for number, (small, truth) in enumerate(pairs):
        if number in given:
            continue
        height, width, _ = truth.rgb.shape
        found.append(measure_quality(upsample(small.rgb, height, width), truth.rgb).psnr)
    return round(float(np.mean(found)), 3)


def main() -> None:
    """Write the picture and the figures."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "demo",
        type=Path,
        nargs="?",
        default=Path("demo-output"),
        help="folder that `pipeline demo` wrote (default demo-output)",
    )
    parser.add_argument(
        "output",
        type=Path,
        nargs="?",
        default=ROOT / "docs" / "images" / "before-after.jpg",
        help="JPEG file to write (default docs/images/before-after.jpg)",
    )
    arguments = parser.parse_args()

    shown = read_shown_frames(arguments.demo)
    bgr = np.ascontiguousarray(make_picture(shown)[:, :, ::-1])
    cv2.imwrite(str(arguments.output), bgr, [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY])

    figures = {"clip": SAMPLE.name, "shown": measure_shown_frames(shown)}
    write_result("before_after", {**figures, "demo": measure_demo(arguments.demo)})


if __name__ == "__main__":
    main()
