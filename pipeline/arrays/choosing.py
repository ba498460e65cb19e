"""Choose the references of frames that arrive one by one, as a plan does for a whole clip."""

from __future__ import annotations

from bisect import bisect_right
from fractions import Fraction
from itertools import count, islice

from pipeline.pairing.choose_frames import iterate_by_time
from pipeline.pairing.cuts import CutFinder, shrink_frame
from pipeline.pairing.rules import FrameRules, References
from pipeline.pairing.thumbnails import make_thumbnail
from pipeline.pixels import Pixels
from pipeline.schema.reference_map import ReferenceChoice


class ArrivingFrames:
    """Chooses the references of each frame as soon as no later frame can change the choice.

    A scene cut between a frame and a later reference excludes that reference. A choice is therefore
    delayed until all cuts up to the last of the next `ref_count` references in reach are known (or
    up to the next one if `ref_count` is None). The cut finder recognises a cut only after it has
    seen a few more frames.
    """

    def __init__(
        self, references: References, rate: Fraction, max_distance: float, ref_count: int | None
    ) -> None:
        self._seconds = references.seconds
        self._rate = rate
        self._finder = CutFinder()
        self._arrived = 0
        self._chosen = 0
        self._cuts: list[float] = []
        self._rules = FrameRules(
            max_distance=max_distance,
            cuts=self._cuts,
            margin=0.5 * float(1 / rate),
            count=ref_count,
        )
        times = (self._at(number) for number in count())
        self._choices = iterate_by_time(count(), times, references, self._rules)

    def add(self, frame: Pixels) -> list[ReferenceChoice]:
        """Add the next frame (H x W x 3), and return the choices that no later frame can change."""
        small = shrink_frame(frame)
        self._finder.add(small, make_thumbnail(small))
        self._arrived += 1
        self._cuts[:] = map(self._at, self._finder.found)

        certain = self._chosen
        while certain < self._arrived and self._is_certain(certain):
            certain += 1
        return self._choose_up_to(certain)

    def finish(self) -> list[ReferenceChoice]:
        """Return the choices for the remaining frames. Call it after adding the last frame."""
        self._cuts[:] = map(self._at, self._finder.cuts())
        return self._choose_up_to(self._arrived)

    def _choose_up_to(self, end: int) -> list[ReferenceChoice]:
        """Return the choices for frames before number `end` that were not returned earlier."""
        chosen = list(islice(self._choices, end - self._chosen))
        self._chosen = end
        return chosen

    def _at(self, number: int) -> float:
        """Return the time of a frame in seconds."""
        return float(number / self._rate)

    def _is_certain(self, number: int) -> bool:
        """Return whether every cut is known up to the last reference that the frame may use."""
        at = self._at(number)
        after = bisect_right(self._seconds, at)
        # all of a frame's references may be later than the frame
        most = max(1, self._rules.count or 1)
        in_reach = [
            seconds
            for seconds in self._seconds[after : after + most]
            if seconds - at <= self._rules.max_distance
        ]
        last = max([at, *in_reach])
        return self._at(self._finder.settled - 1) >= last
