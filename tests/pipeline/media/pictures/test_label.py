"""The outline of a label belongs to its letters."""

from __future__ import annotations

import numpy as np

from pipeline.media.pictures.label import draw_text
from pipeline.tools.compare import draw_label

GREY = 120


def extent(mask: np.ndarray) -> tuple[int, int, int, int]:
    """Return the first and last column and row of the pixels of a mask."""
    rows, columns = np.nonzero(mask)
    return columns.min(), columns.max(), rows.min(), rows.max()


def test_the_outline_is_a_few_pixels_wider_than_the_letters() -> None:
    picture = np.full((80, 480, 3), GREY, np.uint8)
    draw_text(picture, "CrossNet++ fast", (10, 60), 0.6)
    letters = extent(picture.min(axis=2) > GREY + 20)
    outline = extent(picture.max(axis=2) < GREY - 20)
    assert letters[1] - letters[0] > 80
    for inner, outer in zip(letters, outline, strict=True):
        assert 1 <= abs(inner - outer) <= 4
    # every bright pixel has dark ones near it, and nothing else changes
    changed = extent((picture != GREY).any(axis=2))
    assert abs(changed[0] - outline[0]) <= 1
    assert abs(changed[1] - outline[1]) <= 1


def test_labels_are_readable_on_white_and_on_black() -> None:
    for ground in (0, 255):
        picture = np.full((80, 480, 3), ground, np.uint8)
        made = draw_label(picture.copy(), "bicubic")
        assert made.max() == 255
        assert made.min() < 60
        assert made.shape == picture.shape
