"""Draw text that is readable on any picture: white with a thin black outline."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

_OUTLINE = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (5, 5))  # two pixels on each side


def draw_text(picture: NDArray[np.uint8], text: str, place: tuple[int, int], size: float) -> None:
    """Draw text on a uint8 H x W x 3 picture, in place.

    `place` is the column and row of the text's lower left corner, and `size` is OpenCV's font
    scale.
    """
    letters = np.zeros(picture.shape[:2], np.uint8)
    # the letters are dilated for the outline, because a thicker stroke widens them in OpenCV 5
    cv2.putText(letters, text, place, cv2.FONT_HERSHEY_SIMPLEX, size, (255,), 1, cv2.LINE_AA)

    white = letters[..., None] / np.float32(255)
    black = cv2.dilate(letters, _OUTLINE)[..., None] / np.float32(255)
    picture[:] = np.rint(picture * (1 - black) * (1 - white) + 255 * white).astype(np.uint8)
