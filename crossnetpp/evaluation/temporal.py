"""Temporal consistency: how much the appearance of a point changes from frame to frame.

This is the warping error of Lai et al. 2018 (Learning Blind Video Temporal Consistency), but with
the mean absolute difference instead of the mean squared difference. The motion is not estimated
from the measured pictures but from others, such as the ground truth, so that it is the same for all
methods.
"""

from __future__ import annotations

from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from crossnetpp.classical.optical_flow import Flow, estimate_flow, warp_image
from crossnetpp.evaluation.scenes import Picture, as_image


class Motion(NamedTuple):
    """Motion from one picture (`before`) to another (`now`)."""

    flow: Flow
    """H x W x 2 pixels such that before(x + flow(x)) = now(x)."""
    seen: NDArray[np.bool_]
    """H x W, True for pixels of `now` that are visible in both pictures."""


def estimate_motion(before: Picture, now: Picture) -> Motion:
    """Return the motion between two pictures of one scene, such as successive frames.

    A pixel counts as occluded if its backward flow leads out of the picture, or if the forward flow
    does not cancel it (Sundaram et al. 2010).
    """
    first = as_image(before)
    second = as_image(now)
    backward = estimate_flow(second, first)
    forward = estimate_flow(first, second)

    # Forward-backward check
    forward_there = warp_image(forward, backward, cv2.INTER_LINEAR)
    mismatch = np.square(backward + forward_there).sum(axis=2)
    length = np.square(backward).sum(axis=2) + np.square(forward_there).sum(axis=2)
    consistent = mismatch < 0.01 * length + 0.5

    # Border check
    height, width = mismatch.shape
    y, x = np.mgrid[:height, :width].astype(np.float32)
    source_x = x + backward[..., 0]
    source_y = y + backward[..., 1]
    inside = (source_x >= 0) & (source_x <= width - 1) & (source_y >= 0) & (source_y <= height - 1)
    return Motion(backward, inside & consistent)


def measure_warping_error(before: Picture, now: Picture, motion: Motion) -> float:
    """Return the mean absolute difference between `now` and `before` warped by `motion`.

    The result is in 8-bit levels, and covers the pixels that are visible in both pictures; if there
    are none, it is NaN.
    """
    warped = warp_image(before.astype(np.float32), motion.flow)
    return float(np.abs(warped - now)[motion.seen].mean(dtype=np.float64))
