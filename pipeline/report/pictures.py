"""Pictures inside the page: JPEG data addresses, heat maps, and a budget that mail servers take."""

from __future__ import annotations

import base64
from collections.abc import Callable
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from pipeline.pixels import Picture
from pipeline.report.rows import FramePictures
from pipeline.report.without_truth import measure_borrowing

MOST_HEIGHT, MOST_WIDTH = 720, 1280
"""Larger frames are shown by a window of this size, pixel for pixel: shrunk ones would hide what
super-resolution did."""
HOTTEST = 16.0
"""8-bit levels at the bright end of the heat map."""
BUDGET = 10_000_000
"""Bytes of all pictures, in base64; with the rest the page stays under 15 MB."""
QUALITIES = (92, 85, 75, 60, 45)

Coloured = NDArray[np.uint8]


@dataclass(frozen=True)
class Window:
    """The part of a frame that is shown, pixels."""

    row: int
    col: int
    height: int
    width: int


@dataclass(frozen=True)
class CaptionedPicture:
    """One picture of a frame and what it is."""

    kind: str
    caption: str
    picture: Picture


def choose_window(views: FramePictures) -> Window:
    """Return the window to show: all of a small frame, else where most was borrowed."""
    height, width = views.result.shape[:2]
    tall, wide = min(height, MOST_HEIGHT), min(width, MOST_WIDTH)
    if (tall, wide) == (height, width):
        return Window(0, 0, height, width)
    heat = measure_borrowing(views.result, views.bicubic)
    total = cv2.boxFilter(heat, -1, (wide, tall), anchor=(0, 0), borderType=cv2.BORDER_CONSTANT)
    inner = total[: height - tall + 1, : width - wide + 1]
    row, col = np.unravel_index(int(inner.argmax()), inner.shape)
    return Window(int(row), int(col), tall, wide)


def draw_heat_map(views: FramePictures) -> Picture:
    """Return how much each pixel was borrowed, black (0) to bright (HOTTEST levels or more)."""
    heat = measure_borrowing(views.result, views.bicubic) * (255 / HOTTEST)
    scaled = np.asarray(np.clip(heat, 0, 255), np.uint8)
    bgr = cv2.applyColorMap(scaled, cv2.COLORMAP_INFERNO)
    return np.asarray(cv2.cvtColor(bgr, cv2.COLOR_BGR2RGB), np.uint8)


def crop_pictures(
    views: FramePictures, part: Window, turn: Callable[[Picture], Picture]
) -> list[CaptionedPicture]:
    """Return the pictures of one frame, cut to `part` and turned upright."""
    everything: list[tuple[str, str, Picture | None]] = [
        ("bicubic", "bicubic: plain up-sampling of the input", views.bicubic),
        ("result", "result", views.result),
        ("reference", "reference it could borrow from", views.reference),
        ("original", "original (ground truth)", views.original),
        (
            "borrowed",
            f"borrowed: black 0, bright {HOTTEST:.0f} or more levels",
            draw_heat_map(views),
        ),
    ]
    rows = slice(part.row, part.row + part.height)
    cols = slice(part.col, part.col + part.width)
    return [
        CaptionedPicture(kind, caption, turn(picture[rows, cols]))
        for kind, caption, picture in everything
        if picture is not None
    ]


def turned(rotation: int) -> Callable[[Picture], Picture]:
    """Return the function that shows stored pixels upright; degrees counter-clockwise."""
    turns = round(rotation / 90) % 4
    return lambda picture: np.ascontiguousarray(np.rot90(picture, turns))


def encode_jpegs(pictures: list[Picture], budget: int = BUDGET) -> list[str]:
    """Return data addresses of JPEGs, of the best quality that keeps within `budget` bytes."""
    found: list[str] = []
    for grade in QUALITIES:
        found = [_jpeg(picture, grade) for picture in pictures]
        if sum(map(len, found)) <= budget:
            break
    return found


def _jpeg(picture: Picture, grade: int) -> str:
    # full chroma: what a reference brings is often colour
    chroma = (cv2.IMWRITE_JPEG_SAMPLING_FACTOR, cv2.IMWRITE_JPEG_SAMPLING_FACTOR_444)
    settings = [cv2.IMWRITE_JPEG_QUALITY, grade, cv2.IMWRITE_JPEG_OPTIMIZE, 1, *chroma]
    done, data = cv2.imencode(".jpg", cv2.cvtColor(picture, cv2.COLOR_RGB2BGR), settings)
    assert done
    return "data:image/jpeg;base64," + base64.b64encode(data.tobytes()).decode("ascii")
