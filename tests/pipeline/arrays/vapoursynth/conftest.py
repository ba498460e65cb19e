"""VapourSynth itself, and clips in its memory."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest

from tests.pipeline.arrays.conftest import RATE
from tests.support.build_vapoursynth import import_vapoursynth

MakeClip = Callable[[Sequence[np.ndarray]], Any]


@pytest.fixture(scope="session")
def vs() -> Any:
    return import_vapoursynth()


@pytest.fixture(scope="session")
def make_clip(vs: Any) -> MakeClip:
    """Return a function that makes an RGB24 clip of pictures (H x W x 3) with their numbers."""

    def make(pictures: Sequence[np.ndarray]) -> Any:
        def fill(n: int, f: Any) -> Any:
            frame = f.copy()
            for plane in range(3):
                np.copyto(np.asarray(frame[plane]), pictures[n][..., plane])
            frame.props["Number"] = n
            return frame

        height, width = pictures[0].shape[:2]
        blank = vs.core.std.BlankClip(
            width=width, height=height, format=vs.RGB24, length=len(pictures), fpsnum=RATE, fpsden=1
        )
        return vs.core.std.ModifyFrame(blank, blank, fill)

    return make


def read_frame(frame: Any) -> np.ndarray:
    """Return an RGB frame as H x W x 3."""
    return np.stack([np.asarray(frame[plane]) for plane in range(3)], axis=2)
