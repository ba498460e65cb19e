"""TODO: what this module is for."""

from __future__ import annotations

from typing import Any, cast

import cv2
from numpy.typing import NDArray

from deploy.protocol import Pixels


def upsample(lr: Pixels, height: int, width: int) -> Pixels:
    """Return one h x w x 3 frame bicubically enlarged: what a frame without reference gets."""
    return as_pixels(cv2.resize(lr, (width, height), interpolation=cv2.INTER_CUBIC))


def as_pixels(array: NDArray[Any]) -> Pixels:
    """Narrow the type for mypy: neither numpy nor OpenCV promises to keep the dtype."""
    return cast(Pixels, array)
