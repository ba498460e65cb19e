"""Pictures and clips of the val and test splits, and the choice of what is measured."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from crossnetpp.data.sample import read_rgb
from crossnetpp.evaluation.scenes import EvaluationError, Picture

CLIP_SUFFIXES = ("mp4", "mkv", "webm")


@dataclass(frozen=True)
class Sampling:
    """Which part of the data is measured."""

    stride: int = 1
    """Use every `stride`-th interval between two key frames of a clip."""
    positions: tuple[int, ...] = ()
    """Frames of each interval to measure, counted from its key frame; empty means all. This applies
    only to recordings."""
    frames: int = 150
    """Number of frames to read from each clip that is recorded."""
    scenes: tuple[str, ...] = ()
    """Names or splits of the scenes to measure; empty means all."""
    views: tuple[int, ...] = (1, 3, 5, 7)
    """The values of i for which view (i, i) of the light field is measured."""
    distances: tuple[int, ...] = tuple(range(1, 16))
    """Distances in frames from a reference to the frames that are enhanced with it."""
    starts: int = 4
    """Number of references per clip from which these distances are measured."""
    faults: int = 12
    """Number of frames per clip that are measured with each kind of faulty reference; in
    recordings, a third as many."""
    street: int = 4
    """Use every `street`-th pair of neighbouring photographs from the street walk."""

    def includes(self, name: str, split: str) -> bool:
        """Return whether the scene `name` of `split` is measured."""
        return not self.scenes or name in self.scenes or split in self.scenes


# Measures one interval of each clip, which takes a few minutes
QUICK = Sampling(
    stride=1000,
    positions=(2, 7),
    frames=16,
    views=(1, 7),
    distances=(1, 2, 4, 7, 11, 15),
    starts=1,
    faults=2,
    street=14,
)


class DataFolder:
    """Pictures and clips in a data folder; decoded clips are cached."""

    def __init__(self, folder: Path) -> None:
        """Use the data in `folder`. Raises EvaluationError if there is no such folder."""
        if not folder.is_dir():
            raise EvaluationError(
                f"found no folder {folder}, expected one with videos, lightfields and stereo; "
                "try --data with the folder that training uses"
            )
        self._folder = folder
        self._clips: dict[tuple[str, int | None], list[Picture]] = {}

    def read_picture(self, name: str) -> Picture:
        """Return a picture, uint8 H x W x 3 RGB.

        Raises EvaluationError if the file is missing or not a picture, and DataError if it is
        damaged.
        """
        path = self._folder / name
        # Checked first, because OpenCV prints a warning for missing files
        if not (path.is_file() and cv2.haveImageReader(str(path))):
            raise self._missing(name)
        return read_rgb(path)

    def read_clip(self, name: str, most: int | None = None) -> list[Picture]:
        """Return the frames of the clip `name`, such as `videos/frog`.

        If `most` is set, only the first `most` frames are returned. Raises EvaluationError if no
        frame can be read.
        """
        if (name, most) not in self._clips:
            self._clips[name, most] = self._decode_clip(name, most)
        return self._clips[name, most]

    def _decode_clip(self, name: str, most: int | None) -> list[Picture]:
        paths = [self._folder / f"{name}.{suffix}" for suffix in CLIP_SUFFIXES]
        found = [path for path in paths if path.is_file()]
        if not found:
            raise self._missing(f"{name}.{CLIP_SUFFIXES[0]}")

        capture = cv2.VideoCapture(str(found[0]))
        frames: list[Picture] = []
        while len(frames) != most and (read := capture.read())[0]:
            frames.append(np.asarray(cv2.cvtColor(read[1], cv2.COLOR_BGR2RGB), np.uint8))
        if not frames:
            raise self._missing(found[0].name)
        return frames

    def find_names(self, pattern: str) -> list[str]:
        """Return the paths of the files that match `pattern`, sorted and relative to the folder.

        Raises EvaluationError if there are fewer than two.
        """
        names = sorted(str(path.relative_to(self._folder)) for path in self._folder.glob(pattern))
        if len(names) < 2:
            found = "a single file" if names else "no file"
            raise EvaluationError(
                f"found {found} that matches {pattern} in {self._folder}, expected two or more; "
                "try only --groups and --scenes whose data you have"
            )
        return names

    def _missing(self, name: str) -> EvaluationError:
        return EvaluationError(
            f"found no readable file {name} in {self._folder}, which a chosen scene needs; "
            "try only --groups and --scenes whose data you have"
        )
