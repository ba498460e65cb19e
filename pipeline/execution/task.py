"""What happens to a segment: decode and pair, enhance, encode; each stage without its thread.

`worker.py` joins them by queues. Only uint8 and uint16 frames pass between them: a 4K frame is
25 MB so, and 100 MB in fp32.
"""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass
from pathlib import Path

from pipeline.media.alpha import Plane
from pipeline.pixels import Pixels
from pipeline.schema.clip import Recording
from pipeline.schema.plan import Plan, Segment
from pipeline.schema.reference_map import ReferenceMap


@dataclass(frozen=True)
class SegmentTask:
    """A segment and the references chosen for its frames: all that travels to a worker."""

    segment: Segment
    choices: ReferenceMap


def plan_header(plan: Plan) -> Plan:
    """Return the plan without its segments and map, which travel with the tasks instead.

    Its paths are absolute: an actor's working directory is not the driver's.
    """
    reference = plan.reference.model_copy(update={"clip": _absolute(plan.reference.clip)})
    return plan.model_copy(
        update={
            "input": _absolute(plan.input),
            "reference": reference,
            "segments": (),
            "reference_map": ReferenceMap(),
        }
    )


def _absolute(clip: Recording) -> Recording:
    files = tuple(str(Path(file).absolute()) for file in clip.files)
    return clip.model_copy(update={"path": str(Path(clip.path).absolute()), "files": files})


def tasks_for(plan: Plan, indices: list[int]) -> list[SegmentTask]:
    """Return the tasks of the segments with these indices."""
    segments = {segment.index: segment for segment in plan.segments}
    ordered = plan.reference_map.in_order()
    wanted = [segments[index] for index in indices]
    return [SegmentTask(s, ordered.between(s.start_pts, s.end_pts)) for s in wanted]


@dataclass(frozen=True)
class Batch:
    """Decoded frames on their way to the engine, in presentation order."""

    task: SegmentTask
    pts: list[int]
    lr: Pixels
    """uint8 or uint16 N x h x w x 3 RGB."""
    paired: list[int]
    """Which of the N have a reference."""
    ref: Pixels | None
    """M x H x W x 3 RGB for the M paired frames; None when M = 0."""
    given: dict[int, Pixels]
    """Which of the N are in the reference itself, and pass through: H x W x 3 RGB each."""
    also: dict[int, list[Pixels]]
    """Further references of paired frames, H x W x 3 RGB each, to be fused with the first."""
    steps: dict[int, list[float]]
    """How far each of their references is, the first one included, in grid steps."""
    alpha: dict[int, Plane]
    """Transparency of the N, h x w each; empty where it is not kept."""
    concealed: tuple[int, ...]
    last: bool
    """Whether the segment ends with this batch."""


@dataclass(frozen=True)
class Enhanced:
    """SR frames on their way to the encoder, in presentation order."""

    task: SegmentTask
    pts: list[int]
    frames: list[Pixels]
    """H x W x 3 RGB each, or H x W x 4 with transparency."""
    concealed: tuple[int, ...]
    last: bool


class StagePosition:
    """Where a stage is and since when, for its error messages and the watchdog."""

    def __init__(self) -> None:
        self.pts: int | None = None
        """LR pts of the frame being worked on."""
        self.since = time.monotonic()

    def at(self, pts: int) -> None:
        """Say that the stage has come to the frame at `pts`."""
        self.pts, self.since = pts, time.monotonic()


class StageClock:
    """Busy seconds of each stage, summed from several threads."""

    def __init__(self) -> None:
        self._seconds = {"decode": 0.0, "infer": 0.0, "encode": 0.0}
        self._lock = threading.Lock()

    def add(self, stage: str, seconds: float) -> None:
        """Count `seconds` of work for `stage`."""
        with self._lock:
            self._seconds[stage] += seconds

    def seconds(self) -> dict[str, float]:
        """Return the busy seconds by stage."""
        with self._lock:
            return dict(self._seconds)
