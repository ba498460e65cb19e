"""Prior weights of several references, which apply before the pictures are compared."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

# Powers of ten by which a reference's weight falls per frame of distance. The value was chosen on
# clips at x4 with a key frame every 15 frames, and the shipped weights are trained with it.
FRAME_DECADES = 0.05


def weigh_references(
    distances: Sequence[float], decades: float = FRAME_DECADES
) -> NDArray[np.float32]:
    """Return the weight of each reference of a frame: 1 for the nearest, less for farther ones.

    `decades` is the number of powers of ten by which the weight falls per unit of distance.
    """
    nearest = min(distances)
    return np.array([10 ** (decades * (nearest - each)) for each in distances], np.float32)
