"""Pairs with real motion: two frames of a clip, or two views of a scene."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from crossnetpp.data.sample import DataError, Pair, crop_pair, read_rgb, shrink_picture


def _read_clip(path: Path, every: int) -> list[NDArray[np.uint8]]:
    capture = cv2.VideoCapture(str(path))
    frames = []
    count = 0
    while (read := capture.read())[0]:
        if count % every == 0:
            frames.append(np.asarray(cv2.cvtColor(read[1], cv2.COLOR_BGR2RGB), dtype=np.uint8))
        count += 1
    if not frames:
        raise DataError(f"found no readable frame in {path}, expected a video clip")
    return frames


class Clips:
    """Source of pairs of frames from one clip.

    A pair is at most `reach` frames apart, counting only the frames that were read.
    """

    def __init__(self, paths: list[Path], reach: int = 15, every: int = 1) -> None:
        """Read every `every`-th frame of each clip. Raises DataError if a clip has no frames."""
        self.clips = [_read_clip(path, every) for path in paths]
        self.reach = reach

    def draw(self, rng: np.random.Generator, size: int, motion: float) -> Pair:
        """Return the same crop of two frames; with more `motion` (0..1), they can be farther apart.

        Raises DataError if the frames are smaller than the crop.
        """
        frames = self.clips[int(rng.integers(len(self.clips)))]
        reach = max(1, round(self.reach * (0.3 + 0.7 * motion)))
        first = int(rng.integers(len(frames)))
        second = int(np.clip(first + rng.integers(-reach, reach + 1), 0, len(frames) - 1))
        return crop_pair(rng, Pair(frames[first], frames[second]), size)


class Views:
    """Source of pairs of views of one scene, such as a stereo pair, without known flow."""

    def __init__(self, scenes: list[list[Path]], shrink: tuple[float, ...] = ()) -> None:
        """Read the views of each scene, scaled by the scene's factor in `shrink` (1 by default).

        Raises DataError if a scene has fewer than two views, or if a view cannot be read.
        """
        self.scenes: list[list[NDArray[np.uint8]]] = []
        for scene, factor in zip(scenes, shrink or (1.0,) * len(scenes), strict=True):
            if len(scene) < 2:
                found = f"only one view ({scene[0]})" if scene else "no view"
                raise DataError(f"found {found} of a scene, expected 2 or more; list all its views")
            self.scenes.append([shrink_picture(read_rgb(path), factor) for path in scene])

    def draw(self, rng: np.random.Generator, size: int, motion: float) -> Pair:
        """Return the same crop of two different views of one scene."""
        views = self.scenes[int(rng.integers(len(self.scenes)))]
        first, second = rng.choice(len(views), 2, replace=False)
        return crop_pair(rng, Pair(views[first], views[second]), size)
