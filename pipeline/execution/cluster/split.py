"""`--placement split`: decode and encode in CPU actors of their own, the network in the GPU's.

For clusters whose GPU nodes are short of cores or have no hardware encoder. Batches of uint8 or
uint16 frames go through Ray's object store, a few at a time; the two actors belong to the GPU actor
and end with it.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Generator
from dataclasses import replace
from typing import Any

import ray
from ray.exceptions import GetTimeoutError, RayError

from pipeline.errors import StageError, first_line
from pipeline.execution.decode import DecodeStage
from pipeline.execution.encode import EncodeStage
from pipeline.execution.task import Batch, SegmentTask, StagePosition
from pipeline.ledger.run_folder import RunFolder, local_run_folder
from pipeline.pixels import Pixels
from pipeline.remote.cache import fetch_recordings
from pipeline.schema.plan import Plan, SegmentRecord

PLACEMENT_TIMEOUT = 60.0
_AHEAD = 2
"""Batches decoded, and frames waiting to be encoded, beyond the one in work."""


class DecodeActor:
    """A DecodeStage where there are cores."""

    def __init__(self, plan: Plan, borrow: bool) -> None:
        self._stage = DecodeStage(fetch_recordings(plan), borrow=borrow)

    def ready(self) -> None:
        """Answer as soon as the actor was placed."""

    def batches(self, task: SegmentTask) -> Generator[Batch | StageError]:
        """Yield the segment's batches, or in place of the next one why there is none."""
        try:
            yield from self._stage.batches(task)
        except Exception as error:  # an answer: Ray would wrap it beyond recognition
            yield StageError(str(error) or type(error).__name__)


class EncodeActor:
    """An EncodeStage where there are cores."""

    def __init__(self, plan: Plan, folder: RunFolder) -> None:
        self._folder = local_run_folder(folder)
        self._stage = EncodeStage(fetch_recordings(plan), self._folder)
        self._failed: StageError | None = None

    def ready(self) -> None:
        """Answer as soon as the actor was placed."""

    def write(self, frame: Pixels, pts: int, segment: int) -> StageError | None:
        """Encode one frame; after an error the segment's other frames are passed over."""
        if self._failed is None:
            try:
                self._stage.write(frame, pts, segment)
            except Exception as error:  # as above
                self._failed = StageError(str(error) or type(error).__name__)
        return self._failed

    def finish(self, task: SegmentTask, concealed: tuple[int, ...]) -> SegmentRecord | StageError:
        """Commit the segment."""
        if self._failed is not None:
            return self._failed
        try:
            self._stage.conceal(concealed)
            record = self._stage.finish(task)
            if self._folder.mirror:
                self._folder.remove_local_copy(task.segment.index)
            return record
        except Exception as error:  # as above
            return StageError(str(error) or type(error).__name__)

    def abandon(self) -> None:
        """Delete a segment that will not be finished."""
        self._failed = None
        self._stage.abandon()


class RemoteDecode:
    """What a SegmentWorker decodes with, at work elsewhere."""

    def __init__(self, plan: Plan, *, borrow: bool) -> None:
        self._actor = _start(DecodeActor, plan, borrow)
        self.where = StagePosition()

    def batches(self, task: SegmentTask) -> Generator[Batch]:
        """Yield the segment's batches; at most a few are ahead."""
        self.where.at(task.segment.start_pts)
        stream = self._actor.batches.options(
            num_returns="streaming", _generator_backpressure_num_objects=_AHEAD
        ).remote(task)
        for ref in stream:
            batch = _get(ref)
            self.where.at(batch.pts[-1])
            # the same object as everywhere in this worker, not its copy
            yield replace(batch, task=task)

    def close(self) -> None:
        """End the actor."""
        ray.kill(self._actor)


class RemoteEncode:
    """What a SegmentWorker encodes and commits with, at work elsewhere."""

    def __init__(self, plan: Plan, folder: RunFolder) -> None:
        self._actor = _start(EncodeActor, plan, folder)
        self._waiting: deque[Any] = deque()
        self._concealed: tuple[int, ...] = ()
        self.where = StagePosition()

    def write(self, frame: Pixels, pts: int, segment: int) -> None:
        """Send one frame, as soon as there is room."""
        self.where.at(pts)
        self._waiting.append(self._actor.write.remote(frame, pts, segment))
        while len(self._waiting) > _AHEAD:
            _get(self._waiting.popleft())

    def conceal(self, pts: tuple[int, ...]) -> None:
        """Remember frames which stand for corrupt ones."""
        self._concealed += pts

    def finish(self, task: SegmentTask) -> SegmentRecord:
        """Commit the segment and return its record."""
        concealed, self._concealed = self._concealed, ()
        self._waiting.clear()
        record: SegmentRecord = _get(self._actor.finish.remote(task, concealed))
        return record

    def abandon(self) -> None:
        """Delete a segment that will not be finished."""
        self._concealed = ()
        self._waiting.clear()
        ray.wait([self._actor.abandon.remote()], timeout=1.0)


def _start(kind: type, *arguments: object) -> Any:
    remote: Any = ray.remote(
        num_cpus=1, num_gpus=0, max_restarts=0, max_task_retries=0, scheduling_strategy="SPREAD"
    )
    actor = remote(kind).remote(*arguments)
    try:
        ray.get(actor.ready.remote(), timeout=PLACEMENT_TIMEOUT)
    except GetTimeoutError as error:
        raise StageError(
            f"--placement split: no CPU for {kind.__name__} within {PLACEMENT_TIMEOUT:g} s, "
            "expected two free ones for each GPU; add CPU nodes, or use --placement fused"
        ) from error
    return actor


def _get(ref: Any) -> Any:
    try:
        answer = ray.get(ref)
    except RayError as error:
        raise StageError(f"an actor of --placement split was lost: {first_line(error)}") from error
    if isinstance(answer, StageError):
        raise answer
    return answer
