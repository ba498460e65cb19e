"""The photograph with which engines are tested and calibrated.

`selftest.png` is a crop of photograph 21 from Kodak's set, released for unrestricted use.
"""

from __future__ import annotations

from pathlib import Path
from typing import cast

import cv2
import numpy as np

from deploy.protocol import EngineError, Pixels

_PATH = Path(__file__).with_name("selftest.png")


def load_photograph() -> Pixels:
    """Return the photograph as uint8 H x W x 3 RGB. Raises EngineError if it cannot be read."""
    photograph = cv2.imread(str(_PATH))
    if photograph is None:
        raise EngineError(f"cannot read {_PATH}; reinstall the package")
    return cast(Pixels, np.ascontiguousarray(photograph[..., ::-1]))


def move_photograph(photograph: Pixels, angle: float, dx: float, dy: float) -> Pixels:
    """Return the photograph, rotated by a small `angle` (radians) and moved by (dx, dy) pixels."""
    height, width = photograph.shape[:2]
    motion = np.array([[1, -angle, dx], [angle, 1, dy]], np.float32)
    return cast(
        Pixels,
        cv2.warpAffine(
            photograph,
            motion,
            (width, height),
            flags=cv2.INTER_CUBIC,
            borderMode=cv2.BORDER_REFLECT,
        ),
    )
