"""What the pictures say about input and reference: cuts, likeness, offset and field of view."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from pipeline.errors import PairingError
from pipeline.media.reader import Frame
from pipeline.pairing import Affine, Pixels

THUMBNAIL = (32, 18)
"""Width and height: 1.1 kB a frame in float16, so that hours of video fit in memory."""
CUT_WIDTH = 256
"""Width of the pictures in which scene cuts are looked for."""
LEAST_OVERLAP = 0.6
"""Mean likeness of references to the frames of the same time below which no offset is found."""
LEAST_LEAD = 0.05
"""How much more alike the best offset must be than the usual one."""


@dataclass(frozen=True)
class Look:
    """What one pass over a recording keeps."""

    pts: list[int]
    thumbnails: NDArray[np.float16]
    """N x (32 x 18), zero mean and unit length: products are normalised correlations."""
    cuts: tuple[int, ...]
    """Pts of the first frame after each scene cut."""


def thumbnail(rgb: Pixels) -> NDArray[np.float16]:
    """Return a small gray picture of H x W x 3 RGB as a vector of zero mean and unit length."""
    small = cv2.resize(_eight_bit(rgb), THUMBNAIL, interpolation=cv2.INTER_AREA)
    gray = cv2.cvtColor(small, cv2.COLOR_RGB2GRAY).astype(np.float32).ravel()
    gray -= gray.mean()
    return (gray / max(float(np.linalg.norm(gray)), 1e-6)).astype(np.float16)


def _eight_bit(rgb: Pixels) -> NDArray[np.uint8]:
    return rgb if rgb.dtype == np.uint8 else (rgb >> 8).astype(np.uint8)  # type: ignore[return-value]


def look(frames: Iterable[Frame], *, cuts: bool) -> Look:
    """Go once over `frames`: thumbnails of all, and scene cuts if `cuts`."""
    finder = _CutFinder() if cuts else None
    pts: list[int] = []
    thumbnails: list[NDArray[np.float16]] = []
    for frame in frames:
        pts.append(frame.pts)
        height, width = frame.rgb.shape[:2]
        size = (CUT_WIDTH, max(THUMBNAIL[1], round(CUT_WIDTH * height / width)))
        small = np.asarray(
            cv2.resize(_eight_bit(frame.rgb), size, interpolation=cv2.INTER_AREA), np.uint8
        )
        thumbnails.append(thumbnail(small))
        if finder is not None:
            finder.add(small)
    found = [pts[number] for number in finder.cuts()] if finder is not None else []
    stacked = np.stack(thumbnails) if thumbnails else np.zeros((0, 576), np.float16)
    return Look(pts, stacked, tuple(found))


class _CutFinder:
    """PySceneDetect's adaptive detector on pictures we decode ourselves, so that pts stay exact.

    It compares each change with the changes around it: steady camera motion is not a cut.
    """

    def __init__(self) -> None:
        from scenedetect import FrameTimecode
        from scenedetect.detectors import AdaptiveDetector

        # Frames are counted, not timed; the rate only makes the library's time codes valid.
        self._timecode = FrameTimecode
        self._detector = AdaptiveDetector(min_scene_len=2)
        self._frames = 0
        self._found: list[int] = []

    def add(self, rgb: NDArray[np.uint8]) -> None:
        at = self._timecode(self._frames, fps=30.0)
        bgr = cv2.cvtColor(rgb, cv2.COLOR_RGB2BGR)
        self._found += [int(cut.frame_num) for cut in self._detector.process_frame(at, bgr)]
        self._frames += 1

    def cuts(self) -> list[int]:
        end = self._timecode(max(self._frames - 1, 0), fps=30.0)
        self._found += [int(cut.frame_num) for cut in self._detector.post_process(end)]
        return sorted({number for number in self._found if 0 < number < self._frames})


def likeness(left: NDArray[np.float16], right: NDArray[np.float16]) -> NDArray[np.float32]:
    """Return the N x M normalised correlations of thumbnails (N x 576 and M x 576)."""
    return np.asarray(left.astype(np.float32) @ right.astype(np.float32).T)


def estimate_offset(
    lr: NDArray[np.float16],
    lr_seconds: Sequence[float],
    ref: NDArray[np.float16],
    ref_seconds: Sequence[float],
) -> tuple[float, float]:
    """Return (offset, drift): input time = drift x reference time + offset, in seconds.

    Every offset on the LR frame grid is rated by how alike the references are to the LR frames
    they would fall on; drift comes from the first and the last third on their own. Raises
    PairingError when no offset stands out.
    """
    picked = np.unique(np.linspace(0, len(ref_seconds) - 1, min(240, len(ref_seconds))).astype(int))
    table = likeness(ref[picked], lr)
    times, at = np.asarray(lr_seconds), np.asarray(ref_seconds)[picked]
    step = float(np.median(np.diff(times))) if len(times) > 1 else 1.0
    offsets = np.arange(times[0] - at[-1], times[-1] - at[0] + step / 2, step)
    ratings = np.array([_rate(table, times, at, offset, step) for offset in offsets])
    best = int(np.nanargmax(ratings)) if np.isfinite(ratings).any() else 0
    usual = float(np.nanmedian(ratings)) if np.isfinite(ratings).any() else 0.0
    if not np.isfinite(ratings).any() or not (
        ratings[best] >= LEAST_OVERLAP and ratings[best] >= usual + LEAST_LEAD
    ):
        raise PairingError(
            f"found no overlap between input and reference (best likeness "
            f"{np.nanmax(ratings, initial=-1.0):.2f}, expected {LEAST_OVERLAP}); "
            "give --ref-offset SECONDS, or another reference"
        )
    offset = float(offsets[best])
    third = len(at) // 3
    if third < 4 or at[-1] - at[0] < 20:
        return offset, 1.0
    near = offset + np.arange(-1.0, 1.0 + step / 2, step / 2)
    parts = []
    for part in (slice(0, third), slice(len(at) - third, len(at))):
        rated = [_rate(table[part], times, at[part], o, step) for o in near]
        if np.isfinite(rated).any():
            parts.append((float(at[part].mean()), float(near[int(np.nanargmax(rated))])))
    if len(parts) < 2 or abs(parts[1][1] - parts[0][1]) < 2 * step:
        return offset, 1.0
    slope = (parts[1][1] - parts[0][1]) / (parts[1][0] - parts[0][0])
    return parts[0][1] - slope * parts[0][0], 1.0 + slope


def _rate(
    table: NDArray[np.float32],
    times: NDArray[np.float64],
    at: NDArray[np.float64],
    offset: float,
    step: float,
) -> float:
    """Return the mean likeness at `offset`, NaN when fewer than half the references fall inside."""
    moved = at + offset
    inside = (moved > times[0] - step / 2) & (moved < times[-1] + step / 2)
    if inside.sum() < max(2, len(at) // 2):
        return float("nan")
    after = np.clip(np.searchsorted(times, moved[inside]), 1, len(times) - 1)
    nearest = np.where(
        moved[inside] - times[after - 1] < times[after] - moved[inside], after - 1, after
    )
    return float(table[inside, nearest].mean())


def estimate_field_of_view(
    pairs: Sequence[tuple[Pixels, Pixels]], height: int, width: int
) -> Affine | None:
    """Return the map from output pixels to reference pixels, or None if plain scaling fits.

    `pairs` are an LR frame and its reference each; SIFT matches between them (Lowe 2004) give a
    similarity per pair, and the median of those that agree is taken. Small differences are left to
    the network.
    """
    found = []
    for lr, ref in pairs:
        estimate = _similarity(lr, ref)
        if estimate is not None:
            found.append(estimate)
    plain = _plain(pairs[0][0], pairs[0][1])
    if not found:
        return None
    middle = np.median(np.stack(found), axis=0)
    if np.abs(np.stack(found)[:, :, :2] - middle[:, :2]).max() > 0.05 * abs(middle[0, 0]):
        return None
    zoom = middle[0, 0] / plain[0, 0]
    shift = np.abs(middle[:, 2] - plain[:, 2]) / [pairs[0][1].shape[1], pairs[0][1].shape[0]]
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


def _plain(lr: Pixels, ref: Pixels) -> NDArray[np.float64]:
    x, y = ref.shape[1] / lr.shape[1], ref.shape[0] / lr.shape[0]
    return np.array([[x, 0, 0.5 * x - 0.5], [0, y, 0.5 * y - 0.5]])


def _similarity(lr: Pixels, ref: Pixels) -> NDArray[np.float64] | None:
    """Return the 2 x 3 similarity from LR pixels to reference pixels, None if it is not sure."""
    shrink = lr.shape[1] / ref.shape[1]
    small = cv2.resize(_eight_bit(ref), None, fx=shrink, fy=shrink, interpolation=cv2.INTER_AREA)
    sift = cv2.SIFT.create(nfeatures=2000, contrastThreshold=0.02)
    (points_lr, left), (points_ref, right) = (
        sift.detectAndCompute(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY), None)
        for image in (_eight_bit(lr), np.asarray(small, np.uint8))
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
