"""A worker that runs segments through three threads: decode, infer and encode.

Bounded queues connect the threads. An error passes through the queues in order, so that all earlier
segments are still committed. Every wait on a queue ends when the worker stops, so that no stage can
block another forever.
"""

from __future__ import annotations

import logging
import queue
import threading
import time
from collections.abc import Callable, Generator
from concurrent.futures import Future
from contextlib import closing
from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar

from deploy.protocol import Engine
from pipeline.errors import ChangedInputError, PipelineError, StageError, first_line
from pipeline.execution.decode import DecodeStage
from pipeline.execution.encode import EncodeStage
from pipeline.execution.infer import Enhance, enhance_batch
from pipeline.execution.task import Batch, Enhanced, SegmentTask, StageClock, StagePosition
from pipeline.ledger.run_folder import RunFolder
from pipeline.pixels import Pixels
from pipeline.schema.plan import Plan, SegmentRecord

logger = logging.getLogger(__name__)

THREAD_PREFIX = "pipeline-"
DECODE_TIMEOUT_SECONDS = 120.0  # longest wait for a frame; PyAV's threads sometimes hang
_POLL_SECONDS = 0.1
_QUEUE_DEPTH = 2  # batches: enough to overlap the stages; a batch of four 4K frames takes 100 MB

Item = TypeVar("Item")


class Stopped(Exception):  # noqa: N818 - not an error: it ends a stage's loop
    """Raised in a stage when the worker is stopping."""


class Channel(Generic[Item]):
    """A bounded queue whose `put` and `get` stop waiting when the worker stops."""

    def __init__(self, depth: int, stop: threading.Event) -> None:
        self._queue: queue.Queue[Item] = queue.Queue(depth)
        self._stop = stop

    def put(self, item: Item) -> None:
        """Append `item` once the queue has room. Raises Stopped when the worker stops."""
        while not self._stop.is_set():
            try:
                return self._queue.put(item, timeout=_POLL_SECONDS)
            except queue.Full:
                continue
        raise Stopped

    def get(self, while_waiting: Callable[[], None] | None = None) -> Item:
        """Return the next item. Raises Stopped when the worker stops.

        While the queue is empty, `while_waiting` is called about ten times a second.
        """
        while not self._stop.is_set():
            try:
                return self._queue.get(timeout=_POLL_SECONDS)
            except queue.Empty:
                if while_waiting is not None:
                    while_waiting()
        raise Stopped


@dataclass(frozen=True)
class Failure:
    """The failure of a segment in a stage. In a queue, it replaces the segment's other batches."""

    task: SegmentTask
    error: PipelineError


def wrap_error(
    stage: str, task: SegmentTask, position: StagePosition, error: Exception
) -> PipelineError:
    """Return a one-line StageError that names the stage, the segment and the LR frame's pts.

    A ChangedInputError is returned unchanged, because no stage has failed.
    """
    if isinstance(error, ChangedInputError):
        return error
    place = f"segment {task.segment.index}, LR pts {position.pts}"
    wrapped = StageError(f"{stage}: {place}: {first_line(error)}")
    wrapped.__cause__ = error
    return wrapped


class Decoder(Protocol):
    """The interface of `DecodeStage`; an implementation may decode in another process."""

    position: StagePosition

    def batches(self, task: SegmentTask) -> Generator[Batch]:
        """Yield the segment's frames and their references in batches."""

    def close(self) -> None:
        """Release files and processes."""


class Encoder(Protocol):
    """The interface of `EncodeStage`; an implementation may encode in another process."""

    position: StagePosition

    def write(self, frame: Pixels, pts: int, segment: int) -> None:
        """Encode the frame at `pts`, which belongs to the segment with the index `segment`."""

    def conceal(self, pts: tuple[int, ...]) -> None:
        """Record the pts of corrupt frames that were replaced."""

    def finish(self, task: SegmentTask) -> SegmentRecord:
        """Commit the segment and return its record."""

    def abandon(self) -> None:
        """Delete the file of an unfinished segment."""


