"""Track all inputs of a batch, and estimate when the whole batch will be done."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from pipeline.progress import BatchReporter, BatchState, Count
from pipeline.runs.result import ItemResult
from pipeline.schema.plan import Plan


@dataclass
class _Item:
    """The progress of one input."""

    name: str
    state: str = "waiting"
    """"waiting", "running", or the status of the result."""
    frames: int = 0
    """Number of output frames; 0 until the input is planned."""
    pixels: int = 0
    """Pixels of an output frame."""
    before: int = 0
    """Number of frames that were done before this batch."""
    done: int = 0
    """Number of frames that are done now."""

    @property
    def work(self) -> int:
        """The number of output pixels that this batch has made."""
        return (self.done - self.before) * self.pixels

    @property
    def left(self) -> int:
        """The number of output pixels that are left to make."""
        return (self.frames - self.done) * self.pixels


class BatchProgress:
    """The progress of a batch, in which inputs are identified by their position, counted from 0.

    `clock` returns the time in seconds.
    """

    def __init__(
        self,
        names: Sequence[str],
        reporter: BatchReporter,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._items = [_Item(name) for name in names]
        self._reporter = reporter
        self._clock = clock
        self._start = clock()

    def begin(self, number: int) -> None:
        """Report that an input is about to be opened."""
        item = self._items[number]
        item.state = "running"
        self._reporter.note(f"[{number + 1}/{len(self._items)}] {item.name}")
        self._reporter.begin_input(item.name)
        self._show()

    def measure(self, number: int, plan: Plan, done: int) -> None:
        """Record the size of a planned input; `done` of its frames are already committed."""
        item = self._items[number]
        item.frames = len(plan.reference_map)
        item.pixels = plan.width * plan.height
        item.before = item.done = done

    def advance(self, number: int, done: int) -> None:
        """Record how many frames of an input are done."""
        self._items[number].done = done
        self._show()

    def end(self, number: int, result: ItemResult) -> None:
        """Report the result of an input."""
        item = self._items[number]
        item.state = result.status
        if result.status == "done":
            item.done = item.frames
        reason = result.error or result.note
        if result.status == "failed" and reason is not None:
            self._reporter.note(f"failed: {' '.join(reason.split())}")
        elif result.status == "skipped":
            self._reporter.note(f"skipped {item.name}: {reason}")
        self._reporter.end_input(item.name, result.status, result.output, reason)
        self._show()

    def count_frames(self) -> tuple[int, int]:
        """Return the number of frames of the running inputs, and how many of them are done."""
        running = [item for item in self._items if item.state == "running"]
        return sum(item.frames for item in running), sum(item.done for item in running)

    def estimate_seconds(self) -> float | None:
        """Return an estimate of the seconds left for all inputs, or None if it is too early.

        Inputs that are not planned yet are assumed to have the mean size of the planned inputs.
        """
        known = [item for item in self._items if item.frames]
        made = sum(item.work for item in known)
        elapsed = self._clock() - self._start
        if made <= 0 or elapsed <= 0:
            return None

        mean = sum(item.frames * item.pixels for item in known) / len(known)
        unknown = [item for item in self._items if item.state in ("waiting", "running")]
        left = sum(item.left for item in known if item.state == "running")
        guessed = mean * sum(not item.frames for item in unknown)
        return (left + guessed) * elapsed / made

    def describe(self) -> BatchState:
        """Return the state of the batch."""
        counts = Counter(item.state for item in self._items)
        return BatchState(
            inputs=len(self._items),
            done=counts["done"],
            skipped=counts["skipped"],
            failed=counts["failed"] + counts["not run"],
            running=counts["running"],
            waiting=counts["waiting"],
            eta_seconds=self.estimate_seconds(),
        )

    def _show(self) -> None:
        self._reporter.show_batch(self.describe())


class InputReporter:
    """The reporter of one input of a batch, which also updates the batch's progress."""

    def __init__(self, number: int, progress: BatchProgress, reporter: BatchReporter) -> None:
        self._number = number
        self._progress = progress
        self._reporter = reporter

    def note(self, text: str) -> None:
        """Show a message for the user."""
        self._reporter.note(text)

    def start(self, total: int, done: int) -> None:
        """Start the display."""
        self._reporter.start(total, done)

    def update(self, done: int, busy: dict[str, float]) -> None:
        """Report the number of frames done so far."""
        self._progress.advance(self._number, done)
        self._reporter.update(done, busy)

    def close(self) -> None:
        """End the display."""
        self._reporter.close()

    @contextmanager
    def step(self, what: str, total: int = 0, done: int = 0) -> Iterator[Count]:
        """Show the step `what` while the context is open."""
        with self._reporter.step(what, total, done) as count:
            yield count
