"""Plain bicubic up-sampling: the baseline for quality figures, and a fast engine for tests."""

from __future__ import annotations

import cv2
import numpy as np

from crossnetpp.networks.taps import Taps
from deploy.protocol import EngineInfo, Pixels, Weights, find_scale


class BicubicEngine:
    """An engine that up-samples LR frames and uses references only for their size."""

    def __init__(self, *, threads: int | None = None, reason: str = "requested") -> None:
        if threads is not None:
            cv2.setNumThreads(threads)
        self.info = EngineInfo(
            name="bicubic",
            device="cpu",
            model="none",
            precision="integer",
            multiple=1,
            bytes_per_pixel=6,
            reason=reason,
            borrows=False,
            context=32,
        )

    def enhance(
        self,
        lr: Pixels,
        *refs: Pixels,
        weights: Weights | None = None,
        kernel: Taps | None = None,
    ) -> Pixels:
        """Return `lr` up-sampled to the references' size by OpenCV's INTER_CUBIC (a = -0.75)."""
        find_scale(lr, *refs)
        sr = np.empty_like(refs[0])
        size = (sr.shape[2], sr.shape[1])
        for frame, out in zip(lr, sr, strict=True):
            cv2.resize(frame, size, dst=out, interpolation=cv2.INTER_CUBIC)
        return sr
