"""Keep the part of the borrowed detail that the LR frame confirms.

If an LR frame is up-sampled bicubically and reduced again, the result differs from the LR frame.
True detail, reduced in the same way, explains this difference; detail of something else does not.
In each small window, the share of the detail that explains the difference best (by least squares)
is kept. Codec noise hides such evidence. All detail is therefore kept if the recording was found to
be noisy or compressed and, at x4 and x8, also if nothing could be measured.
"""

from __future__ import annotations

import cv2
import numpy as np

from crossnetpp.capture.moments import Plane, get_luma, reduce_plane
from crossnetpp.capture.variants import LEAST_FAITHFUL
from crossnetpp.networks.taps import Taps, join_taps, make_bicubic_taps
from pipeline.pairing.upsample import upsample
from pipeline.pixels import Pixels, as_pixels
from pipeline.schema.plan import Plan

# Mean squared error of LR luma, in squared 8-bit levels, that is assumed at x2 if nothing was
# measured. An unrelated reference does the most harm at x2. At x4 and x8, assuming so small an
# error would remove too much true detail from compressed recordings.
UNMEASURED_ERROR = 1.0
_WINDOW = (9, 9)  # LR pixels


def find_lr_error(plan: Plan) -> float | None:
    """Return the mean squared luma error of LR frames against reduced HR, in squared 8-bit levels.

    If nothing was measured, the result is UNMEASURED_ERROR at x2, and None at x4 and x8. It is also
    None if the input is too noisy or compressed to confirm detail.
    """
    fits = None if plan.capture is None else plan.capture.fits_db
    if fits is None:
        return UNMEASURED_ERROR if plan.scale == 2 else None
    return float(255**2 * 10 ** (-fits / 10)) if fits >= LEAST_FAITHFUL else None


def keep_confirmed(sr: Pixels, lr: Pixels, kernel: Taps | None, error: float) -> Pixels:
    """Return `sr` (H x W) with the share of its detail that `lr` (h x w) confirms.

    Both are uint8 or uint16 RGB. `kernel` reduces SR to LR; None means the bicubic kernel. `error`
    is the mean squared error of LR luma in squared 8-bit levels; differences below it have little
    effect.
    """
    scale = sr.shape[0] // lr.shape[0]
    weights = join_taps(make_bicubic_taps(scale) if kernel is None else kernel)

    plain = upsample(lr, *sr.shape[:2])
    reduced_plain = reduce_plane(_round_luma(plain), weights)
    reduced_detail = reduce_plane(_round_luma(sr), weights) - reduced_plain
    missing = 255 * get_luma(lr) - reduced_plain

    confirmed = cv2.blur(reduced_detail * missing, _WINDOW) + error
    borrowed = cv2.blur(reduced_detail * reduced_detail, _WINDOW) + error
    share = np.clip(confirmed / borrowed, 0, 1).astype(np.float32)
    if share.min() == 1:
        return sr
    large = cv2.resize(share, sr.shape[1::-1], interpolation=cv2.INTER_LINEAR)
    return _mix(sr, plain, np.asarray(large, np.float32))


def _round_luma(frame: Pixels) -> Plane:
    """Return the luma (H x W) of a frame in 8-bit levels, rounded at the frame's own bit depth.

    This is the fastest way to compute the luma of a large frame, and the rounding errors average
    out when the luma is reduced.
    """
    gray = cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY).astype(np.float32)
    return np.asarray(gray * np.float32(255 / np.iinfo(frame.dtype).max), np.float32)


def _mix(sr: Pixels, plain: Pixels, share: Plane) -> Pixels:
    """Return the weighted mean of two frames; `share` (H x W, 0 to 1) is the weight of `sr`."""
    if sr.dtype == np.uint8:
        return as_pixels(cv2.blendLinear(sr, plain, share, 1 - share))
    detail = sr.astype(np.float32) - plain
    top = np.iinfo(sr.dtype).max
    mixed = np.clip(np.rint(plain + detail * share[..., None]), 0, top)
    return as_pixels(mixed.astype(sr.dtype))
