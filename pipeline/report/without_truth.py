"""Measure quality without a ground truth, from the input, the reference and the result alone.

None of the figures replaces a ground truth; `docs/quality.md` describes the limits of each.
"""

from __future__ import annotations

from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from crossnetpp.capture.moments import reduce_picture
from crossnetpp.classical.optical_flow import warp_image
from crossnetpp.data.degradation import degrade
from crossnetpp.evaluation.temporal import Motion, estimate_motion, measure_warping_error
from crossnetpp.metrics import psnr
from pipeline.pixels import Picture

LEAST_DETAIL = 0.5  # standard deviation in 8-bit levels, below which detail cannot be compared


def measure_consistency(
    result: Picture, lr: Picture, scale: int, kernel: NDArray[np.float64] | None = None
) -> float:
    """Return the PSNR in dB of `result`, downscaled again by `scale`, against `lr`.

    `kernel` (4s x 4s at scale s) is the kernel with which HR was downscaled to the input; None
    means the bicubic kernel of `degrade`. A low value means that the result shows something that
    the input does not. A high value proves little, because a blurred result can reach it, too.
    """
    again = degrade(result, scale) if kernel is None else reduce_picture(result, kernel)
    return psnr(_unit(again), _unit(lr))


def measure_borrowing(result: Picture, bicubic: Picture) -> NDArray[np.float32]:
    """Return the absolute difference between two pictures, H x W in 8-bit levels.

    The differences in red, green and blue are averaged.
    """
    away = np.abs(result.astype(np.float32) - bicubic.astype(np.float32))
    return np.asarray(away.mean(axis=2), np.float32)


class WarpedReference(NamedTuple):
    """A reference warped onto a frame with optical flow."""

    reference: NDArray[np.float32]
    """The warped reference, H x W x 3 RGB in 8-bit levels."""
    seen: NDArray[np.bool_]
    """H x W; True for pixels that are visible in both pictures."""


def warp_reference(reference: Picture, bicubic: Picture) -> WarpedReference:
    """Warp `reference` onto the frame whose bicubic up-sampling is `bicubic`.

    The flow between these two pictures is estimated independently of the network's alignment.
    """
    # the flow leads from each pixel of the frame to the matching point in the reference
    found = estimate_motion(reference, bicubic)
    return WarpedReference(warp_image(reference.astype(np.float32), found.flow), found.seen)


def measure_agreement(picture: Picture, moved: WarpedReference) -> float | None:
    """Return the correlation (-1..1) between the fine detail of `picture` and the warped reference.

    Fine detail is the mean of RGB minus its Gaussian blur with a sigma of 2 pixels. Only pixels
    that are visible in both pictures are compared. The result is None if there are no such pixels,
    or if either picture has too little detail there.
    """
    images = (picture.astype(np.float32), moved.reference)
    ours, theirs = (_detail(image)[moved.seen] for image in images)
    if ours.size == 0 or min(float(ours.std()), float(theirs.std())) < LEAST_DETAIL:
        return None
    return float(np.corrcoef(ours.ravel(), theirs.ravel())[0, 1])


def estimate_input_motion(bicubic_before: Picture, bicubic_now: Picture) -> Motion:
    """Return the motion from one frame to the next, estimated from both up-sampled frames.

    The estimate does not depend on any result, so all results are measured with the same motion.
    """
    return estimate_motion(bicubic_before, bicubic_now)


def measure_temporal_error(before: Picture, now: Picture, moved: Motion) -> float:
    """Return the mean absolute difference between a frame and the previous frame warped onto it.

    It is in 8-bit levels, over the pixels that are visible in both frames; lower is steadier. The
    error includes flicker, but also detail that the flow does not follow, so compare it with the
    error of bicubic up-sampling, which has no added detail.
    """
    return measure_warping_error(before, now, moved)


def _detail(image: NDArray[np.float32]) -> NDArray[np.float32]:
    grey = np.asarray(image.mean(axis=2), np.float32)
    return np.asarray(grey - cv2.GaussianBlur(grey, (0, 0), 2.0), np.float32)


def _unit(picture: Picture) -> NDArray[np.float32]:
    return picture.astype(np.float32) / np.float32(255)
