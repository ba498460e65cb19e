"""Quality without ground truth: three figures that need only what went in and what came out.

None of them replaces a ground truth. `docs/quality.md` says what each can and cannot tell.
"""

from __future__ import annotations

from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from crossnetpp.data.degradation import degrade
from crossnetpp.evaluation.optical_flow import warp_image
from crossnetpp.evaluation.temporal import Motion, estimate_motion, measure_warping_error
from crossnetpp.metrics import psnr
from pipeline.pixels import Picture

"""H x W x 3 RGB."""
LEAST_DETAIL = 0.5
"""Standard deviation, 8-bit levels, below which a picture has no detail to agree about."""


def measure_consistency(result: Picture, lr: Picture, scale: int) -> float:
    """Return the PSNR in dB of `result`, reduced `scale` times as `degrade` does, against `lr`.

    Low values: the result shows something else than the input. Blurred ones can score high.
    """
    again = degrade(result, scale)
    return psnr(_unit(again), _unit(lr))


def measure_borrowing(result: Picture, bicubic: Picture) -> NDArray[np.float32]:
    """Return H x W: how far `result` is from plain up-sampling, 8-bit levels, mean of RGB."""
    away = np.abs(result.astype(np.float32) - bicubic.astype(np.float32))
    return np.asarray(away.mean(axis=2), np.float32)


class WarpedReference(NamedTuple):
    """A reference on its way onto a frame."""

    reference: NDArray[np.float32]
    """H x W x 3, moved by optical flow, 8-bit levels."""
    seen: NDArray[np.bool_]
    """H x W: the place is seen in both."""


def warp_reference(reference: Picture, bicubic: Picture) -> WarpedReference:
    """Move `reference` onto the frame whose plain up-sampling is `bicubic`.

    The flow is found between these two, so the network's own alignment does not judge itself.
    """
    # motion(before, now): where each place of `now` was in `before`
    found = estimate_motion(reference, bicubic)
    return WarpedReference(warp_image(reference.astype(np.float32), found.flow), found.seen)


def measure_agreement(picture: Picture, moved: WarpedReference) -> float | None:
    """Return how alike the fine detail of `picture` and of the moved reference is, -1..1.

    Fine detail is what a Gaussian blur of 2 pixels takes away; the figure is its correlation over
    places seen in both. None where there are none, or no detail.
    """
    images = (picture.astype(np.float32), moved.reference)
    ours, theirs = (_detail(image)[moved.seen] for image in images)
    if ours.size == 0 or min(float(ours.std()), float(theirs.std())) < LEAST_DETAIL:
        return None
    return float(np.corrcoef(ours.ravel(), theirs.ravel())[0, 1])


def estimate_input_motion(bicubic_before: Picture, bicubic_now: Picture) -> Motion:
    """Return the motion between two frames as the input shows it: no result judges itself."""
    return estimate_motion(bicubic_before, bicubic_now)


def measure_temporal_error(before: Picture, now: Picture, moved: Motion) -> float:
    """Return the mean difference, 8-bit levels, of a frame and the moved one before it.

    Lower is calmer. It counts flicker, and also every detail that the flow misses: compare it with
    that of plain up-sampling, which has no detail to lose.
    """
    return measure_warping_error(before, now, moved)


def _detail(image: NDArray[np.float32]) -> NDArray[np.float32]:
    grey = np.asarray(image.mean(axis=2), np.float32)
    return np.asarray(grey - cv2.GaussianBlur(grey, (0, 0), 2.0), np.float32)


def _unit(picture: Picture) -> NDArray[np.float32]:
    return picture.astype(np.float32) / np.float32(255)
