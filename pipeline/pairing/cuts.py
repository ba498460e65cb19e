"""Find the scene cuts of a recording, and make a thumbnail of every frame, in one pass."""

from __future__ import annotations

from array import array
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from pipeline.media.read.frames import Frame
from pipeline.pairing.thumbnails import THUMBNAIL, Thumbnails, correlate_thumbnails, make_thumbnail
from pipeline.pixels import Pixels, high_byte

CUT_WIDTH = 256  # width in pixels of the pictures for cut detection
# Correlation of the frames around an apparent cut above which it is only a flash or a freeze.
SAME_SHOT = 0.9
LEAST_CHANGE = 0.3
# At a cut, the correlation of neighbouring frames falls by at least LEAST_CHANGE, and by more than
# SUDDEN times as much as anywhere nearby. It falls by 0.43 or more at cuts between hand-held clips,
# and by at most 0.13 within the clips. When something crosses the picture, it falls by 0.46, but
# also by 0.29 one frame earlier or later.
SUDDEN = 2.5
_AROUND = 3  # frames before and after a possible cut that are compared with it
_REMEMBERED = 16  # stored thumbnails; the detector reports a cut a few frames late


@dataclass(frozen=True)
class Survey:
    """The results of one pass over a recording."""

    pts: Sequence[int]
    thumbnails: Thumbnails
    """Thumbnails with zero mean and unit norm, so that their dot products are normalised
    correlations; empty if they were not requested."""
    cuts: tuple[int, ...]
    """Pts of the first frame after each scene cut; empty if cuts were not requested."""


def survey_frames(
    frames: Iterable[Frame],
    *,
    cuts: bool,
    thumbnails: bool = True,
    turns: int = 0,
    count: Callable[[int], None] = lambda done: None,
) -> Survey:
    """Return the pts of `frames` and, if requested, their thumbnails and scene cuts.

    Frames are first rotated counter-clockwise by `turns` quarter turns. `count` is called with the
    number of frames so far.
    """
    finder = CutFinder() if cuts else None
    pts = array("q")
    kept = Thumbnails()
    for frame in frames:
        pts.append(frame.pts)
        small = shrink_frame(frame.rgb, turns)
        picture = make_thumbnail(small)
        if thumbnails:
            kept.add(picture)
        if finder is not None:
            finder.add(small, picture)
        count(len(pts))
    found = [pts[number] for number in finder.cuts()] if finder is not None else []
    return Survey(pts, kept, tuple(found))


def shrink_frame(rgb: Pixels, turns: int = 0) -> NDArray[np.uint8]:
    """Return a frame (H x W x 3) resized to a width of CUT_WIDTH, then rotated.

    The rotation is counter-clockwise, by `turns` quarter turns.
    """
    height, width = rgb.shape[:2]
    size = (CUT_WIDTH, max(THUMBNAIL[1], round(CUT_WIDTH * height / width)))
    small = cv2.resize(high_byte(rgb), size, interpolation=cv2.INTER_AREA)
    return np.ascontiguousarray(np.rot90(np.asarray(small, np.uint8), turns))


class CutFinder:
    """Finds cuts with PySceneDetect's adaptive detector and the correlation of neighbouring frames.

    The detector compares each change with the changes around it, so steady camera motion is not a
    cut. It misses cuts between shaky shots of similar colours, so a sudden loss of correlation also
    counts as a cut. A cut after which the same shot continues is dropped.
    """

    def __init__(self) -> None:
        from scenedetect import FrameTimecode
        from scenedetect.detectors import AdaptiveDetector

        # frames are counted, not timed; the library's timecodes just need some frame rate
        self._timecode = FrameTimecode
        self._detector = AdaptiveDetector(min_scene_len=2)
        self._pictures: deque[NDArray[np.float16]] = deque(maxlen=_REMEMBERED)
        self._frames = 0
        self._found: set[int] = set()

    @property
    def settled(self) -> int:
        """How many frames, counted from the first, can no longer turn out to follow a cut."""
        return max(0, self._frames - _AROUND)

    @property
    def found(self) -> list[int]:
        """The number of the first frame after each cut found so far."""
        return sorted(self._found)

    def add(self, rgb: NDArray[np.uint8], picture: NDArray[np.float16]) -> None:
        """Add the next frame, shrunk by `shrink_frame`, and its thumbnail."""
        at = self._timecode(self._frames, fps=30.0)
        bgr = cv2.cvtColor(rgb, cv2.COLOR_RGB2BGR)
        self._pictures.append(picture)
        self._frames += 1
        self._add_cuts(int(cut.frame_num) for cut in self._detector.process_frame(at, bgr))
        self._check_correlation(self._frames - 1 - _AROUND)

    def cuts(self) -> list[int]:
        """Return the number of the first frame after each cut. Call it after the last `add`."""
        end = self._timecode(max(self._frames - 1, 0), fps=30.0)
        self._add_cuts(int(cut.frame_num) for cut in self._detector.post_process(end))
        for cut in range(self._frames - _AROUND, self._frames):
            self._check_correlation(cut)
        return self.found

    def _measure_change(self, number: int, since: int) -> float:
        """Return 1 minus the correlation (so 0 to 2) of two frames whose thumbnails are stored."""
        first = self._frames - len(self._pictures)
        a, b = self._pictures[number - first], self._pictures[since - first]
        return 1.0 - float(correlate_thumbnails(a[None], b[None])[0, 0])

    def _add_cuts(self, cuts: Iterable[int]) -> None:
        oldest = self._frames - len(self._pictures)
        for cut in cuts:
            if not 0 < cut < self._frames:
                continue
            # the shot continues one frame after a flash, or a frozen or lost frame
            pairs = [(min(cut + 1, self._frames - 1), cut - 1), (cut, max(cut - 2, oldest))]
            if all(self._measure_change(after, before) > 1 - SAME_SHOT for after, before in pairs):
                self._found.add(cut)

    def _check_correlation(self, cut: int) -> None:
        oldest = self._frames - len(self._pictures) + 1
        if cut < oldest or self._measure_change(cut, cut - 1) < LEAST_CHANGE:
            return
        last = min(cut + _AROUND, self._frames - 1)
        near = [n for n in range(max(oldest, cut - _AROUND), last + 1) if n != cut]
        usual = max((self._measure_change(n, n - 1) for n in near), default=0.0)
        if self._measure_change(cut, cut - 1) > SUDDEN * usual:
            self._add_cuts([cut])
