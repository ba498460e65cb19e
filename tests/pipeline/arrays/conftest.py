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
DeepFrame = NDArray[np.uint16]


class Recorded(NamedTuple):
    """Small frames with their key frames, as arrays and as lossless files."""

    small: list[Frame]
    deep: list[DeepFrame]
    """The small frames with 16 bits."""
    sharp: list[Frame]
    small_file: Path
    deep_file: Path
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


def write_lossless(path: Path, frames: dict[int, Frame] | dict[int, DeepFrame]) -> Path:
    """Write frames of 8 or 16 bits with their numbers as times."""
    first = next(iter(frames.values()))
    given, stored = ("rgb24", "bgr0") if first.dtype == np.uint8 else ("rgb48le", "gbrp16le")
    with av.open(str(path), "w") as container:
        stream = container.add_stream("ffv1", rate=RATE)
        stream.height, stream.width = first.shape[:2]
        stream.pix_fmt = stored
        stream.codec_context.time_base = Fraction(1, RATE)
        for number, rgb in frames.items():
            picture = av.VideoFrame.from_ndarray(rgb, format=given).reformat(format=stored)
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
    random = np.random.default_rng(2)
    deep = [
        (frame.astype(np.uint16) * 256 + random.integers(0, 256, frame.shape)).astype(np.uint16)
        for frame in small
    ]
    return Recorded(
        small,
        deep,
        sharp,
        write_lossless(folder / "small.mkv", dict(enumerate(small))),
        write_lossless(folder / "deep.mkv", dict(enumerate(deep))),
        write_lossless(folder / "keys.mkv", {number: sharp[number] for number in KEYS}),
    )
