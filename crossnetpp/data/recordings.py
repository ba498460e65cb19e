"""Real motion: frames of clips some way apart, and views of light fields and stereo pairs."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from crossnetpp.data.sample import Pair, crop_origin, read_rgb


def _pair_of_crops(
    rng: np.random.Generator, target: NDArray[np.uint8], reference: NDArray[np.uint8], size: int
) -> Pair:
    """Cut the same window out of both and turn both alike."""
    height, width = min(target.shape[:2], reference.shape[:2])
    row, col = crop_origin(rng, height, width, size)
    window = np.s_[row : row + size, col : col + size]
    turns, mirror = int(rng.integers(4)), bool(rng.random() < 0.5)
    crops = [np.rot90(image[window], turns) for image in (target, reference)]
    if mirror:
        crops = [crop[:, ::-1] for crop in crops]
    return Pair(np.ascontiguousarray(crops[0]), np.ascontiguousarray(crops[1]))


def _shrunk(image: NDArray[np.uint8], factor: float) -> NDArray[np.uint8]:
    if factor == 1.0:
        return image
    small = cv2.resize(image, None, fx=factor, fy=factor, interpolation=cv2.INTER_AREA)
    return np.asarray(small, dtype=np.uint8)


class Clips:
    """Draw two frames of one clip, up to `reach` frames apart."""

    def __init__(self, paths: list[Path], reach: int = 15, every: int = 1) -> None:
        self.clips: list[list[NDArray[np.uint8]]] = []
        self.reach = reach
        for path in paths:
            capture = cv2.VideoCapture(str(path))
            frames = []
            count = 0
            while (read := capture.read())[0]:
                if count % every == 0:
                    frames.append(
                        np.asarray(cv2.cvtColor(read[1], cv2.COLOR_BGR2RGB), dtype=np.uint8)
                    )
                count += 1
            self.clips.append(frames)

    def draw(self, rng: np.random.Generator, size: int, motion: float) -> Pair:
        """Return crops of two frames; the curriculum widens the time between them."""
        frames = self.clips[int(rng.integers(len(self.clips)))]
        reach = max(1, round(self.reach * (0.3 + 0.7 * motion)))
        first = int(rng.integers(len(frames)))
        second = int(np.clip(first + rng.integers(-reach, reach + 1), 0, len(frames) - 1))
        return _pair_of_crops(rng, frames[first], frames[second], size)


class Views:
    """Draw two views of one scene: a light field's grid, or the two pictures of a stereo pair."""

    def __init__(self, scenes: list[list[Path]], shrink: tuple[float, ...] = ()) -> None:
        """Read the views of each scene; `shrink` gives a factor for each scene, 1 if left out."""
        self.scenes: list[list[NDArray[np.uint8]]] = []
        for scene, factor in zip(scenes, shrink or (1.0,) * len(scenes), strict=True):
            self.scenes.append([_shrunk(read_rgb(path), factor) for path in scene])

    def draw(self, rng: np.random.Generator, size: int, motion: float) -> Pair:
        """Return crops of two different views."""
        views = self.scenes[int(rng.integers(len(self.scenes)))]
        first, second = rng.choice(len(views), 2, replace=False)
        return _pair_of_crops(rng, views[first], views[second], size)
