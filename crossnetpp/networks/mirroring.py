"""Mirroring of pictures and kernels, for the mean of a network's results (self-ensemble).

A network's errors depend on the orientation of a picture, so the mean of its results for mirrored
versions is better than any of them (Lim et al., "Enhanced Deep Residual Networks", 2017).
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from crossnetpp.networks.taps import Taps

Axes = tuple[bool, bool]  # whether to mirror vertically, and whether to mirror horizontally
MIRRORED: tuple[Axes, ...] = ((False, False), (False, True), (True, False), (True, True))
ORIENTATIONS = len(MIRRORED)


def mirror_pictures(pictures: NDArray[Any], axes: Axes) -> NDArray[Any]:
    """Return pictures (H x W x 3 or N x H x W x 3), mirrored along the `axes`."""
    rows, columns = (slice(None, None, -1 if is_mirrored else 1) for is_mirrored in axes)
    return np.ascontiguousarray(pictures[..., rows, columns, :])


def mirror_taps(taps: Taps | None, axes: Axes) -> Taps | None:
    """Return the kernel that reduces a mirrored HR picture to the mirrored LR picture."""
    if taps is None:
        return None
    mirrored = taps.copy()
    for axis, is_mirrored in enumerate(axes):
        if is_mirrored:
            mirrored[:, axis] = taps[:, axis, ::-1]
    return mirrored
