"""What training draws: pairs of HR target and reference, with the true flow where it is known."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import cv2
import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Pair:
    """An HR target and a reference of the same scene."""

    target: NDArray[np.uint8]
    """uint8 H x W x 3 RGB."""
    reference: NDArray[np.uint8]
    """uint8 H x W x 3 RGB."""
    flow: NDArray[np.float32] | None = None
    """H x W x 2 pixels: reference(x + flow(x)) = target(x); NaN where it is not known."""


class PairSource(Protocol):
    """Something pairs can be drawn from."""

    def draw(self, rng: np.random.Generator, size: int, motion: float) -> Pair:
        """Return a pair of `size` x `size` pixels; `motion` in 0..1 is the curriculum's stage."""
        ...


def crop_origin(rng: np.random.Generator, height: int, width: int, size: int) -> tuple[int, int]:
    """Return a random (row, col) at which a `size` x `size` window fits."""
    return int(rng.integers(0, height - size + 1)), int(rng.integers(0, width - size + 1))


def read_rgb(path: Path) -> NDArray[np.uint8]:
    """Return a picture as uint8 H x W x 3 RGB; raise FileNotFoundError if it cannot be read."""
    image = cv2.imread(str(path), cv2.IMREAD_COLOR)
    if image is None:
        raise FileNotFoundError(f"found no readable picture at {path}")
    return np.asarray(cv2.cvtColor(image, cv2.COLOR_BGR2RGB), dtype=np.uint8)
