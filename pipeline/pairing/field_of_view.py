"""Estimate from feature matches how a reference's field of view differs from the input's."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from contextlib import closing, suppress

import cv2
import numpy as np
from numpy.typing import NDArray

from pipeline.errors import StageError
from pipeline.pairing.fit import Affine
from pipeline.pairing.geometry import (
    has_same_aspect,
    make_inscribed_map,
    make_scaling_map,
    swap_size,
    turn_map,
    turn_picture,
)
from pipeline.pairing.noise import find_excess_noise, find_step, measure_noise
from pipeline.pixels import Pixels, high_byte
from pipeline.recording import open_frames
from pipeline.schema.clip import LightField, Recording
from pipeline.schema.reference_map import ReferenceChoice

COMPARED_PAIRS = 3  # frames that are compared with their references
LEAST_ZOOM = 0.1  # minimum share of a reference's width that the whole input may occupy
# Maximum deviation of a pair's shift from the median shift, as a share of the reference's size.
MOST_DEVIATION = 0.03


def list_pairs(choices: Iterable[ReferenceChoice]) -> list[tuple[int, int]]:
    """Return (frame pts, reference pts) for each choice that has a reference."""
    return [(choice.pts, choice.ref_pts) for choice in choices if choice.ref_pts is not None]


def choose_map(
    lr: Recording,
    ref: Recording,
    pairs: Sequence[tuple[int, int]],
    size: tuple[int, int],
    *,
    turns: int = 0,
) -> tuple[Affine | None, list[str]]:
    """Return the map from network pixels to stored reference pixels, and notes for the user.

    The map is None if the reference only needs scaling. `pairs` lists the pts of each frame to
    compare and of its reference; if it is empty, only the proportions of the recordings are
    compared. `size` is the height and width of the network's frames. The reference is rotated
    counter-clockwise by `turns` quarter turns to match the input.
    """
    height, width = swap_size(ref, turns)
    pictures = [
        (small, turn_picture(large, turns))
        for small, large in (read_pairs(lr, ref, pairs).values() if pairs else ())
    ]
    affine = estimate_field_of_view(pictures, *size) if pictures else None
    notes = []
    if affine is not None:
        notes.append("the reference has a different field of view and is warped onto the output")
    elif not has_same_aspect(lr, ref, turns):
        affine = make_inscribed_map(lr, ref, turns, size)
        shown = "views" if isinstance(lr, LightField) else "input"
        notes.append(
            f"the reference ({width}x{height}) has different proportions from the {shown}; "
            "its middle is assumed to show the same scene"
        )
    elif (height, width) != size:
        effect = ", which changes the given views" if isinstance(lr, LightField) else ""
        notes.append(
            f"the reference is scaled from {width}x{height} to {size[1]}x{size[0]}{effect}"
        )

    if turns:
        notes.append(f"the reference is rotated by {90 * turns} degrees to match the stored input")
        affine = turn_map(affine or make_scaling_map(size, (height, width)), ref, turns)
    return affine, notes + _describe_noise(pictures, affine, size)


def _describe_noise(
    pictures: Sequence[tuple[Pixels, Pixels]], affine: Affine | None, size: tuple[int, int]
) -> list[str]:
    """Return a list of one note about reference noise that the input does not show, or []."""
    found = [
        find_excess_noise(
            measure_noise(ref, find_step(affine, ref.shape[0], size[0])), lr, size[0] // lr.shape[0]
        )
        for lr, ref in pictures
    ]
    worst = max((noise.coarse for noise in found if noise is not None), default=None)
    if worst is None:
        return []
    return [
        f"the reference has about {worst:.0f} levels of noise that the input does not show; the "
        "noise is removed from the borrowed detail"
    ]


def read_pairs(
    lr: Recording, ref: Recording, pairs: Sequence[tuple[int, int]]
) -> dict[tuple[int, int], tuple[Pixels, Pixels]]:
    """Map each pair of pts to its LR picture and reference picture, H x W x 3 RGB each.

    Pairs in which a picture is corrupt are left out.
    """
    # read one recording after the other, because the index of a long recording needs much memory
    small = _read_frames(lr, [pts for pts, _ in pairs])
    large = _read_frames(ref, [pts for _, pts in pairs])
    return {(a, b): (small[a], large[b]) for a, b in pairs if a in small and b in large}


def _read_frames(recording: Recording, wanted: Sequence[int]) -> dict[int, Pixels]:
    """Map the pts of each wanted frame to its picture; corrupt frames are left out."""
    found = {}
    with closing(open_frames(recording, apart=True)) as reader:
        for pts in wanted:
            # the run itself reports or conceals corrupt frames
            with suppress(StageError):
                found[pts] = reader.get(pts)
    return found


def estimate_field_of_view(
    pairs: Sequence[tuple[Pixels, Pixels]], height: int, width: int
) -> Affine | None:
    """Return the map from network pixels to reference pixels, or None for plain scaling.

    Each pair is an LR frame and its reference; `height` and `width` are the size of the network's
    frames. SIFT matches (Lowe 2004) yield a similarity transform per pair. The result is the median
    of these transforms. It is None if too few are found, if they disagree, or if the median is so
    close to plain scaling that the network can compensate for the difference.
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
    # if the camera moves, a still matches a different part of every frame, so no one map fits all
    if apart[:, :2].max() > 0.05 * abs(middle[0, 0]) or (apart[:, 2] / size).max() > (
        MOST_DEVIATION
    ):
        return None
    zoom = middle[0, 0] / plain[0, 0]
    shift = np.abs(middle[:, 2] - plain[:, 2]) / size
    stretch = abs(plain[0, 0] / plain[1, 1] - 1)
    if abs(zoom - 1) < 0.06 and shift.max() < 0.15 and stretch < 0.03:
        return None
    # from network pixels to LR pixels, with half-pixel centres on both grids
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
    """Return the 2 x 3 similarity transform from LR to reference pixels.

    The result is None if no plausible transform is found.
    """
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
    cv2.setRNGSeed(1)  # RANSAC uses OpenCV's global generator, but plans must be deterministic
    matrix, inliers = cv2.estimateAffinePartial2D(from_lr, to_ref, ransacReprojThreshold=2.0)
    if matrix is None or int(inliers.sum()) < max(20, 0.4 * len(good)):
        return None
    # if many points match a single one, they agree on a map that shrinks everything to that point
    if abs(matrix[0, 0]) < LEAST_ZOOM or abs(matrix[0, 1]) > 0.1 * abs(matrix[0, 0]):
        return None
    grow = np.array([[1 / shrink, 0, 0.5 / shrink - 0.5], [0, 1 / shrink, 0.5 / shrink - 0.5]])
    return np.asarray(grow @ np.vstack((matrix, [0, 0, 1])), dtype=np.float64)
