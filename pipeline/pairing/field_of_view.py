"""Estimate from feature matches which part of the scene a reference shows."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

from pipeline.pairing.fit import Affine
from pipeline.pixels import Pixels, high_byte

LEAST_AGREEMENT = 0.03  # share of the picture by which estimates of several pairs may differ


def estimate_field_of_view(
    pairs: Sequence[tuple[Pixels, Pixels]], height: int, width: int
) -> Affine | None:
    """Return the map from output pixels to reference pixels, or None if plain scaling fits.

    Each pair is an LR frame and its reference. SIFT matches (Lowe 2004) yield a similarity
    transform per pair; the result is their median, if they agree. The network compensates for
    small differences.
    """
    found = []
    for lr, ref in pairs:
        estimate = _estimate_similarity(lr, ref)
        if estimate is not None:
            found.append(estimate)
    plain = _make_scaling_matrix(pairs[0][0], pairs[0][1])
    if len(found) < min(2, len(pairs)):
        return None
    middle = np.median(np.stack(found), axis=0)
    apart = np.abs(np.stack(found) - middle).max(0)
    size = [pairs[0][1].shape[1], pairs[0][1].shape[0]]
    # with a moving camera the position of a still changes in every frame: no map fits all
    if apart[:, :2].max() > 0.05 * abs(middle[0, 0]) or (apart[:, 2] / size).max() > (
        LEAST_AGREEMENT
    ):
        return None
    zoom = middle[0, 0] / plain[0, 0]
    shift = np.abs(middle[:, 2] - plain[:, 2]) / size
    stretch = abs(plain[0, 0] / plain[1, 1] - 1)
    if abs(zoom - 1) < 0.06 and shift.max() < 0.15 and stretch < 0.03:
        return None
    # from pixels of the LR frame to pixels of the output, half-pixel centres on both grids
    scale = width / pairs[0][0].shape[1]
    to_lr = np.array(
        [[1 / scale, 0, 0.5 / scale - 0.5], [0, 1 / scale, 0.5 / scale - 0.5], [0, 0, 1]]
    )
    a, b, c, d, e, f = (float(v) for v in (middle @ to_lr).ravel())
    return a, b, c, d, e, f


def _make_scaling_matrix(lr: Pixels, ref: Pixels) -> NDArray[np.float64]:
    x = ref.shape[1] / lr.shape[1]
    y = ref.shape[0] / lr.shape[0]
    return np.array([[x, 0, 0.5 * x - 0.5], [0, y, 0.5 * y - 0.5]])


def _estimate_similarity(lr: Pixels, ref: Pixels) -> NDArray[np.float64] | None:
    """Return the 2 x 3 similarity from LR to reference pixels, None if too few matches agree."""
    shrink = lr.shape[1] / ref.shape[1]
    small = cv2.resize(high_byte(ref), None, fx=shrink, fy=shrink, interpolation=cv2.INTER_AREA)
    sift = cv2.SIFT.create(nfeatures=2000, contrastThreshold=0.02)
    (points_lr, left), (points_ref, right) = (
        sift.detectAndCompute(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY), None)
        for image in (high_byte(lr), np.asarray(small, np.uint8))
    )
    if left is None or right is None or len(points_lr) < 20 or len(points_ref) < 20:
        return None
    pairs = cv2.BFMatcher().knnMatch(left, right, k=2)
    good = [p[0] for p in pairs if len(p) == 2 and p[0].distance < 0.75 * p[1].distance]
    if len(good) < 20:
        return None
    from_lr = np.array([points_lr[m.queryIdx].pt for m in good], np.float32)
    to_ref = np.array([points_ref[m.trainIdx].pt for m in good], np.float32)
    cv2.setRNGSeed(1)  # RANSAC draws from OpenCV's global generator; the plan is deterministic
    matrix, inliers = cv2.estimateAffinePartial2D(from_lr, to_ref, ransacReprojThreshold=2.0)
    if matrix is None or int(inliers.sum()) < max(20, 0.4 * len(good)):
        return None
    if abs(matrix[0, 1]) > 0.1 * abs(matrix[0, 0]):
        return None
    grow = np.array([[1 / shrink, 0, 0.5 / shrink - 0.5], [0, 1 / shrink, 0.5 / shrink - 0.5]])
    return np.asarray(grow @ np.vstack((matrix, [0, 0, 1])), dtype=np.float64)
