"""TODO: what this module is for."""

from __future__ import annotations

import cv2

from pipeline.pixels import Pixels, as_pixels


def upsample(lr: Pixels, height: int, width: int) -> Pixels:
    """Return one h x w x 3 frame bicubically enlarged: what a frame without reference gets."""
    return as_pixels(cv2.resize(lr, (width, height), interpolation=cv2.INTER_CUBIC))
