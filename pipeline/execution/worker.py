"""The three stages of a segment joined by bounded queues: decode thread, infer, encode thread.

An error travels down the queues in its place, so every segment before it is still committed.
Every wait is bounded by the stop event: no stage can block another one for ever.
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
from pipeline.errors import StageError, first_line
from pipeline.execution.decode import DecodeStage
from pipeline.execution.encode import EncodeStage
from pipeline.execution.infer import enhance_batch
from pipeline.execution.task import Batch, Enhanced, SegmentTask, StageClock, StagePosition
from pipeline.ledger.run_folder import RunFolder
from pipeline.pixels import Pixels
from pipeline.schema.plan import Plan, SegmentRecord

logger = logging.getLogger(__name__)

THREAD_PREFIX = "pipeline-"
DECODE_TIMEOUT = 120.0
"""Seconds without a decoded frame after which the decoder is taken to hang (PyAV threads have)."""
_POLL = 0.1
_DEPTH = 2
"""Batches in each queue: enough to overlap the stages, and 100 MB each for four 4K frames."""

Item = TypeVar("Item")


class Stopped(Exception):  # noqa: N818 - not an error: the way a stage leaves its loop
    """Tell a stage that the worker is stopping."""


class Channel(Generic[Item]):
    """A bounded queue whose two ends give up when the worker stops."""

    def __init__(self, depth: int, stop: threading.Event) -> None:
        self._queue: queue.Queue[Item] = queue.Queue(depth)
        self._stop = stop

    def put(self, item: Item) -> None:
        """Append `item`, waiting for room; raises Stopped."""
        while not self._stop.is_set():
            try:
                return self._queue.put(item, timeout=_POLL)
            except queue.Full:
                continue
        raise Stopped

    def get(self, idle: Callable[[], None] | None = None) -> Item:
        """Take the next item, calling `idle` now and then while there is none; raises Stopped."""
        while not self._stop.is_set():
            try:
                return self._queue.get(timeout=_POLL)
            except queue.Empty:
                if idle is not None:
                    idle()
        raise Stopped


@dataclass(frozen=True)
class Failure:
    """A segment that a stage could not do; takes the place of its remaining frames."""

    task: SegmentTask
    error: StageError


def stage_error(
    stage: str, task: SegmentTask, where: StagePosition, error: Exception
) -> StageError:
    """Return `error` as one line which names the stage, the segment and the LR pts."""
    place = f"segment {task.segment.index}, LR pts {where.pts}"
    wrapped = StageError(f"{stage}: {place}: {first_line(error)}")
    wrapped.__cause__ = error
    return wrapped


class Decoder(Protocol):
    """What `DecodeStage` does, here or elsewhere."""

    where: StagePosition

    def batches(self, task: SegmentTask) -> Generator[Batch]:
        """Yield the segment's frames with their references."""

    def close(self) -> None:
        """Let go of everything."""


class Encoder(Protocol):
    """What `EncodeStage` does, here or elsewhere."""

    where: StagePosition

    def write(self, frame: Pixels, pts: int, segment: int) -> None:
        """Encode one frame."""

    def conceal(self, pts: tuple[int, ...]) -> None:
        """Remember frames which stand for corrupt ones."""

    def finish(self, task: SegmentTask) -> SegmentRecord:
        """Commit the segment."""

    def abandon(self) -> None:
        """Delete a segment that will not be finished."""


