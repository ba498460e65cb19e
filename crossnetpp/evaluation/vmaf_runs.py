"""VMAF of the measured frames of a clip, measured separately for each run of successive frames.

VMAF includes the motion since the previous frame, so it cannot be measured for frames without a
measured neighbour. Runs end before key frames.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import ExitStack

from crossnetpp.evaluation.scenes import Picture
from crossnetpp.vmaf import LEAST_SIDE, Vmaf


class VmafRuns:
    """Measures successive frames of several methods: `add` all frames, then call `finish`."""

    def __init__(self, ffmpeg: str) -> None:
        """Measure with the program `ffmpeg`; see `crossnetpp.vmaf.find_program`."""
        self._ffmpeg = ffmpeg
        self._stack = ExitStack()
        self._running: dict[str, Vmaf] = {}
        self._last = -2
        self._first: tuple[Mapping[str, Picture], Picture] | None = None
        self._scores: dict[str, list[float]] = {}

    def __enter__(self) -> VmafRuns:
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def add(self, frame: int, pictures: Mapping[str, Picture], truth: Picture) -> None:
        """Measure frame number `frame` of every method against the truth.

        Raises VmafError if the program fails.
        """
        if min(truth.shape[:2]) < LEAST_SIDE:
            return
        if frame != self._last + 1:
            self._end_run()
            # The program is started only if a second frame follows
            self._first = (pictures, truth)
        elif self._first is not None:
            first_pictures, first_truth = self._first
            self._start_run(first_truth, list(first_pictures))
            self._add(first_pictures, first_truth)
            self._add(pictures, truth)
            self._first = None
        else:
            self._add(pictures, truth)
        self._last = frame

    def finish(self) -> dict[str, list[float]]:
        """Return each method's VMAF (0 to 100) of the measured frames; empty if there are none.

        Raises VmafError if the program fails.
        """
        self._end_run()
        return self._scores

    def _start_run(self, truth: Picture, methods: list[str]) -> None:
        height, width = truth.shape[:2]
        self._running = {
            name: self._stack.enter_context(Vmaf(self._ffmpeg, height, width)) for name in methods
        }

    def _add(self, pictures: Mapping[str, Picture], truth: Picture) -> None:
        for name, measurement in self._running.items():
            measurement.add(pictures[name], truth)

    def _end_run(self) -> None:
        for name, measurement in self._running.items():
            self._scores.setdefault(name, []).extend(measurement.scores())
        self._running = {}
        self._first = None
        self._stack.close()
