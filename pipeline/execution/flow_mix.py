"""Mix the network's frames with detail that optical flow borrows from the same references."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from crossnetpp.networks.taps import Taps
from pipeline.pixels import Pixels, as_pixels
from pipeline.schema.clip import Recording

# Suffixes of pictures whose chroma is usually subsampled.
_SUBSAMPLED = ("jpg", "jpeg", "webp", "heic", "heif", "hif", "avif")


def has_coarse_chroma(lr: Recording) -> bool:
    """Return whether a recording's chroma is subsampled, or usually subsampled in its format."""
    return lr.colour.chroma != "" or lr.codec in _SUBSAMPLED


def mix_frame(
    sr: Pixels,
    lr: Pixels,
    refs: Sequence[Pixels],
    weights: NDArray[np.float32],
    kernel: Taps | None,
    *,
    luma_only: bool,
    again: bool,
) -> Pixels:
    """Return an SR frame (H x W x 3) mixed with optical flow's result for each reference.

    `lr` is h x w x 3, and each of the K `refs` is H x W x 3; all frames are uint8 or uint16 RGB.
    `weights` contains the references' K prior weights. `kernel` reduces SR to LR; None means the
    bicubic kernel. With `luma_only`, the colour of `sr` is kept. With `again`, the flow is
    estimated a second time, from the mix.
    """
    from crossnetpp.classical.mix import mix_with_flow  # imports torch

    top = np.float32(np.iinfo(sr.dtype).max)
    images = [np.asarray(frame / top, np.float32) for frame in (sr, lr, *refs)]
    mixed = mix_with_flow(
        *(images[0], images[1], images[2:], weights, kernel), luma_only=luma_only, again=again
    )
    return as_pixels(np.rint(np.clip(mixed, 0, 1) * top).astype(sr.dtype))
