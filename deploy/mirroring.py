"""Average an engine's results for four mirrored versions of its input, for `--effort best`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

import numpy as np

from crossnetpp.networks.mirroring import average_mirrored
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

    `lr` is M x h x w x 3, and every reference is M x H x W x 3. `weights` and `kernel` are as for
    `Engine.enhance`.
    """

    def enhance(lr: Pixels, refs: list[Pixels], taps: Taps | None) -> Pixels:
        return run_engine(engine, lr, refs, weights, taps)

    mean = average_mirrored(enhance, lr, refs, kernel)
    return cast(Pixels, np.rint(mean).astype(lr.dtype))
