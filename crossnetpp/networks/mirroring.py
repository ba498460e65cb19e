"""Mirroring of pictures and kernels, for the mean of a network's results (self-ensemble).

A network's errors depend on the orientation of a picture, so the mean of its results for mirrored
versions is better than any of them (Lim et al., "Enhanced Deep Residual Networks", 2017).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeVar, cast

import numpy as np
from numpy.typing import NDArray

from crossnetpp.networks.taps import Taps

Axes = tuple[bool, bool]  # whether to mirror vertically, and whether to mirror horizontally
MIRRORED: tuple[Axes, ...] = ((False, False), (False, True), (True, False), (True, True))
ORIENTATIONS = len(MIRRORED)

Pictures = TypeVar("Pictures", bound=NDArray[Any])


def average_mirrored(
    enhance: Callable[[Pictures, list[Pictures], Taps | None], Pictures],
    lr: Pictures,
    references: Sequence[Pictures],
    taps: Taps | None,
) -> NDArray[np.float32]:
    """Return the mean of the results of `enhance` for all four mirrored versions of its arguments.

    `lr` and the references are H x W x 3 or N x H x W x 3, and `taps` is the kernel that reduced HR
    to LR. They are mirrored vertically, horizontally, both and neither, and the results are
    mirrored back.
    """
    total = np.zeros(references[0].shape, np.float32)
    for axes in MIRRORED:
        mirrored = [mirror_pictures(reference, axes) for reference in references]
        result = enhance(mirror_pictures(lr, axes), mirrored, mirror_taps(taps, axes))
        total += mirror_pictures(result, axes)
    return np.asarray(total / ORIENTATIONS, np.float32)


def mirror_pictures(pictures: Pictures, axes: Axes) -> Pictures:
    """Return pictures (H x W x 3 or N x H x W x 3), mirrored along the `axes`."""
    rows, columns = (slice(None, None, -1 if is_mirrored else 1) for is_mirrored in axes)
    return cast(Pictures, np.ascontiguousarray(pictures[..., rows, columns, :]))


def mirror_taps(taps: Taps | None, axes: Axes) -> Taps | None:
    """Return the kernel that reduces a mirrored HR picture to the mirrored LR picture."""
    if taps is None:
        return None
    mirrored = taps.copy()
    for axis, is_mirrored in enumerate(axes):
        if is_mirrored:
            mirrored[:, axis] = taps[:, axis, ::-1]
    return mirrored
