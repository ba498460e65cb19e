"""Make the picture at the top of the README from the files that `pipeline demo` writes.

    python -m jobs.quality.before_after demo-output docs/images/before-after.jpg

The picture shows two details of a frame half-way between two key frames, which is the hardest case.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from pipeline.media.read.frames import read_frames
from pipeline.media.read.probe import probe
from pipeline.tools.demo import SAMPLE

FRAME = 22  # 7 frames after one key frame, 8 before the next
DETAILS = ((368, 236), (62, 528))  # (row, col) of the upper left corners
DETAIL_HEIGHT = 104
DETAIL_WIDTH = 156
ZOOM = 3
GAP = 6  # pixels between the details
HEADING = 40  # height in pixels
JPEG_QUALITY = 88

Picture = NDArray[np.uint8]


def read_frame(path: Path, number: int) -> Picture:
    """Return one frame, counted from 0, as uint8 H x W x 3 RGB."""
    for index, frame in enumerate(read_frames(probe(str(path)))):
        if index == number:
            return np.asarray(frame.rgb, dtype=np.uint8)
    raise SystemExit(f"{path} has no frame {number}; run `pipeline demo` again")


def make_column(frame: Picture, heading: str) -> Picture:
    """Return the details of a frame, enlarged without smoothing, below a heading."""
    width = DETAIL_WIDTH * ZOOM
    gap = np.full((GAP, width, 3), 255, np.uint8)
    band = np.full((HEADING, width, 3), 255, np.uint8)
    cv2.putText(band, heading, (2, 28), cv2.FONT_HERSHEY_SIMPLEX, 0.8, (0, 0, 0), 1, cv2.LINE_AA)

    parts = [band]
    for row, col in DETAILS:
        detail = frame[row : row + DETAIL_HEIGHT, col : col + DETAIL_WIDTH]
        parts += [np.kron(detail, np.ones((ZOOM, ZOOM, 1), np.uint8)), gap]
    return np.concatenate(parts[:-1])


def make_picture(demo: Path) -> Picture:
    """Return plain up-sampling, the result and the original side by side."""
    columns = [
        make_column(read_frame(demo / "bicubic.mp4", FRAME), "plain up-sampling (bicubic)"),
        make_column(read_frame(demo / "auto.mp4", FRAME), "this project"),
        make_column(read_frame(SAMPLE, FRAME), "original"),
    ]
    gap = np.full((len(columns[0]), GAP, 3), 255, np.uint8)
    return np.concatenate([columns[0], gap, columns[1], gap, columns[2]], axis=1)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("demo", type=Path, help="folder that `pipeline demo` wrote")
    parser.add_argument("output", type=Path, help="JPEG file to write")
    args = parser.parse_args()

    bgr = np.ascontiguousarray(make_picture(args.demo)[:, :, ::-1])
    cv2.imwrite(str(args.output), bgr, [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY])


if __name__ == "__main__":
    main()
