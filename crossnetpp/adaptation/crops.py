"""Batches of crops from key frames; the pictures of a sample are all cut and turned alike."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from crossnetpp.adaptation.key_frames import Example, KeyFrame, Picture
from crossnetpp.networks.taps import Taps, join_taps

ALIGNMENT = 8  # HR pixels; this is a whole number of LR pixels at every scale
MULTIPLE = 32  # the network requires sides that are multiples of this
LEAST_SIDE = 64
MOST_ASYMMETRY = 0.05  # largest sum of absolute differences between a kernel and its turned form
PAIRED_SHARE = 0.6  # share of the batches with two references, if any key frame has two neighbours
STILL_CELLS = 96  # HR pixels between the knots of a synthetic motion field


class Turn(NamedTuple):
    """An anticlockwise rotation by quarter turns, optionally followed by mirroring in x."""

    quarters: int
    mirror: bool

    def apply(self, picture: NDArray[Any]) -> NDArray[Any]:
        """Return an array (H x W or H x W x 3) rotated and, if `mirror` is set, mirrored."""
        turned = np.rot90(picture, self.quarters)
        return turned[:, ::-1] if self.mirror else turned


class Window(NamedTuple):
    """A rectangle of HR pixels whose position is a multiple of ALIGNMENT."""

    row: int
    col: int
    height: int
    width: int

    def cut(self, picture: Picture, scale: int = 1) -> Picture:
        """Return this window's part of a picture that is `scale` times smaller than HR."""
        rows = np.s_[self.row // scale : (self.row + self.height) // scale]
        cols = np.s_[self.col // scale : (self.col + self.width) // scale]
        return picture[rows, cols]


class Batch(NamedTuple):
    """N crops with K references each."""

    lr: Tensor
    """N x 3 x h x w in 0..1."""
    references: tuple[Tensor, ...]
    """K tensors of N x 3 x H x W in 0..1."""
    weights: Tensor
    """Prior weights of the references, N x K, in the same order."""
    target: Tensor
    """N x 3 x H x W in 0..1."""


def find_turns(taps: Taps) -> list[Turn]:
    """Return the turns that hardly change a downscaling kernel; the first one is the identity.

    After any other turn, LR would look as if a kernel other than the camera's had produced it.
    """
    kernel = join_taps(taps)
    turns = [Turn(quarters, mirror) for mirror in (False, True) for quarters in range(4)]
    return [
        turn for turn in turns if float(np.abs(turn.apply(kernel) - kernel).sum()) <= MOST_ASYMMETRY
    ]


def choose_side(picture: Picture, most: int) -> int:
    """Return the side in pixels of the largest square crop that fits `picture`.

    It is a multiple of MULTIPLE and at most `most`. Raises ValueError if the picture is too small
    to learn from.
    """
    height, width = picture.shape[:2]
    side: int = min(height, width, most) // MULTIPLE * MULTIPLE
    if side < LEAST_SIDE:
        raise ValueError(
            f"found key frames of {width}x{height}, expected at least {LEAST_SIDE}x{LEAST_SIDE}"
        )
    return side


def draw_window(rng: np.random.Generator, picture: Picture, side: int) -> Window:
    """Return a random square window of `picture` (H x W x 3), `side` pixels on each side."""
    row, col = (
        int(rng.integers((length - side) // ALIGNMENT + 1)) * ALIGNMENT
        for length in picture.shape[:2]
    )
    return Window(row, col, side, side)


class Crops:
    """Draws batches from examples; equal states of the random generator give equal batches."""

    def __init__(
        self,
        keys: Sequence[KeyFrame],
        examples: Sequence[Example],
        taps: Taps,
        *,
        side: int,
        still_share: float,
    ) -> None:
        """Prepare to draw crops of at most `side` x `side` HR pixels.

        In a share `still_share` of the batches, the first reference is the target itself, slightly
        moved. Trained on pairs of key frames alone, the network would learn to distrust references
        even for frames next to a key frame.
        """
        self.scale = taps.shape[-1] // 4
        self._keys = keys
        self._examples = list(examples)
        self._paired = [each for each in examples if len(each.neighbours) == 2]
        self._turns = find_turns(taps)
        self._side = choose_side(keys[0].hr, side)
        self._still_share = still_share

    def draw(self, rng: np.random.Generator, count: int, device: torch.device) -> Batch:
        """Return a batch of `count` crops on `device`."""
        is_still = rng.random() < self._still_share
        is_paired = bool(self._paired) and rng.random() < PAIRED_SHARE
        pool = self._paired if is_paired else self._examples
        crops = [self._draw_crop(rng, pool, 1 + is_paired, is_still) for _ in range(count)]

        pictures = [crop[0] for crop in crops]
        lr, target, *references = (
            to_planes([each[part] for each in pictures]).to(device) for part in range(3 + is_paired)
        )
        weights = torch.tensor([crop[1] for crop in crops], dtype=torch.float32, device=device)
        return Batch(lr, tuple(references), weights, target)

    def _draw_crop(
        self, rng: np.random.Generator, pool: list[Example], count: int, is_still: bool
    ) -> tuple[list[Picture], list[float]]:
        """Return crops of LR, the target and `count` references, and the references' weights."""
        example = pool[int(rng.integers(len(pool)))]
        target = self._keys[example.target]
        order = rng.permutation(len(example.neighbours))[:count]
        references = [self._keys[example.neighbours[i]].hr for i in order]
        weights = [example.weights[i] for i in order]

        window = draw_window(rng, target.hr, self._side)
        pictures = [window.cut(picture) for picture in (target.hr, *references)]
        if is_still:
            pictures[1] = move_slightly(rng, target.hr, window)
            weights = [1.0, *(0.25 for _ in weights[1:])]

        turn = self._turns[int(rng.integers(len(self._turns)))]
        turned = [turn.apply(p) for p in (window.cut(target.lr, self.scale), *pictures)]
        return [np.asarray(picture, np.uint8) for picture in turned], weights


def move_slightly(
    rng: np.random.Generator, picture: Picture, window: Window, most: float = 2.0
) -> Picture:
    """Return a window of a picture (H x W x 3), displaced smoothly by up to about `most` pixels.

    The result resembles the same window in the previous or next frame.
    """
    shift = rng.uniform(-most, most, 2)
    amplitude = rng.uniform(0.2, 1.0)
    knots = (window.height // STILL_CELLS + 2, window.width // STILL_CELLS + 2)
    fields = amplitude * rng.standard_normal((2, *knots)).astype(np.float32)

    size = (window.width, window.height)
    rows, cols = np.mgrid[: window.height, : window.width].astype(np.float32)
    x, y = (cv2.resize(field, size, interpolation=cv2.INTER_CUBIC) for field in fields)
    x += cols + np.float32(window.col + shift[0])
    y += rows + np.float32(window.row + shift[1])
    moved = cv2.remap(picture, x, y, cv2.INTER_CUBIC, borderMode=cv2.BORDER_REFLECT_101)
    return np.asarray(moved, np.uint8)


def to_planes(pictures: Sequence[Picture]) -> Tensor:
    """Return N uint8 pictures (H x W x 3) as a float32 tensor, N x 3 x H x W in 0..1."""
    stack = np.stack([np.ascontiguousarray(picture) for picture in pictures])
    return torch.from_numpy(stack).permute(0, 3, 1, 2).float().div(255)