class SegmentWorker:
    """Do segments one after the other, the next one's decoding beside the last one's encoding."""

    def __init__(
        self,
        plan: Plan,
        folder: RunFolder,
        engine: Engine,
        *,
        decode_timeout: float = DECODE_TIMEOUT,
        stages: tuple[Decoder, Encoder] | None = None,
    ) -> None:
        self.clock = StageClock()
        self.frames_done = 0
        """Frames encoded so far."""
        self.folder = folder
        self._plan = plan
        self._engine = engine
        self._decode_timeout = decode_timeout
        self._stop = threading.Event()
        self._futures: dict[int, Future[SegmentRecord]] = {}
        self._broken: StageError | None = None
        self._lock = threading.Lock()
        self._tasks: queue.SimpleQueue[SegmentTask | None] = queue.SimpleQueue()
        self._decoded: Channel[Batch | Failure] = Channel(_DEPTH, self._stop)
        self._enhanced: Channel[Enhanced | Failure] = Channel(_DEPTH, self._stop)
        self._decoder, self._encoder = stages or (
            DecodeStage(plan, borrow=engine.info.borrows),
            EncodeStage(plan, folder),
        )
        self._infer_at = StagePosition()
        self._decoding: SegmentTask | None = None
        loops = {"decode": self._decode, "infer": self._infer, "encode": self._encode}
        self._threads = [
            threading.Thread(target=loop, name=f"{THREAD_PREFIX}{name}", daemon=True)
            for name, loop in loops.items()
        ]
        for thread in self._threads:
            thread.start()

    @property
    def broken(self) -> bool:
        """Return whether a stage hangs, so that no segment will be done any more."""
        return self._broken is not None

    def submit(self, task: SegmentTask) -> Future[SegmentRecord]:
        """Queue a segment; the future gives its record when it is committed, or a StageError."""
        future: Future[SegmentRecord] = Future()
        with self._lock:
            if self._broken is not None or self._stop.is_set():
                future.set_exception(self._broken or StageError("the worker was stopped"))
                return future
            self._futures[task.segment.index] = future
        self._tasks.put(task)
        return future

    def stop(self, timeout: float = 2.0) -> bool:
        """Stop the stages and cancel what is not committed; False if a thread still runs.

        Waits at most `timeout` seconds: native code (a frame in the network) cannot be interrupted.
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

    def _settle(self, task: SegmentTask, outcome: SegmentRecord | StageError) -> None:
        with self._lock:
            future = self._futures.pop(task.segment.index, None)
        if future is None:  # stopped meanwhile
            return
        if isinstance(outcome, StageError):
            future.set_exception(outcome)
        else:
            future.set_result(outcome)

    def _fail_all(self, error: StageError) -> None:
        with self._lock:
            self._broken = error
            futures = list(self._futures.values())
            self._futures.clear()
        for future in futures:
            future.set_exception(error)

    def _decode(self) -> None:
        try:
            while (task := self._tasks.get()) is not None and not self._stop.is_set():
                self._decoder.where.at(task.segment.start_pts)
                self._decoding = task
                try:
                    self._decode_segment(task)
                except Stopped:
                    return
                except Exception as error:
                    logger.debug("decode failed", exc_info=True)
                    failed = stage_error("decode", task, self._decoder.where, error)
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
                # the time spent waiting for room is not the decoder's
                self._decoder.where.since = time.monotonic()

    def _watch_decoder(self) -> None:
        task, where = self._decoding, self._decoder.where
        if task is None or time.monotonic() - where.since < self._decode_timeout:
            return
        hung = StageError(f"no frame for {self._decode_timeout:g} s; the decoder hangs")
        self._fail_all(stage_error("decode", task, where, hung))
        self._stop.set()

    def _infer(self) -> None:
        failed: SegmentTask | None = None
        try:
            while True:
                item = self._decoded.get(self._watch_decoder)
                if isinstance(item, Failure):
                    self._enhanced.put(item)
                elif item.task is not failed:
                    try:
                        self._infer_at.at(item.pts[0])
                        start = time.perf_counter()
                        enhanced = enhance_batch(self._plan, self._engine, item)
                        self.clock.add("infer", time.perf_counter() - start)
                    except Exception as error:
                        logger.debug("infer failed", exc_info=True)
                        failed = item.task
                        wrapped = stage_error("infer", item.task, self._infer_at, error)
                        self._enhanced.put(Failure(item.task, wrapped))
                    else:
                        self._enhanced.put(enhanced)
        except Stopped:
            return

    def _encode(self) -> None:
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
                    # the first error counts: abandoning a broken file may well fail once more
                    wrapped = (
                        item.error
                        if isinstance(item, Failure)
                        else stage_error("encode", item.task, self._encoder.where, error)
                    )
                    self._abandon()
                    self._settle(item.task, wrapped)
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
            self._settle(item.task, record)

    def _abandon(self) -> None:
        try:
            self._encoder.abandon()
        except Exception:
            logger.warning("could not remove an unfinished segment", exc_info=True)
