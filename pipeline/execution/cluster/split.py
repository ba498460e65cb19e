"""The actors of `--placement split`: CPU actors decode and encode, and a GPU actor infers.

This suits clusters whose GPU nodes have few cores or no hardware encoder. Batches of uint8 or
uint16 frames pass through Ray's object store, a few at a time. The GPU actor owns its two CPU
actors, which end with it.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Generator
from dataclasses import replace
from typing import Any

import ray
from ray.exceptions import GetTimeoutError, RayError

from pipeline.errors import ChangedInputError, PipelineError, StageError, first_line
from pipeline.execution.cluster.actor_request import PLACEMENT_TIMEOUT_SECONDS
from pipeline.execution.decode import DecodeStage
from pipeline.execution.encode import EncodeStage
from pipeline.execution.task import Batch, SegmentTask, StagePosition
from pipeline.ledger.run_folder import RunFolder, local_run_folder
from pipeline.pixels import Pixels
from pipeline.remote.cache import fetch_recordings
from pipeline.schema.plan import Plan, SegmentRecord

_AHEAD = 2  # maximum number of batches decoded in advance, and of frames queued for encoding


class DecodeActor:
    """A DecodeStage in an actor of its own, on any node with a free CPU."""

    def __init__(self, plan: Plan, borrow: bool) -> None:
        self._stage = DecodeStage(fetch_recordings(plan), borrow=borrow)

    def ready(self) -> None:
        """Do nothing; an answer means that the actor has started."""

    def batches(self, task: SegmentTask) -> Generator[Batch | PipelineError]:
        """Yield the batches of a segment. If decoding fails, yield the error as the last item."""
        try:
            yield from self._stage.batches(task)
        except Exception as error:  # returned, because Ray wraps raised errors
            yield _as_stage_error(error)


class EncodeActor:
    """An EncodeStage in an actor of its own, on any node with a free CPU."""

    def __init__(self, plan: Plan, folder: RunFolder) -> None:
        self._folder = local_run_folder(folder)
        self._stage = EncodeStage(fetch_recordings(plan), self._folder)
        self._failed: PipelineError | None = None

    def ready(self) -> None:
        """Do nothing; an answer means that the actor has started."""

    def write(self, frame: Pixels, pts: int, segment: int) -> PipelineError | None:
        """Encode one frame, and return None; after an error, skip frames and return the error."""
        if self._failed is None:
            try:
                self._stage.write(frame, pts, segment)
            except Exception as error:  # returned, because Ray wraps raised errors
                self._failed = _as_stage_error(error)
        return self._failed

    def finish(
        self, task: SegmentTask, concealed: tuple[int, ...]
    ) -> SegmentRecord | PipelineError:
        """Commit the segment, and return its record or the first error."""
        if self._failed is not None:
            return self._failed
        try:
            self._stage.conceal(concealed)
            record = self._stage.finish(task)
            if self._folder.mirror:
                self._folder.remove_local_copy(task.segment.index)
            return record
        except Exception as error:  # returned, because Ray wraps raised errors
            return _as_stage_error(error)

    def abandon(self) -> None:
        """Delete the file of an unfinished segment."""
        self._failed = None
        self._stage.abandon()


class RemoteDecode:
    """A decoder for SegmentWorker that decodes in a DecodeActor."""

    def __init__(self, plan: Plan, *, borrow: bool) -> None:
        self._actor = _start(DecodeActor, plan, borrow)
        self.position = StagePosition()

    def batches(self, task: SegmentTask) -> Generator[Batch]:
        """Yield the segment's batches, a few of which are decoded in advance."""
        self.position.move_to(task.segment.start_pts)
        stream = self._actor.batches.options(
            num_returns="streaming", _generator_backpressure_num_objects=_AHEAD
        ).remote(task)
        for ref in stream:
            batch = _get(ref)
            self.position.move_to(batch.pts[-1])
            # the worker compares tasks by identity, so replace the copy that Ray returned
            yield replace(batch, task=task)

    def close(self) -> None:
        """End the actor."""
        ray.kill(self._actor)


class RemoteEncode:
    """An encoder for SegmentWorker that encodes in an EncodeActor."""

    def __init__(self, plan: Plan, folder: RunFolder) -> None:
        self._actor = _start(EncodeActor, plan, folder)
        self._waiting: deque[Any] = deque()
        self._concealed: tuple[int, ...] = ()
        self.position = StagePosition()

    def write(self, frame: Pixels, pts: int, segment: int) -> None:
        """Send one frame to the actor, and wait while too many frames are queued there."""
        self.position.move_to(pts)
        self._waiting.append(self._actor.write.remote(frame, pts, segment))
        while len(self._waiting) > _AHEAD:
            _get(self._waiting.popleft())

    def conceal(self, pts: tuple[int, ...]) -> None:
        """Record the pts of corrupt frames that were replaced."""
        self._concealed += pts

    def finish(self, task: SegmentTask) -> SegmentRecord:
        """Commit the segment and return its record."""
        concealed = self._concealed
        self._concealed = ()
        self._waiting.clear()
        record: SegmentRecord = _get(self._actor.finish.remote(task, concealed))
        return record

    def abandon(self) -> None:
        """Delete the file of an unfinished segment."""
        self._concealed = ()
        self._waiting.clear()
        ray.wait([self._actor.abandon.remote()], timeout=1.0)


def _start(kind: type, *arguments: object) -> Any:
    """Start an actor of the class `kind`, and return it once it is ready.

    Raises StageError if that takes too long.
    """
    remote: Any = ray.remote(
        num_cpus=1, num_gpus=0, max_restarts=0, max_task_retries=0, scheduling_strategy="SPREAD"
    )
    actor = remote(kind).remote(*arguments)
    try:
        ray.get(actor.ready.remote(), timeout=PLACEMENT_TIMEOUT_SECONDS)
    except GetTimeoutError as error:
        raise StageError(
            f"--placement split: no CPU was free for {kind.__name__} within "
            f"{PLACEMENT_TIMEOUT_SECONDS:g} s, but two are needed per GPU; add CPU nodes, or use "
            "--placement fused"
        ) from error
    return actor


def _as_stage_error(error: Exception) -> PipelineError:
    if isinstance(error, ChangedInputError):
        return error
    return StageError(str(error) or type(error).__name__)


def _get(ref: Any) -> Any:
    """Return an actor's answer; raise it if it is an error. Raises StageError if the actor died."""
    try:
        answer = ray.get(ref)
    except RayError as error:
        raise StageError(f"an actor of --placement split died: {first_line(error)}") from error
    if isinstance(answer, PipelineError):
        raise answer
    return answer
