"""Contact sheets: an enlarged crop of each method's result, of the truth and of the reference."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np

from crossnetpp.evaluation.figures import SceneResult, ShownCase
from crossnetpp.evaluation.scenes import Picture
from crossnetpp.metrics import measure_quality

CROP = (96, 112)  # height and width in pixels before enlargement
ZOOM = 3
BAR = 22  # height of the labels in pixels
MARGIN = 8  # pixels at the borders that crops avoid, because some clips have black columns there
GAP = 4  # pixels between tiles


def draw_contact_sheet(result: SceneResult) -> Picture:
    """Return a picture with a row for each shown case: all methods, the truth and the reference."""
    rows = [_draw_row(shown, f"{result.name} x{result.scale}") for shown in result.shown]
    return np.concatenate(rows)


def write_contact_sheet(result: SceneResult, path: Path) -> None:
    """Write the contact sheet of a scene to `path` as a PNG file."""
    sheet = cv2.cvtColor(draw_contact_sheet(result), cv2.COLOR_RGB2BGR)
    cv2.imwrite(str(path), sheet, (cv2.IMWRITE_PNG_COMPRESSION, 5))


def find_most_detailed(truth: Picture, blurred: Picture) -> tuple[slice, slice]:
    """Return the rows and columns of the window of size CROP where the two pictures differ most.

    The window is smaller if the picture is.
    """
    height, width = (min(a, b) for a, b in zip(CROP, truth.shape[:2], strict=True))
    lost = np.zeros(truth.shape[:2], np.float32)
    inside = np.s_[MARGIN:-MARGIN, MARGIN:-MARGIN]
    lost[inside] = np.abs(truth.astype(np.float32) - blurred).sum(axis=2)[inside]

    # The anchor is the first pixel, so each mean belongs to the window that starts there
    means = np.asarray(cv2.blur(lost, (width, height), anchor=(0, 0)))
    means = means[: truth.shape[0] - height + 1, : truth.shape[1] - width + 1]
    row, col = (int(v) for v in np.unravel_index(int(means.argmax()), means.shape))
    return slice(row, row + height), slice(col, col + width)


def _draw_row(shown: ShownCase, title: str) -> Picture:
    case = shown.case
    window = find_most_detailed(case.truth, shown.pictures["bicubic"])
    tiles = [
        _draw_tile(picture[window], f"{name} {measure_quality(picture, case.truth).psnr:.2f} dB")
        for name, picture in shown.pictures.items()
    ]
    tiles.append(_draw_tile(case.truth[window], "truth"))
    tiles.append(_draw_tile(case.references[0].picture[window], "reference"))
    pictures = np.concatenate(tiles, axis=1)

    frames = " frames from the reference" if case.condition.isdigit() else ""
    heading = _draw_bar(f"{title}: {case.condition}{frames}", pictures.shape[1])
    return np.concatenate((heading, pictures))


def _draw_tile(crop: Picture, label: str) -> Picture:
    # Repeating the pixels shows the result without further interpolation
    large = crop.repeat(ZOOM, axis=0).repeat(ZOOM, axis=1)
    tile = np.concatenate((_draw_bar(label, large.shape[1]), large))
    return np.pad(tile, ((0, GAP), (0, GAP), (0, 0)), constant_values=255)


def _draw_bar(text: str, width: int) -> Picture:
    bar = np.full((BAR, width, 3), 255, np.uint8)
    origin = (4, BAR - 7)
    black = (0, 0, 0)
    cv2.putText(bar, text, origin, cv2.FONT_HERSHEY_SIMPLEX, 0.45, black, 1, cv2.LINE_AA)
    return bar
