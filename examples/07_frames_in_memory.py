"""Enhance frames that a program holds in memory: here, arrays that OpenCV reads from a clip."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from crossnetpp.data.degradation import degrade
from crossnetpp.metrics import psnr
from pipeline import Enhancer

ORIGINAL = Path(__file__).parents[1] / "pipeline" / "samples" / "monster.mp4"
LAST = 8  # the key frames are frames 0 and 8
SCALE = 4

folder = Path(sys.argv[1] if len(sys.argv) > 1 else "example-output/07")
folder.mkdir(parents=True, exist_ok=True)


def read_rgb(path: Path) -> Iterator[NDArray[np.uint8]]:
    """Yield the frames of a video, uint8 H x W x 3 RGB."""
    video = cv2.VideoCapture(str(path))
    while (read := video.read())[0]:
        yield np.asarray(cv2.cvtColor(read[1], cv2.COLOR_BGR2RGB), np.uint8)
    video.release()


# Create a test with a ground truth: small frames, and the sharp first and last frames
sharp = list(islice(read_rgb(ORIGINAL), LAST + 1))
small = (degrade(frame, SCALE) for frame in sharp)

enhancer = Enhancer(model="fast", engine="torch")
made = list(enhancer.video(small, references=[(0, sharp[0]), (LAST, sharp[LAST])]))

middle = LAST // 2
plain = cv2.resize(
    degrade(sharp[middle], SCALE), sharp[0].shape[1::-1], interpolation=cv2.INTER_CUBIC
)
for name, picture in (("bicubic", plain), ("with both key frames", made[middle])):
    decibels = psnr(picture / np.float32(255), sharp[middle] / np.float32(255))
    print(f"frame {middle}, {name}: {decibels:.2f} dB")

# Single frames use the same engine; given tensors, the results are tensors, too
result = enhancer.frame(degrade(sharp[middle], SCALE), [sharp[0], sharp[LAST]])
assert result.shape == sharp[middle].shape

sheet = np.concatenate((plain, made[middle], sharp[middle]), axis=1)
cv2.imwrite(str(folder / "compare.png"), cv2.cvtColor(sheet, cv2.COLOR_RGB2BGR))
print(f"look at {folder / 'compare.png'}: bicubic, result, original")
