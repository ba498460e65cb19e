"""Make the page's pictures: windows, heat maps, and JPEG data URLs small enough to email."""

from __future__ import annotations

import base64
from dataclasses import dataclass

import cv2
import numpy as np

from pipeline.pixels import Picture
from pipeline.report.rows import FramePictures
from pipeline.report.without_truth import measure_borrowing

# From a larger frame, the page shows a window of this size; downscaling would hide added detail.
MOST_HEIGHT = 720
MOST_WIDTH = 1280
HOTTEST = 16.0  # difference in 8-bit levels at the bright end of the heat map
BUDGET = 10_000_000  # base64 bytes of all pictures, so that the page stays below 15 MB
QUALITIES = (92, 85, 75, 60, 45)  # tried in turn until the JPEGs fit the budget


@dataclass(frozen=True)
class Window:
    """The part of a frame to show, in pixels."""

    row: int
    col: int
    height: int
    width: int


@dataclass(frozen=True)
class CaptionedPicture:
    """One version of a frame, with its caption."""

    kind: str
    caption: str
    picture: Picture


def choose_window(pictures: FramePictures) -> Window:
    """Return the part to show: all of a small frame, or the window in which most was borrowed."""
    height, width = pictures.result.shape[:2]
    tall = min(height, MOST_HEIGHT)
    wide = min(width, MOST_WIDTH)
    if (tall, wide) == (height, width):
        return Window(0, 0, height, width)

    heat = measure_borrowing(pictures.result, pictures.bicubic)
    total = cv2.boxFilter(heat, -1, (wide, tall), anchor=(0, 0), borderType=cv2.BORDER_CONSTANT)
    inner = total[: height - tall + 1, : width - wide + 1]
    row, col = np.unravel_index(int(inner.argmax()), inner.shape)
    return Window(int(row), int(col), tall, wide)


def draw_heat_map(pictures: FramePictures) -> Picture:
    """Return a map of the borrowed detail, from black (0) to bright (HOTTEST levels or more).

    The borrowed detail is the absolute difference between the result and bicubic up-sampling.
    """
    heat = measure_borrowing(pictures.result, pictures.bicubic) * (255 / HOTTEST)
    scaled = np.asarray(np.clip(heat, 0, 255), np.uint8)
    bgr = cv2.applyColorMap(scaled, cv2.COLORMAP_INFERNO)
    return np.asarray(cv2.cvtColor(bgr, cv2.COLOR_BGR2RGB), np.uint8)


def crop_pictures(pictures: FramePictures, part: Window, rotation: float) -> list[CaptionedPicture]:
    """Return all existing versions of a frame, cropped to `part` and rotated upright.

    `rotation` is the recording's display rotation in degrees, counter-clockwise.
    """
    versions: list[tuple[str, str, Picture | None]] = [
        ("bicubic", "bicubic: plain up-sampling of the input", pictures.bicubic),
        ("result", "result", pictures.result),
        ("reference", "reference from which it could borrow", pictures.reference),
        ("second", "second reference", pictures.second),
        ("original", "original (ground truth)", pictures.original),
        (
            "borrowed",
            f"borrowed: from black (0 levels) to bright ({HOTTEST:.0f} levels or more)",
            draw_heat_map(pictures),
        ),
    ]

    rows = slice(part.row, part.row + part.height)
    cols = slice(part.col, part.col + part.width)
    turns = round(rotation / 90) % 4
    return [
        CaptionedPicture(kind, caption, np.ascontiguousarray(np.rot90(picture[rows, cols], turns)))
        for kind, caption, picture in versions
        if picture is not None
    ]


def encode_jpegs(pictures: list[Picture], budget: int = BUDGET) -> list[str]:
    """Return data URLs of JPEGs, all at the best of QUALITIES at which they fit `budget` bytes.

    If they do not fit at any quality, the lowest quality is used.
    """
    found: list[str] = []
    for grade in QUALITIES:
        found = [_jpeg(picture, grade) for picture in pictures]
        if sum(map(len, found)) <= budget:
            break
    return found


def _jpeg(picture: Picture, grade: int) -> str:
    # full chroma, because a reference often adds detail in colour
    chroma = (cv2.IMWRITE_JPEG_SAMPLING_FACTOR, cv2.IMWRITE_JPEG_SAMPLING_FACTOR_444)
    settings = [cv2.IMWRITE_JPEG_QUALITY, grade, cv2.IMWRITE_JPEG_OPTIMIZE, 1, *chroma]
    done, data = cv2.imencode(".jpg", cv2.cvtColor(picture, cv2.COLOR_RGB2BGR), settings)
    assert done
    return "data:image/jpeg;base64," + base64.b64encode(data.tobytes()).decode("ascii")
