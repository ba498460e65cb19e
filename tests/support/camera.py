"""A recording of a real clip as a camera makes it: LR through H.264, and HR key frames."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from crossnetpp.data.degradation import reduce_levels
from tests.support import ROOT
from tests.support.recordings import write_video

SCALE = 4
EVERY = 6  # frames between key frames


def read_clip(count: int, height: int = 96, width: int = 128) -> list[NDArray[np.uint8]]:
    """Return the first frames of a real clip, cropped, uint8 height x width x 3 RGB."""
    capture = cv2.VideoCapture(str(ROOT / "pipeline" / "samples" / "monster.mp4"))
    frames = [capture.read()[1][200 : 200 + height, 240 : 240 + width] for _ in range(count)]
    return [np.ascontiguousarray(frame[..., ::-1]) for frame in frames]


def write_camera(folder: Path, *, frames: int = 31) -> tuple[Path, Path, Path]:
    """Write `lr.mkv` of means of pixels, `keys.mkv` and `truth.mkv`, and return their paths."""
    sharp = read_clip(frames)
    small = [
        np.asarray(reduce_levels(f.astype(np.float32), SCALE, "area").round(), np.uint8)
        for f in sharp
    ]
    return (
        write_video(folder / "lr.mkv", small),
        write_video(folder / "keys.mkv", sharp, every=EVERY),
        write_video(folder / "truth.mkv", sharp),
    )