class SegmentWorker:
    """Runs segments in order; one is decoded while earlier ones are enhanced and encoded.

    `stages` replaces the decoder and the encoder, and `enhance` replaces the function that enhances
    a batch. `decode_timeout` is the longest wait for a frame in seconds.
    """

    def __init__(
        self,
        plan: Plan,
        folder: RunFolder,
        engine: Engine,
        *,
        decode_timeout: float = DECODE_TIMEOUT_SECONDS,
        stages: tuple[Decoder, Encoder] | None = None,
        enhance: Enhance = enhance_batch,
    ) -> None:
        self.clock = StageClock()
        self.frames_done = 0
        """Number of frames encoded so far."""
        self.folder = folder
        self._plan = plan
        self._engine = engine
        self._enhance = enhance
        self._decode_timeout = decode_timeout

        self._stop = threading.Event()
        self._futures: dict[int, Future[SegmentRecord]] = {}
        self._broken: PipelineError | None = None
        self._lock = threading.Lock()

        self._tasks: queue.SimpleQueue[SegmentTask | None] = queue.SimpleQueue()
        self._decoded: Channel[Batch | Failure] = Channel(_QUEUE_DEPTH, self._stop)
        self._enhanced: Channel[Enhanced | Failure] = Channel(_QUEUE_DEPTH, self._stop)

        self._decoder, self._encoder = stages or (
            DecodeStage(plan, borrow=engine.info.borrows),
            EncodeStage(plan, folder),
        )
        self._infer_position = StagePosition()
        self._decoding: SegmentTask | None = None

        loops = {
            "decode": self._decode_loop,
            "infer": self._infer_loop,
            "encode": self._encode_loop,
        }
        self._threads = [
            threading.Thread(target=loop, name=f"{THREAD_PREFIX}{name}", daemon=True)
            for name, loop in loops.items()
        ]
        for thread in self._threads:
            thread.start()

    @property
    def broken(self) -> bool:
        """Whether the decoder hangs, in which case the worker finishes no more segments."""
        return self._broken is not None

    def submit(self, task: SegmentTask) -> Future[SegmentRecord]:
        """Queue a segment. The future's result is the committed segment's record.

        If the segment fails or the worker was already stopped, the future's exception is a
        PipelineError. If the worker is stopped before the segment is committed, the future is
        cancelled.
        """
        future: Future[SegmentRecord] = Future()
        with self._lock:
            if self._broken is not None or self._stop.is_set():
                future.set_exception(self._broken or StageError("the worker was stopped"))
                return future
            self._futures[task.segment.index] = future
        self._tasks.put(task)
        return future

    def stop(self, timeout: float = 2.0) -> bool:
        """Stop the stages and cancel uncommitted segments; return False if a thread still runs.

        Waits at most `timeout` seconds, because native code (such as the network) cannot be
        interrupted.
        """
        self._stop.set()
        self._tasks.put(None)

        deadline = time.monotonic() + timeout
        for thread in self._threads:
            if thread is not threading.current_thread():
                thread.join(max(0.0, deadline - time.monotonic()))

        with self._lock:
            for future in self._futures.values():
                future.cancel()
            self._futures.clear()
        return not any(thread.is_alive() for thread in self._threads)

    def __enter__(self) -> SegmentWorker:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def _resolve(self, task: SegmentTask, outcome: SegmentRecord | PipelineError) -> None:
        with self._lock:
            future = self._futures.pop(task.segment.index, None)
        if future is None:  # the worker was stopped
            return
        if isinstance(outcome, PipelineError):
            future.set_exception(outcome)
        else:
            future.set_result(outcome)

    def _fail_all(self, error: PipelineError) -> None:
        with self._lock:
            self._broken = error
            futures = list(self._futures.values())
            self._futures.clear()
        for future in futures:
            future.set_exception(error)

    def _decode_loop(self) -> None:
        try:
            while (task := self._tasks.get()) is not None and not self._stop.is_set():
                self._decoder.position.move_to(task.segment.start_pts)
                self._decoding = task
                try:
                    self._decode_segment(task)
                except Stopped:
                    return
                except Exception as error:
                    logger.debug("decode failed", exc_info=True)
                    failed = wrap_error("decode", task, self._decoder.position, error)
                    self._decoded.put(Failure(task, failed))
                self._decoding = None
        except Stopped:
            return
        finally:
            self._decoder.close()

    def _decode_segment(self, task: SegmentTask) -> None:
        with closing(self._decoder.batches(task)) as batches:
            while True:
                start = time.perf_counter()
                batch = next(batches, None)
                self.clock.add("decode", time.perf_counter() - start)
                if batch is None:
                    return

                self._decoded.put(batch)
                if batch.last:
                    return
                # do not count the wait for room in the queue as time without a frame
                self._decoder.position.since = time.monotonic()

    def _check_decoder(self) -> None:
        """Fail all segments and stop if the decoder has made no progress for too long."""
        task, position = self._decoding, self._decoder.position
        if task is None or time.monotonic() - position.since < self._decode_timeout:
            return
        hung = StageError(
            f"the decoder hangs: it returned no frame for {self._decode_timeout:g} s; run the same "
            "command again"
        )
        self._fail_all(wrap_error("decode", task, position, hung))
        self._stop.set()

    def _infer_loop(self) -> None:
        failed: SegmentTask | None = None
        try:
            while True:
                item = self._decoded.get(self._check_decoder)
                if isinstance(item, Failure):
                    self._enhanced.put(item)
                    continue
                if item.task is failed:
                    continue

                try:
                    self._infer_position.move_to(item.pts[0])
                    start = time.perf_counter()
                    enhanced = self._enhance(self._plan, self._engine, item)
                    self.clock.add("infer", time.perf_counter() - start)
                except Exception as error:
                    logger.debug("infer failed", exc_info=True)
                    failed = item.task
                    wrapped = wrap_error("infer", item.task, self._infer_position, error)
                    self._enhanced.put(Failure(item.task, wrapped))
                else:
                    self._enhanced.put(enhanced)
        except Stopped:
            return

    def _encode_loop(self) -> None:
        failed: SegmentTask | None = None
        try:
            while True:
                item = self._enhanced.get()
                if item.task is failed:
                    continue

                try:
                    if isinstance(item, Failure):
                        raise item.error
                    self._encode_batch(item)
                except Stopped:
                    raise
                except Exception as error:
                    logger.debug("segment %d failed", item.task.segment.index, exc_info=True)
                    failed = item.task
                    if isinstance(item, Failure):
                        wrapped = item.error
                    else:
                        wrapped = wrap_error("encode", item.task, self._encoder.position, error)
                    # report this error even if deleting the unfinished file fails, too
                    self._abandon()
                    self._resolve(item.task, wrapped)
        except Stopped:
            self._abandon()

    def _encode_batch(self, item: Enhanced) -> None:
        self._encoder.conceal(item.concealed)
        for pts, frame in zip(item.pts, item.frames, strict=True):
            if self._stop.is_set():
                raise Stopped
            start = time.perf_counter()
            self._encoder.write(frame, pts, item.task.segment.index)
            self.clock.add("encode", time.perf_counter() - start)
            self.frames_done += 1

        if item.last:
            start = time.perf_counter()
            record = self._encoder.finish(item.task)
            self.clock.add("encode", time.perf_counter() - start)
            self._resolve(item.task, record)

    def _abandon(self) -> None:
        try:
            self._encoder.abandon()
        except Exception:
            logger.warning("could not delete an unfinished segment", exc_info=True)
