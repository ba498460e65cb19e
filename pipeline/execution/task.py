"""The data that passes between the stages: segment tasks, decoded batches and enhanced frames.

The queues between the stages (see `worker.py`) carry only uint8 and uint16 frames: a 4K frame takes
25 MB as uint8, and would take 100 MB as float32.
"""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pipeline.media.alpha import Plane
from pipeline.pairing.noise import Noise
from pipeline.pixels import Pixels
from pipeline.schema.clip import Recording
from pipeline.schema.plan import Plan, Segment
from pipeline.schema.reference_map import ReferenceMap


@dataclass(frozen=True)
class SegmentTask:
    """A segment, and the references chosen for its frames."""

    segment: Segment
    choices: ReferenceMap


def plan_header(plan: Plan) -> Plan:
    """Return the plan without its segments and reference map, which the tasks contain.

    The recordings' paths become absolute, because actors run in a different working directory.
    """
    header = plan.map_recordings(_absolute)
    return header.model_copy(update={"segments": (), "reference_map": ReferenceMap()})


def _absolute(clip: Recording) -> Recording:
    files = tuple(str(Path(file).absolute()) for file in clip.files)
    return clip.model_copy(update={"path": str(Path(clip.path).absolute()), "files": files})


def tasks_for(plan: Plan, indices: list[int]) -> list[SegmentTask]:
    """Return the tasks for the segments with these indices, in the order of `indices`."""
    segments = {segment.index: segment for segment in plan.segments}
    ordered = plan.reference_map.in_order()

    tasks = []
    for index in indices:
        segment = segments[index]
        choices = ordered.between(segment.start_pts, segment.end_pts)
        tasks.append(SegmentTask(segment, choices))
    return tasks


@dataclass(frozen=True)
class ReferenceGroup:
    """M frames of a batch that have K references each, and are enhanced together."""

    frames: list[int]
    """Positions of the frames in the batch, in order."""
    refs: list[Pixels]
    """K arrays of M x H x W x 3 RGB, ordered so that each frame's best reference comes first."""
    weights: NDArray[np.float32]
    """M x K weights: 1 for a frame's nearest reference, and less for references farther away."""


@dataclass(frozen=True)
class Batch:
    """N decoded frames for the engine, in presentation order."""

    task: SegmentTask
    pts: list[int]
    lr: Pixels
    """uint8 or uint16 N x h x w x 3 RGB or, with `plan.planes`, enlarged planes (N x rows x W)."""
    groups: list[ReferenceGroup]
    """The frames with references, grouped by their number of references."""
    given: dict[int, Pixels]
    """H x W x 3 RGB frames that the reference provides, by position; they are output unchanged."""
    alpha: dict[int, Plane]
    """Alpha (h x w) of each frame, by position; empty if the input or the output has no alpha."""
    noise: dict[int, Noise]
    """The noise that must not be borrowed from a frame's references, by the frame's position."""
    concealed: tuple[int, ...]
    """LR pts of corrupt frames that were replaced."""
    last: bool
    """Whether the segment ends with this batch."""


@dataclass(frozen=True)
class Enhanced:
    """SR frames for the encoder, in presentation order."""

    task: SegmentTask
    pts: list[int]
    frames: list[Pixels]
    """H x W x 3 RGB, H x W x 4 with alpha, or enlarged planes (rows x W)."""
    concealed: tuple[int, ...]
    last: bool


class StagePosition:
    """The frame that a stage is working on, and when it began, for error messages and timeouts."""

    def __init__(self) -> None:
        self.pts: int | None = None
        """LR pts of the current frame; None before the first one."""
        self.since = time.monotonic()
        """Time on the monotonic clock when work on that frame began."""

    def move_to(self, pts: int) -> None:
        """Record that the stage has begun to work on the frame at `pts`."""
        self.pts = pts
        self.since = time.monotonic()


class StageClock:
    """A thread-safe counter of the busy seconds of each stage."""

    def __init__(self) -> None:
        self._seconds = {"decode": 0.0, "infer": 0.0, "encode": 0.0}
        self._lock = threading.Lock()

    def add(self, stage: str, seconds: float) -> None:
        """Add `seconds` of work to `stage`."""
        with self._lock:
            self._seconds[stage] += seconds

    def seconds(self) -> dict[str, float]:
        """Return the busy seconds by stage."""
        with self._lock:
            return dict(self._seconds)
