"""Bicubic up-sampling, for frames without a reference."""

from __future__ import annotations

import cv2

from pipeline.pixels import Pixels, as_pixels


def upsample(lr: Pixels, height: int, width: int) -> Pixels:
    """Return a frame (h x w x 3) enlarged to height x width x 3 with bicubic interpolation."""
    return as_pixels(cv2.resize(lr, (width, height), interpolation=cv2.INTER_CUBIC))
