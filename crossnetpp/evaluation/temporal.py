"""Temporal consistency: does what is seen at a place stay what it was a frame before?

Warping error of Lai et al. 2018 (Learning Blind Video Temporal Consistency), mean absolute instead
of squared. The flow is that of the ground truth, so methods are held to the same motion.
"""

from __future__ import annotations

from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from crossnetpp.evaluation.optical_flow import Flow, dis_flow, sample
from crossnetpp.evaluation.scenes import Picture, as_image


class Motion(NamedTuple):
    """From the frame before to a frame."""

    flow: Flow
    """before(x + flow(x)) = now(x)."""
    seen: NDArray[np.bool_]
    """H x W: the place is seen in both frames."""


def motion(before: Picture, now: Picture) -> Motion:
    """Return the motion between two true frames.

    A place counts as occluded where the flows there and back do not cancel, or where it leaves the
    picture (Sundaram et al. 2010).
    """
    first, second = as_image(before), as_image(now)
    back, forth = dis_flow(second, first), dis_flow(first, second)
    forth_there = sample(forth, back, cv2.INTER_LINEAR)
    left = np.square(back + forth_there).sum(axis=2)
    size = np.square(back).sum(axis=2) + np.square(forth_there).sum(axis=2)
    height, width = left.shape
    y, x = np.mgrid[:height, :width].astype(np.float32)
    at_x, at_y = x + back[..., 0], y + back[..., 1]
    inside = (at_x >= 0) & (at_x <= width - 1) & (at_y >= 0) & (at_y <= height - 1)
    return Motion(back, inside & (left < 0.01 * size + 0.5))


def warping_error(before: Picture, now: Picture, moved: Motion) -> float:
    """Return the mean absolute difference in 8-bit levels over the places seen in both frames."""
    warped = sample(before.astype(np.float32), moved.flow)
    return float(np.abs(warped - now)[moved.seen].mean(dtype=np.float64))
