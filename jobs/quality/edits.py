"""Clips with edited key frames: graded, denoised, repaired or painted over."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise

import cv2
import numpy as np
from numpy.typing import NDArray

from crossnetpp.classical.optical_flow import estimate_flow
from crossnetpp.evaluation.scenes import as_image

Picture = NDArray[np.uint8]
Clip = list[Picture]
Edit = Callable[[Picture], Picture]

NOISE = 5.0  # standard deviation of the input's noise in 8-bit levels
SCRATCHES = 3
SEED = 1


@dataclass(frozen=True)
class Material:
    """A clip before and after an edit, at full size; the key frames are edited frames."""

    recorded: Clip
    edited: Clip
    noise: float = 0.0
    """Standard deviation of the LR recording's noise, in 8-bit levels."""


def grade(picture: Picture) -> Picture:
    """Return the picture with more contrast and saturation, a warm tint and a vignette."""
    colours = (picture / 255) ** 0.8
    colours = 0.5 + 0.5 * np.tanh(3 * (colours - 0.5)) / np.tanh(1.5)
    luma = colours @ np.array([0.299, 0.587, 0.114])
    colours = luma[..., None] + 1.5 * (colours - luma[..., None])

    height, width = picture.shape[:2]
    rows, columns = np.mgrid[:height, :width]
    away = ((columns / width - 0.5) ** 2 + (rows / height - 0.5) ** 2) / 0.5
    colours = colours * (1 - 0.5 * away)[..., None] + np.array([0.04, 0, -0.03])
    return np.rint(np.clip(colours, 0, 1) * 255).astype(np.uint8)


def draw_scratches(picture: Picture, number: int) -> Picture:
    """Return `picture` as frame `number` of a worn film: fixed scratches and changing specks."""
    height, width = picture.shape[:2]
    scratched = picture.copy()
    stays = np.random.default_rng(SEED)
    for column in stays.integers(width // 8, width - width // 8, SCRATCHES):
        lean = int(stays.integers(-width // 60, width // 60 + 1))
        ends = (int(column), 0), (int(column) + lean, height - 1)
        cv2.line(scratched, *ends, (225, 225, 215), max(2, width // 240), cv2.LINE_AA)

    moves = np.random.default_rng([SEED, number])
    for _ in range(8):
        place = int(moves.integers(0, width)), int(moves.integers(0, height))
        cv2.circle(scratched, place, int(moves.integers(2, 5)), (20, 20, 20), -1, cv2.LINE_AA)
    return np.asarray(scratched, np.uint8)


def follow(clip: Clip, place: tuple[float, float], size: int) -> list[NDArray[np.float64]]:
    """Track a part of the scene, and return an affine map (2 x 3) from frame 0 to each frame.

    `place` is the (column, row) of the part's centre in frame 0, and `size` is the length of the
    part's sides in pixels.
    """
    total = np.eye(3)
    maps = [total[:2].copy()]
    for before, now in pairwise(clip):
        flow = estimate_flow(as_image(before), as_image(now))
        x, y = total[:2] @ (*place, 1)
        height, width = flow.shape[:2]
        half = size // 2
        rows, columns = np.mgrid[
            max(0, int(y) - half) : min(height, int(y) + half),
            max(0, int(x) - half) : min(width, int(x) + half),
        ]
        start = np.column_stack((columns.ravel(), rows.ravel())).astype(np.float32)
        moved = start + flow[rows.ravel(), columns.ravel()]
        step, _ = cv2.estimateAffinePartial2D(
            np.ascontiguousarray(start[::7]),
            np.ascontiguousarray(moved[::7], np.float32),
            ransacReprojThreshold=1.0,
        )
        total = np.vstack((step, [0, 0, 1])) @ total
        maps.append(total[:2].copy())
    return maps


def draw_sticker(size: int) -> Picture:
    """Return a square sign with text and lines that are too fine for LR, `size` pixels wide."""
    sign = np.full((size, size, 3), (190, 60, 40), np.uint8)
    sign[size // 16 : -size // 16, size // 16 : -size // 16] = (240, 225, 170)
    for row in range(size // 2, size - size // 8, 4):
        sign[row : row + 2, size // 8 : -size // 8] = (60, 80, 140)
    scale = size / 110
    place = size // 9, int(size * 0.4)
    cv2.putText(sign, "OPEN", place, cv2.FONT_HERSHEY_DUPLEX, scale, (20, 40, 20), 2, cv2.LINE_AA)
    return sign


def paste_sticker(clip: Clip, place: tuple[float, float], size: int) -> Clip:
    """Return the clip with a sticker that moves with a part of the scene; see `follow`."""
    sticker = draw_sticker(size)
    corner = np.array([[1, 0, place[0] - size / 2], [0, 1, place[1] - size / 2], [0, 0, 1]])
    found = []
    for picture, moved in zip(clip, follow(clip, place, size), strict=True):
        where = (np.vstack((moved, [0, 0, 1])) @ corner)[:2]
        shape = picture.shape[1::-1]
        cover = cv2.warpAffine(np.full((size, size), 255, np.uint8), where, shape)[..., None] / 255
        drawn = cv2.warpAffine(sticker, where, shape, flags=cv2.INTER_CUBIC)
        found.append(np.rint(picture * (1 - cover) + drawn * cover).astype(np.uint8))
    return found


def make_materials(clip: Clip) -> dict[str, Material]:
    """Return a map from the name of each kind of edit to the clip before and after that edit."""
    height, width = clip[0].shape[:2]
    place, size = (0.45 * width, 0.4 * height), height // 5
    marked = paste_sticker(clip, place, size)
    worn = [draw_scratches(picture, number) for number, picture in enumerate(clip)]
    return {
        "unedited": Material(clip, clip),
        "graded": Material(clip, [grade(picture) for picture in clip]),
        "denoised": Material(clip, clip, NOISE),
        "scratches removed": Material(worn, clip),
        "object painted out": Material(marked, clip),
        "detail painted in": Material(clip, marked),
        "graded and repaired": Material(marked, [grade(picture) for picture in clip], NOISE / 2),
    }
