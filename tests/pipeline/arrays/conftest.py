"""A clip with a scene cut, and its key frames, as arrays and as lossless files."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path
from typing import NamedTuple

import av
import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from pipeline.media.read.frames import read_frames
from pipeline.media.read.probe import probe
from tests.support import ROOT

CLIPS = (
    ROOT / "pipeline" / "samples" / "monster.mp4",
    ROOT / "tests" / "data" / "big_buck_bunny_720p.mp4",
)
EACH = 14  # frames of each clip
KEYS = (0, 10, 16, 24)  # frame 10 is nearer to 16 than to 0 across the cut at frame 14
RATE = 25
SIZE = (192, 128)  # width and height of the sharp frames
SCALE = 4

Frame = NDArray[np.uint8]


class Recorded(NamedTuple):
    """Small frames with their key frames, as arrays and as lossless files."""

    small: list[Frame]
    sharp: list[Frame]
    small_file: Path
    keys_file: Path

    @property
    def references(self) -> list[tuple[int, Frame]]:
        """The key frames with the numbers of their frames."""
        return [(number, self.sharp[number]) for number in KEYS]


def read_start(path: Path) -> list[Frame]:
    """Return the first frames of a clip in the size of the sharp frames."""
    found: list[Frame] = []
    for frame in read_frames(probe(str(path))):
        found.append(cv2.resize(np.asarray(frame.rgb), SIZE, interpolation=cv2.INTER_AREA))
        if len(found) == EACH:
            break
    return found


def write_lossless(path: Path, frames: dict[int, Frame]) -> Path:
    """Write frames with their numbers as times."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("ffv1", rate=RATE)
        stream.height, stream.width = next(iter(frames.values())).shape[:2]
        stream.pix_fmt = "bgr0"
        stream.codec_context.time_base = Fraction(1, RATE)
        for number, rgb in frames.items():
            picture = av.VideoFrame.from_ndarray(rgb, format="rgb24").reformat(format="bgr0")
            picture.pts, picture.time_base = number, Fraction(1, RATE)
            container.mux(stream.encode(picture))
        container.mux(stream.encode(None))
    return path


@pytest.fixture(scope="session")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> Recorded:
    folder = tmp_path_factory.mktemp("recorded")
    sharp = [frame for clip in CLIPS for frame in read_start(clip)]
    size = (SIZE[0] // SCALE, SIZE[1] // SCALE)
    small = [np.asarray(cv2.resize(f, size, interpolation=cv2.INTER_AREA), np.uint8) for f in sharp]
    return Recorded(
        small,
        sharp,
        write_lossless(folder / "small.mkv", dict(enumerate(small))),
        write_lossless(folder / "keys.mkv", {number: sharp[number] for number in KEYS}),
    )
