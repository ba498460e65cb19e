"""Restore compressed LR frames at the instants of key frames.

At these instants, the LR frame is known without the codec's errors: it is the key frame, downscaled
with the camera's kernel. The network then reproduces the key frame as sharply as from a lossless
input.
"""

from __future__ import annotations

import cv2
import numpy as np

from crossnetpp.capture.moments import get_luma, reduce_picture
from crossnetpp.networks.taps import Taps, join_taps, make_bicubic_taps
from pipeline.pixels import Pixels, as_pixels

# Largest mean squared error of a frame that is restored, in multiples of the usual error. In the
# bundled clip at crf 20 to 34, it was below 2 at key frames, and above 9 half a second later.
MOST_OF_FRAME = 4.0

# The same for a window. It is larger because it includes the colour channels, which 4:2:0 damages
# most. Above this value, a window is restored only partly; at twice this value, not at all.
MOST_OF_WINDOW = 8.0
_WINDOW = (9, 9)  # LR pixels


def restore_frame(lr: Pixels, key: Pixels, kernel: Taps | None, fits_db: float) -> Pixels:
    """Return an LR frame (h x w x 3), replaced by the downscaled key frame where the two agree.

    `key` is H x W x 3 and shows the same instant; both are uint8 or uint16 RGB of the same type.
    `kernel` reduces HR to LR; None means bicubic. `fits_db` is the PSNR of the input's luma against
    downscaled key frames. A window, or the whole frame, that differs far more than this is left
    unchanged, because the key frame shows something else there.
    """
    scale = key.shape[0] // lr.shape[0]
    weights = join_taps(make_bicubic_taps(scale) if kernel is None else kernel)
    small = reduce_picture(key, weights)
    top = np.iinfo(lr.dtype).max

    usual = np.float32(10 ** (-fits_db / 10))
    if np.square(get_luma(small) - get_luma(lr)).mean() > MOST_OF_FRAME * usual:
        return lr

    change = (small.astype(np.float32) - lr) / np.float32(top)
    error = cv2.blur(np.square(change).mean(axis=2), _WINDOW)
    share = np.clip(2 - error / (np.float32(MOST_OF_WINDOW) * usual), 0, 1)[..., None]
    restored = np.rint(lr + np.float32(top) * share * change)
    return as_pixels(restored.astype(lr.dtype))
