"""Average an engine's results for four mirrored versions of its input, for `--effort best`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

import numpy as np

from crossnetpp.networks.mirroring import MIRRORED, ORIENTATIONS, mirror_pictures, mirror_taps
from crossnetpp.networks.taps import Taps
from deploy.protocol import Engine, Pixels, Weights, run_engine


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
    for axes in MIRRORED:
        mirrored = [mirror_pictures(ref, axes) for ref in refs]
        taps = mirror_taps(kernel, axes)
        sr = run_engine(engine, mirror_pictures(lr, axes), mirrored, weights, taps)
        total += mirror_pictures(sr, axes)
    return cast(Pixels, np.rint(total / ORIENTATIONS).astype(lr.dtype))
