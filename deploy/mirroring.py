"""Average a network's results for four mirrored versions of its input (self-ensemble).

The network's errors depend on the orientation of a picture, so the mean of the four results is
better than any of them (Lim et al., "Enhanced Deep Residual Networks", 2017).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

import numpy as np

from crossnetpp.networks.taps import Taps
from deploy.protocol import Engine, Pixels, Weights, run_engine

_Axes = tuple[bool, bool]  # whether to mirror vertically, and whether to mirror horizontally
_MIRRORED: tuple[_Axes, ...] = ((False, False), (False, True), (True, False), (True, True))
ORIENTATIONS = len(_MIRRORED)


def enhance_mirrored(
    engine: Engine,
    lr: Pixels,
    refs: Sequence[Pixels],
    weights: Weights | None,
    kernel: Taps | None,
) -> Pixels:
    """Return the mean of the engine's SR frames over all four mirrored versions of a batch.

    `lr` (M x h x w x 3), the references (M x H x W x 3) and `kernel` are mirrored vertically,
    horizontally, both and neither, and the results are mirrored back.
    """
    total = np.zeros(refs[0].shape, np.float32)
    for axes in _MIRRORED:
        mirrored = [_mirror(ref, axes) for ref in refs]
        sr = run_engine(engine, _mirror(lr, axes), mirrored, weights, _mirror_kernel(kernel, axes))
        total += _mirror(sr, axes)
    return cast(Pixels, np.rint(total / ORIENTATIONS).astype(lr.dtype))


def _mirror(frames: Pixels, axes: _Axes) -> Pixels:
    """Return frames (M x H x W x 3), mirrored along the `axes`."""
    rows, columns = (slice(None, None, -1 if is_mirrored else 1) for is_mirrored in axes)
    return cast(Pixels, np.ascontiguousarray(frames[:, rows, columns]))


def _mirror_kernel(kernel: Taps | None, axes: _Axes) -> Taps | None:
    """Return the kernel that reduces the mirrored HR frame to the mirrored LR frame."""
    if kernel is None:
        return None
    mirrored = kernel.copy()
    for axis, is_mirrored in enumerate(axes):
        if is_mirrored:
            mirrored[:, axis] = kernel[:, axis, ::-1]
    return mirrored
