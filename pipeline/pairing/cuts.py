"""What the pictures say about input and reference: cuts, likeness and field of view."""

from __future__ import annotations

from array import array
from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from pipeline.media.read.frames import Frame
from pipeline.pairing.fit import Affine, Pixels
from pipeline.pairing.thumbnails import THUMBNAIL, Thumbnails, eight_bit, likeness, thumbnail

CUT_WIDTH = 256
"""Width of the pictures in which scene cuts are looked for."""
SAME_SHOT = 0.9
"""Likeness of the frames around a supposed cut above which it was a flash or a frozen picture."""
LEAST_CHANGE = 0.3
SUDDEN = 2.5
"""A cut is where likeness falls by this at once, and by so many times what it does near by: at
cuts between hand-held clips it falls by 0.43 or more, within them by 0.13 at most; where something
crosses the picture it falls by 0.46, but by 0.29 in the frame before or after as well."""
_AROUND = 3
_REMEMBERED = 16
"""Frames, since the detector tells of a cut a few frames late."""
LEAST_AGREEMENT = 0.03
"""Share of the picture within which several pairs must agree on a field of view."""


@dataclass(frozen=True)
class Look:
    """What one pass over a recording keeps."""

    pts: Sequence[int]
    thumbnails: Thumbnails
    """Zero mean and unit length: products are normalised correlations."""
    cuts: tuple[int, ...]
    """Pts of the first frame after each scene cut."""


def look(frames: Iterable[Frame], *, cuts: bool, thumbnails: bool = True, turns: int = 0) -> Look:
    """Go once over `frames`, turned by quarters: `thumbnails` of all, and scene `cuts`."""
    finder = _CutFinder() if cuts else None
    pts = array("q")
    kept = Thumbnails()
    for frame in frames:
        pts.append(frame.pts)
        small = _small(frame.rgb, turns)
        picture = thumbnail(small)
        if thumbnails:
            kept.add(picture)
        if finder is not None:
            finder.add(small, picture)
    found = [pts[number] for number in finder.cuts()] if finder is not None else []
    return Look(pts, kept, tuple(found))


def _small(rgb: Pixels, turns: int) -> NDArray[np.uint8]:
    height, width = rgb.shape[:2]
    size = (CUT_WIDTH, max(THUMBNAIL[1], round(CUT_WIDTH * height / width)))
    small = cv2.resize(eight_bit(rgb), size, interpolation=cv2.INTER_AREA)
    return np.ascontiguousarray(np.rot90(np.asarray(small, np.uint8), turns))


class _CutFinder:
    """PySceneDetect's adaptive detector on pictures we decode ourselves, so that pts stay exact.

    It compares each change with the changes around it: steady camera motion is not a cut. Between
    two shaky shots of like colours it sees nothing, so a sudden loss of likeness counts as well;
    and what it finds is dropped where the same shot goes on afterwards.
    """

    def __init__(self) -> None:
        from scenedetect import FrameTimecode
        from scenedetect.detectors import AdaptiveDetector

        # Frames are counted, not timed; the rate only makes the library's time codes valid.
        self._timecode = FrameTimecode
        self._detector = AdaptiveDetector(min_scene_len=2)
        self._pictures: deque[NDArray[np.float16]] = deque(maxlen=_REMEMBERED)
        self._frames = 0
        self._found: set[int] = set()

    def add(self, rgb: NDArray[np.uint8], picture: NDArray[np.float16]) -> None:
        at = self._timecode(self._frames, fps=30.0)
        bgr = cv2.cvtColor(rgb, cv2.COLOR_RGB2BGR)
        self._pictures.append(picture)
        self._frames += 1
        self._keep(int(cut.frame_num) for cut in self._detector.process_frame(at, bgr))
        self._look_at(self._frames - 1 - _AROUND)

    def cuts(self) -> list[int]:
        end = self._timecode(max(self._frames - 1, 0), fps=30.0)
        self._keep(int(cut.frame_num) for cut in self._detector.post_process(end))
        for cut in range(self._frames - _AROUND, self._frames):
            self._look_at(cut)
        return sorted(self._found)

    def _change(self, number: int, since: int) -> float:
        """Return how unlike two remembered frames are, 0 to 2."""
        first = self._frames - len(self._pictures)
        a, b = self._pictures[number - first], self._pictures[since - first]
        return 1.0 - float(likeness(a[None], b[None])[0, 0])

    def _keep(self, cuts: Iterable[int]) -> None:
        oldest = self._frames - len(self._pictures)
        for cut in cuts:
            if not 0 < cut < self._frames:
                continue
            # over a flash, a frozen or a lost frame, one side is like the other's next but one
            pairs = [(min(cut + 1, self._frames - 1), cut - 1), (cut, max(cut - 2, oldest))]
            if all(self._change(after, before) > 1 - SAME_SHOT for after, before in pairs):
                self._found.add(cut)

    def _look_at(self, cut: int) -> None:
        oldest = self._frames - len(self._pictures) + 1
        if cut < oldest or self._change(cut, cut - 1) < LEAST_CHANGE:
            return
        last = min(cut + _AROUND, self._frames - 1)
        near = [n for n in range(max(oldest, cut - _AROUND), last + 1) if n != cut]
        usual = max((self._change(n, n - 1) for n in near), default=0.0)
        if self._change(cut, cut - 1) > SUDDEN * usual:
            self._keep([cut])


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
    if len(found) < min(2, len(pairs)):
        return None
    middle = np.median(np.stack(found), axis=0)
    apart = np.abs(np.stack(found) - middle).max(0)
    size = [pairs[0][1].shape[1], pairs[0][1].shape[0]]
    # a moving camera shows one still at another place each time: no map is true for all
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


def _plain(lr: Pixels, ref: Pixels) -> NDArray[np.float64]:
    x, y = ref.shape[1] / lr.shape[1], ref.shape[0] / lr.shape[0]
    return np.array([[x, 0, 0.5 * x - 0.5], [0, y, 0.5 * y - 0.5]])


def _similarity(lr: Pixels, ref: Pixels) -> NDArray[np.float64] | None:
    """Return the 2 x 3 similarity from LR pixels to reference pixels, None if it is not sure."""
    shrink = lr.shape[1] / ref.shape[1]
    small = cv2.resize(eight_bit(ref), None, fx=shrink, fy=shrink, interpolation=cv2.INTER_AREA)
    sift = cv2.SIFT.create(nfeatures=2000, contrastThreshold=0.02)
    (points_lr, left), (points_ref, right) = (
        sift.detectAndCompute(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY), None)
        for image in (eight_bit(lr), np.asarray(small, np.uint8))
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
