"""Contact sheets: the same enlarged crop by every method, beside the truth and the reference."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np

from crossnetpp.evaluation.figures import SceneResult, Shown
from crossnetpp.evaluation.scenes import Picture
from crossnetpp.metrics import quality

CROP = (96, 112)
"""Height and width in pixels before the enlargement."""
ZOOM = 3
BAR = 22
"""Height of the labels."""
MARGIN = 8
"""Pixels along the borders where no detail is looked for: some clips end in black columns."""
GAP = 4


def contact_sheet(result: SceneResult) -> Picture:
    """Return one row for each shown case: methods, truth, reference, labelled."""
    rows = [_row(shown, f"{result.name} x{result.scale}") for shown in result.shown]
    return np.concatenate(rows)


def write_sheet(result: SceneResult, path: Path) -> None:
    """Write the contact sheet of a scene as PNG."""
    sheet = cv2.cvtColor(contact_sheet(result), cv2.COLOR_RGB2BGR)
    cv2.imwrite(str(path), sheet, (cv2.IMWRITE_PNG_COMPRESSION, 5))


def most_detailed(truth: Picture, blurred: Picture) -> tuple[slice, slice]:
    """Return the window of CROP where `blurred` (bicubic) has lost most of `truth`."""
    height, width = (min(a, b) for a, b in zip(CROP, truth.shape[:2], strict=True))
    lost = np.zeros(truth.shape[:2], np.float32)
    inside = np.s_[MARGIN:-MARGIN, MARGIN:-MARGIN]
    lost[inside] = np.abs(truth.astype(np.float32) - blurred).sum(axis=2)[inside]
    # with the anchor at its first pixel, each mean is that of the window that begins there
    means = np.asarray(cv2.blur(lost, (width, height), anchor=(0, 0)))
    means = means[: truth.shape[0] - height + 1, : truth.shape[1] - width + 1]
    row, col = (int(v) for v in np.unravel_index(int(means.argmax()), means.shape))
    return slice(row, row + height), slice(col, col + width)


def _row(shown: Shown, title: str) -> Picture:
    case = shown.case
    window = most_detailed(case.truth, shown.made["bicubic"])
    tiles = [
        _tile(picture[window], f"{name} {quality(picture, case.truth).psnr:.2f} dB")
        for name, picture in shown.made.items()
    ]
    tiles.append(_tile(case.truth[window], "truth"))
    tiles.append(_tile(case.reference[window], "reference"))
    pictures = np.concatenate(tiles, axis=1)
    frames = " frames from the reference" if case.condition.isdigit() else ""
    heading = _bar(f"{title}: {case.condition}{frames}", pictures.shape[1])
    return np.concatenate((heading, pictures))


def _tile(crop: Picture, label: str) -> Picture:
    # whole pixels, so that what is seen is what was made
    large = crop.repeat(ZOOM, axis=0).repeat(ZOOM, axis=1)
    tile = np.concatenate((_bar(label, large.shape[1]), large))
    return np.pad(tile, ((0, GAP), (0, GAP), (0, 0)), constant_values=255)


def _bar(text: str, width: int) -> Picture:
    bar = np.full((BAR, width, 3), 255, np.uint8)
    at, black = (4, BAR - 7), (0, 0, 0)
    cv2.putText(bar, text, at, cv2.FONT_HERSHEY_SIMPLEX, 0.45, black, 1, cv2.LINE_AA)
    return bar
