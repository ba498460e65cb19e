"""Keep of the borrowed detail what the LR frame confirms, if that frame is faithful.

True detail explains how the LR frame differs from the plainly up-sampled one after reduction; the
detail of something else does not. The share that explains it best, by least squares in small
windows, is what remains. The noise of a codec hides such evidence, so only faithful recordings are
treated.
"""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from crossnetpp.capture.variants import LEAST_FAITHFUL
from crossnetpp.networks.taps import Taps, make_bicubic_taps
from pipeline.pairing.upsample import upsample
from pipeline.pixels import Pixels, as_pixels
from pipeline.schema.plan import Plan

LOSSLESS_CODECS = frozenset(
    {"ffv1", "ffvhuff", "huffyuv", "magicyuv", "png", "rawvideo", "tiff", "utvideo", "v210"}
)
# Mean squared error in 8-bit levels of a lossless LR frame, if nothing was measured: most of it
# stands for a kernel that is not the bicubic one.
UNMEASURED_ERROR = 1.0
# The same for other codecs at x2, where an unrelated reference harms most. On two clips at crf 20,
# this takes 0.1 of the 1 dB that a true one gains (not recorded); at x4 it would take 1 dB.
UNMEASURED_CODEC_ERROR = 4.0
_WINDOW = (9, 9)  # LR pixels
_LUMA = (0.299, 0.587, 0.114)

Plane = NDArray[np.float32]


def find_lr_error(plan: Plan) -> float | None:
    """Return the mean squared error of the input's luma against reduced HR, in 8-bit levels.

    Return None if the input may be so noisy or compressed that it confirms no detail.
    """
    fits = None if plan.capture is None else plan.capture.fits_db
    if fits is None:
        if plan.input.codec in LOSSLESS_CODECS:
            return UNMEASURED_ERROR
        return UNMEASURED_CODEC_ERROR if plan.scale == 2 else None
    return float(255**2 * 10 ** (-fits / 10)) if fits >= LEAST_FAITHFUL else None


def keep_confirmed(sr: Pixels, lr: Pixels, kernel: Taps | None, error: float) -> Pixels:
    """Return `sr` (H x W) with the share of its detail that `lr` (h x w) confirms.

    Both are uint8 or uint16 RGB, `kernel` reduces the one to the other (None: bicubic), and `error`
    is the mean squared error of LR luma in 8-bit levels, below which differences mean nothing.
    """
    scale = sr.shape[0] // lr.shape[0]
    taps = make_bicubic_taps(scale) if kernel is None else kernel
    level = float(np.iinfo(sr.dtype).max) / 255

    plain = upsample(lr, *sr.shape[:2])
    reduced_plain = reduce_plane(_to_luma(plain, level), scale, taps)
    reduced_detail = reduce_plane(_to_luma(sr, level), scale, taps) - reduced_plain
    missing = _to_luma(lr, level) - reduced_plain

    confirmed = cv2.blur(reduced_detail * missing, _WINDOW) + error
    borrowed = cv2.blur(reduced_detail * reduced_detail, _WINDOW) + error
    share = np.clip(confirmed / borrowed, 0, 1).astype(np.float32)
    if share.min() == 1:
        return sr

    large = cv2.resize(share, sr.shape[1::-1], interpolation=cv2.INTER_LINEAR)[..., None]
    detail = sr.astype(np.float32) - plain
    top = np.iinfo(sr.dtype).max
    return as_pixels(np.clip(np.rint(plain + detail * large), 0, top).astype(sr.dtype))


def reduce_plane(plane: Plane, scale: int, taps: Taps) -> Plane:
    """Return `plane` (H x W) reduced `scale` times by `taps`, with its border repeated."""
    before = 3 * scale // 2  # taps left of, or above, the first pixel that an LR pixel covers
    reduced = np.zeros((plane.shape[0] // scale, plane.shape[1] // scale), np.float32)
    border = cv2.BORDER_REPLICATE
    for rows, columns in taps:
        if not rows.any():
            continue
        low = cv2.filter2D(plane, -1, rows[:, None], anchor=(0, before), borderType=border)
        low = np.ascontiguousarray(low[::scale])
        low = cv2.filter2D(low, -1, columns[None], anchor=(before, 0), borderType=border)
        reduced += low[:, ::scale]
    return reduced


def _to_luma(frame: Pixels, level: float) -> Plane:
    """Return the luma of an RGB frame in 8-bit levels, not rounded."""
    weights = np.array([_LUMA], np.float32) / np.float32(level)
    return np.asarray(cv2.transform(frame.astype(np.float32), weights), np.float32)
