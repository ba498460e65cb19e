"""The worker and its stages: order, references, and that no failure or stop blocks them."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from concurrent.futures import CancelledError
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest

from crossnetpp.networks.taps import make_bicubic_taps
from deploy.engines.bicubic_engine import BicubicEngine
from deploy.protocol import Pixels
from pipeline.errors import StageError
from pipeline.execution.decode import DecodeStage, ReadFrames
from pipeline.execution.encode import EncodeStage
from pipeline.execution.infer import enhance_batch
from pipeline.execution.task import SegmentTask, plan_header, tasks_for
from pipeline.execution.worker import DECODE_TIMEOUT_SECONDS, THREAD_PREFIX, SegmentWorker
from pipeline.ledger.ledger import Ledger
from pipeline.media.read.frames import FrameReader
from pipeline.pairing.upsample import upsample
from pipeline.recording import read
from pipeline.schema.capture import Capture
from pipeline.schema.plan import Plan, Segment
from pipeline.schema.reference_map import ReferenceChoice
from tests.support.recordings import BorrowingEngine, plan_pair

PATIENCE = 20.0  # seconds after which a test considers the worker blocked


def choices_of(plan: Plan, segment: Segment) -> list[ReferenceChoice]:
    """Return the reference choices of one segment."""
    return [c for c in plan.reference_map if segment.start_pts <= c.pts < segment.end_pts]


class Marking(BorrowingEngine):
    """A bicubic engine that darkens its results, and can fail at a call or sleep."""

    def __init__(self, *, fail_at: int | None = None, seconds: float = 0.0) -> None:
        super().__init__(threads=1)
        self.calls: list[int] = []
        self._fail_at, self._seconds = fail_at, seconds

    def enhance(self, lr: Pixels, *refs: Pixels, **options: Any) -> Pixels:
        self.calls.append(len(lr))
        time.sleep(self._seconds)
        if len(self.calls) - 1 == self._fail_at:
            raise RuntimeError("CUDA error: out of luck\nand a second line")
        return super().enhance(lr, *refs, **options) // 2


class Held(Marking):
    """A bicubic engine that waits until it is released."""

    def __init__(self) -> None:
        super().__init__()
        self.entered, self.free = threading.Event(), threading.Event()

    def enhance(self, lr: Pixels, *refs: Pixels, **options: Any) -> Pixels:
        self.entered.set()
        self.free.wait(PATIENCE)
        return super().enhance(lr, *refs, **options)


def make_plan(pair: tuple[Path, Path], output: Path) -> Plan:
    """Return a plan whose input counts as compressed: it does not overrule what engines make."""
    rows, columns = make_bicubic_taps(2)[0].tolist()
    capture = Capture(
        source="bicubic", scale=2, rows=(tuple(rows),), columns=(tuple(columns),), fits_db=30.0
    )
    return plan_pair(pair, output).model_copy(update={"capture": capture})


@pytest.fixture
def ledger(pair: tuple[Path, Path], tmp_path: Path) -> Iterator[Ledger]:
    with Ledger(make_plan(pair, tmp_path / "out.mkv")) as opened:
        yield opened


@pytest.fixture(autouse=True)
def no_thread_is_left() -> Iterator[None]:
    yield
    left = [t.name for t in threading.enumerate() if t.name.startswith(THREAD_PREFIX)]
    assert left == []


def worker_for(
    ledger: Ledger,
    engine: BicubicEngine | None = None,
    *,
    read_frames: ReadFrames = read,
    encoder: EncodeStage | None = None,
    decode_timeout: float = DECODE_TIMEOUT_SECONDS,
) -> SegmentWorker:
    """Return a worker with these stages and an engine that darkens its results."""
    plan = plan_header(ledger.plan)
    return SegmentWorker(
        plan,
        ledger.folder,
        engine or Marking(),
        decode_timeout=decode_timeout,
        stages=(
            DecodeStage(plan, read_frames=read_frames),
            encoder or EncodeStage(plan, ledger.folder),
        ),
    )


def all_tasks(ledger: Ledger) -> list[SegmentTask]:
    return tasks_for(ledger.plan, ledger.pending_segments())


def test_tasks_hold_the_choices_of_their_segment(ledger: Ledger) -> None:
    for task, segment in zip(all_tasks(ledger), ledger.plan.segments, strict=True):
        assert task.segment == segment
        assert list(task.choices) == choices_of(ledger.plan, segment)
    assert len(plan_header(ledger.plan).reference_map) == 0
    assert [t.segment.index for t in tasks_for(ledger.plan, [3, 1])] == [3, 1]


def test_segments_are_enhanced_and_committed(ledger: Ledger) -> None:
    engine = Marking()
    with worker_for(ledger, engine) as worker:
        futures = [worker.submit(task) for task in all_tasks(ledger)]
        records = [future.result(PATIENCE) for future in futures]
        busy = worker.clock.seconds()
        assert worker.frames_done == 40
    assert [r.frames for r in records] == [10] * 4
    assert all(ledger.folder.read_record(i) == records[i] for i in range(4))
    assert [(r.first_pts, r.last_pts) for r in records] == [
        (choices_of(ledger.plan, s)[0].pts, choices_of(ledger.plan, s)[-1].pts)
        for s in ledger.plan.segments
    ]
    # 4 + 4 + 2 frames in each segment, of which the fifth and the tenth have no reference
    assert engine.calls == [4, 3, 1] * 4
    assert all(seconds > 0 for seconds in busy.values())


def test_frames_without_reference_are_plainly_upsampled(ledger: Ledger) -> None:
    with worker_for(ledger) as worker:
        record = worker.submit(all_tasks(ledger)[0]).result(PATIENCE)
    with av.open(str(ledger.folder.segments / record.file)) as container:
        brightness = [f.to_ndarray(format="gray").mean() for f in container.decode(video=0)]
    dark = [value < 0.7 * max(brightness) for value in brightness]
    assert dark == [i % 5 != 4 for i in range(10)]


def test_upsample_keeps_sixteen_bits() -> None:
    lr = np.full((8, 8, 3), 60000, np.uint16)
    assert upsample(lr, 16, 16).dtype == np.uint16
    assert upsample(lr, 16, 16).shape == (16, 16, 3)


def test_a_shared_reference_is_decoded_once(
    ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    read_pts: list[int] = []
    real = FrameReader.get

    def get(self: FrameReader, pts: int) -> Pixels:
        read_pts.append(pts)
        return real(self, pts)

    monkeypatch.setattr(FrameReader, "get", get)
    decoder = DecodeStage(plan_header(ledger.plan))
    for task in all_tasks(ledger):
        assert [b.last for b in decoder.batches(task)] == [False, False, True]
    decoder.close()
    assert read_pts == sorted(set(read_pts))
    assert len(read_pts) == 10


def test_results_do_not_depend_on_the_worker_or_the_order(
    ledger: Ledger, pair: tuple[Path, Path], tmp_path: Path
) -> None:
    with worker_for(ledger) as worker:
        first = [worker.submit(t).result(PATIENCE).sha256 for t in all_tasks(ledger)]
    with Ledger(make_plan(pair, tmp_path / "other.mkv")) as other:
        second = {}
        for task in reversed(all_tasks(other)):
            with worker_for(other) as worker:
                second[task.segment.index] = worker.submit(task).result(PATIENCE).sha256
    assert [second[i] for i in range(4)] == first


def test_an_infer_error_names_stage_segment_and_pts(ledger: Ledger) -> None:
    pts = choices_of(ledger.plan, ledger.plan.segments[1])[4].pts
    with worker_for(ledger, Marking(fail_at=4)) as worker:
        futures = [worker.submit(task) for task in all_tasks(ledger)]
        futures[0].result(PATIENCE)
        with pytest.raises(StageError) as caught:
            futures[1].result(PATIENCE)
        # the failure does not affect other segments
        futures[3].result(PATIENCE)
    assert str(caught.value) == f"infer: segment 1, LR pts {pts}: CUDA error: out of luck"
    assert isinstance(caught.value.__cause__, RuntimeError)
    assert [ledger.folder.read_record(i) is not None for i in range(4)] == [True, False, True, True]
    assert list(ledger.folder.segments.glob("attempt-*")) == []


def test_an_engine_that_returns_another_size_is_refused(ledger: Ledger) -> None:
    class Wrong(BorrowingEngine):
        def enhance(self, lr: Pixels, *refs: Pixels, **options: Any) -> Pixels:
            return lr

    with worker_for(ledger, Wrong(threads=1)) as worker:
        future = worker.submit(all_tasks(ledger)[0])
        with pytest.raises(StageError, match=r"infer: .* returned uint8 \(4, 48, 64, 3\)"):
            future.result(PATIENCE)


@pytest.mark.parametrize("at", [0, 7])
def test_a_decode_error_comes_after_the_segments_before_it(ledger: Ledger, at: int) -> None:
    def read_broken(clip: Any, start: int, *arguments: Any, **options: Any) -> Iterator[Any]:
        broken = start == ledger.plan.segments[2].start_pts
        for count, frame in enumerate(read(clip, start, *arguments, **options)):
            if broken and count == at:
                raise OSError("corrupt packet")
            yield frame

    pts = choices_of(ledger.plan, ledger.plan.segments[2])[at].pts
    with worker_for(ledger, read_frames=read_broken) as worker:
        futures = [worker.submit(task) for task in all_tasks(ledger)]
        with pytest.raises(StageError, match=rf"^decode: segment 2, LR pts {pts}: corrupt packet$"):
            futures[2].result(PATIENCE)
        assert futures[0].result(0).frames == futures[1].result(0).frames == 10


def test_missing_and_surplus_frames_are_noticed(ledger: Ledger) -> None:
    task = all_tasks(ledger)[1]
    short = SegmentTask(task.segment, task.choices[:-1])
    drop_last = False

    def read_some(*arguments: Any, **options: Any) -> Iterator[Any]:
        frames = list(read(*arguments, **options))
        yield from frames[:-1] if drop_last else frames

    with worker_for(ledger, read_frames=read_some) as worker:
        with pytest.raises(StageError, match="but the plan expects the end"):
            worker.submit(short).result(PATIENCE)
        drop_last = True
        with pytest.raises(StageError, match="has 9 frames, but the plan expects 10"):
            worker.submit(task).result(PATIENCE)
    assert ledger.folder.read_record(1) is None


def test_an_encode_error_names_the_pts_and_leaves_nothing(ledger: Ledger) -> None:
    bad = choices_of(ledger.plan, ledger.plan.segments[0])[5].pts

    class FullDisk(EncodeStage):
        def write(self, frame: Pixels, pts: int, segment: int) -> None:
            super().write(frame, pts, segment)
            if pts == bad:
                raise OSError(28, "No space left on device")

    encoder = FullDisk(plan_header(ledger.plan), ledger.folder)
    with worker_for(ledger, encoder=encoder) as worker:
        futures = [worker.submit(task) for task in all_tasks(ledger)]
        with pytest.raises(StageError, match=rf"encode: segment 0, LR pts {bad}: .*No space left"):
            futures[0].result(PATIENCE)
        assert futures[1].result(PATIENCE).frames == 10
    assert list(ledger.folder.segments.glob("attempt-*")) == []


def test_a_hanging_decoder_is_noticed(ledger: Ledger) -> None:
    release = threading.Event()

    def hang(*_: object, **__: object) -> Iterator[object]:
        release.wait(PATIENCE)
        return iter(())

    with worker_for(ledger, read_frames=hang, decode_timeout=0.3) as worker:
        futures = [worker.submit(task) for task in all_tasks(ledger)]
        with pytest.raises(StageError, match=r"decode: segment 0, .* no frame for 0.3 s"):
            futures[0].result(PATIENCE)
        with pytest.raises(StageError, match="the decoder hangs"):
            futures[3].result(PATIENCE)
        with pytest.raises(StageError, match="the decoder hangs"):
            worker.submit(all_tasks(ledger)[0]).result(PATIENCE)
        release.set()


@pytest.mark.parametrize("after", [0.0, 0.05, 0.3])
def test_stopping_at_any_time_ends_every_thread(ledger: Ledger, after: float) -> None:
    worker = worker_for(ledger, Marking(seconds=0.05))
    futures = [worker.submit(task) for task in all_tasks(ledger)]
    time.sleep(after)
    start = time.monotonic()
    assert worker.stop()
    assert time.monotonic() - start < 2
    with pytest.raises(CancelledError):
        futures[-1].result(PATIENCE)
    with pytest.raises(StageError, match="was stopped"):
        worker.submit(all_tasks(ledger)[0]).result(PATIENCE)
    assert list(ledger.folder.segments.glob("attempt-*")) == []


def test_stop_does_not_wait_for_a_long_call(ledger: Ledger) -> None:
    worker = worker_for(ledger, Marking(seconds=1.5))
    worker.submit(all_tasks(ledger)[0])
    time.sleep(0.3)
    assert not worker.stop(timeout=0.3)
    assert worker.stop(timeout=PATIENCE)


def test_a_full_queue_bounds_the_frames_that_are_decoded(ledger: Ledger) -> None:
    count = 0

    def read_counting(*arguments: Any, **options: Any) -> Iterator[Any]:
        nonlocal count
        for frame in read(*arguments, **options):
            count += 1
            yield frame

    engine = Held()
    worker = worker_for(ledger, engine, read_frames=read_counting)
    for task in all_tasks(ledger):
        worker.submit(task)
    try:
        assert engine.entered.wait(PATIENCE)
        before = -1
        while count > before:  # until the decoder has to wait
            before = count
            time.sleep(0.5)
        # one batch in the engine, two queued, one waiting for room and the frame after it
        assert 8 <= count <= 17
    finally:
        engine.free.set()
        worker.stop(timeout=PATIENCE)


def test_enhance_puts_frames_back_in_order(ledger: Ledger) -> None:
    decoder = DecodeStage(plan_header(ledger.plan))
    second = list(decoder.batches(all_tasks(ledger)[0]))[1]
    decoder.close()
    assert [group.frames for group in second.groups] == [[1, 2, 3]]
    enhanced = enhance_batch(ledger.plan, Marking(), second)
    assert enhanced.pts == second.pts
    plain = upsample(second.lr[0], ledger.plan.height, ledger.plan.width)
    assert np.array_equal(enhanced.frames[0], plain)
    assert enhanced.frames[1].mean() < 0.6 * plain.mean()
