"""Show the progress of long operations on stderr: a bar on a terminal, plain lines elsewhere."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import dataclass
from typing import IO, Protocol, cast

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn

from crossnetpp.printable import make_printable

_FIRST_LINE_SECONDS = 5.0
_SILENT_SECONDS = 1.0  # extra wait for a step's first count before only the step's name is shown
_LINE_INTERVAL_SECONDS = 30.0  # long enough to keep the log of a day-long run readable


class Count(Protocol):
    """A callback that receives the progress of one step."""

    def __call__(self, done: int, detail: str = "") -> None:
        """Report the number of items done so far, and optionally a short remark to show."""


class LossyStream:
    """A text stream that ignores write errors, because a failed display must not end a run."""

    def __init__(self, stream: IO[str] | None) -> None:
        self._stream = stream

    @property
    def encoding(self) -> str:
        """The stream's encoding, or utf-8 if it has none."""
        return getattr(self._stream, "encoding", None) or "utf-8"

    def isatty(self) -> bool:
        """Return whether the stream is a terminal."""
        return self._stream is not None and self._stream.isatty()

    def fileno(self) -> int:
        """Return the stream's file descriptor; raises OSError if it has none."""
        if self._stream is None:
            raise OSError("the stream is closed")
        return self._stream.fileno()

    def write(self, text: str) -> int:
        """Write `text`, or drop it if that fails; return its length in either case."""
        with suppress(OSError, ValueError):
            if self._stream is not None:
                self._stream.write(text)
        return len(text)

    def flush(self) -> None:
        """Flush the stream, and ignore a failure."""
        with suppress(OSError, ValueError):
            if self._stream is not None:
                self._stream.flush()


class Reporter(Protocol):
    """An object that displays or forwards a run's progress."""

    def note(self, text: str) -> None:
        """Show a message for the user."""

    def start(self, total: int, done: int) -> None:
        """Start the display, with `done` of `total` frames already committed."""

    def update(self, done: int, busy: dict[str, float]) -> None:
        """Report the number of frames done so far, and the busy seconds of each stage."""

    def close(self) -> None:
        """End the display."""

    def step(self, what: str, total: int = 0, done: int = 0) -> AbstractContextManager[Count]:
        """Show the step `what` while the context is open, and yield the callback for its progress.

        `total` is the step's number of items, or 0 if unknown; `done` of them were done before.
        Only one step may be open at a time, and none between `start` and `close`.
        """
        ...


@dataclass(frozen=True)
class BatchState:
    """The progress of a batch: the number of its inputs in each state, and the time left."""

    inputs: int
    done: int
    skipped: int
    failed: int
    running: int
    waiting: int
    eta_seconds: float | None
    """Seconds until all inputs are done; None if that cannot be estimated yet."""

    def __str__(self) -> str:
        counts = [f"{self.done} of {self.inputs} inputs done"]
        if self.skipped:
            counts.append(f"{self.skipped} skipped")
        if self.failed:
            counts.append(f"{self.failed} failed")
        if self.running > 1:
            counts.append(f"{self.running} running")
        if self.eta_seconds is not None:
            counts.append(f"{format_seconds(self.eta_seconds)} left for all")
        return ", ".join(counts)


class BatchReporter(Reporter, Protocol):
    """A reporter for the runs of a batch, and for the batch as a whole."""

    def begin_input(self, name: str) -> None:
        """Report that the run of the input `name` begins."""

    def end_input(self, name: str, status: str, output: str | None, reason: str | None) -> None:
        """Report an input's status (done, skipped, failed or not run), output and any reason."""

    def show_batch(self, state: BatchState) -> None:
        """Report the state of the batch."""


class SilentReporter:
    """A reporter that shows nothing."""

    def note(self, text: str) -> None:
        """Ignore the text."""

    def start(self, total: int, done: int) -> None:
        """Ignore the start."""

    def update(self, done: int, busy: dict[str, float]) -> None:
        """Ignore the figures."""

    def close(self) -> None:
        """Do nothing."""

    def begin_input(self, name: str) -> None:
        """Ignore the input."""

    def end_input(self, name: str, status: str, output: str | None, reason: str | None) -> None:
        """Ignore the result."""

    def show_batch(self, state: BatchState) -> None:
        """Ignore the state."""

    @contextmanager
    def step(self, what: str, total: int = 0, done: int = 0) -> Iterator[Count]:
        """Yield a callback that ignores the progress."""

        def ignore(done: int, detail: str = "") -> None:
            pass

        yield ignore


SILENT: Reporter = SilentReporter()


class _BatchText:
    """A base class that stores a batch's state as text, to be shown after an input's progress."""

    _batch = ""

    def begin_input(self, name: str) -> None:
        """Do nothing: a note already names the input."""

    def end_input(self, name: str, status: str, output: str | None, reason: str | None) -> None:
        """Do nothing: the batch's result will name the input."""

    def show_batch(self, state: BatchState) -> None:
        """Store the state as text, which the next update shows."""
        self._batch = f"; {state}" if state.inputs > 1 else ""


def find_bottleneck(busy: dict[str, float]) -> str:
    """Return the stage with the most busy seconds, or "" if no stage has worked yet."""
    stage = max(busy, key=lambda name: busy[name], default="")
    return stage if stage and busy[stage] > 0 else ""


def format_seconds(seconds: float) -> str:
    """Return a duration in seconds as h:mm:ss, or as m:ss if it is under an hour."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"


def format_bytes(count: float) -> str:
    """Return a number of bytes in kB, MB or GB, such as 12 kB, 1.5 MB, 320 MB or 76.6 GB."""
    if count < 99.5e3:
        return f"{count / 1e3:.0f} kB" if count >= 9.95e3 else f"{count / 1e3:.1f} kB"
    if count >= 999.5e6:
        return f"{count / 1e9:.1f} GB"
    return f"{count / 1e6:.0f} MB" if count >= 9.95e6 else f"{count / 1e6:.1f} MB"


class Pace:
    """Measures frames (or a step's items) per second, and estimates the time left.

    The measurement starts when the object is created.
    """

    def __init__(self, total: int, done: int) -> None:
        self.total = total
        self._first = done
        self._start = time.monotonic()

    def fps(self, done: int) -> float:
        """Return the frames per second since creation, if `done` frames are done now."""
        elapsed = time.monotonic() - self._start
        return (done - self._first) / elapsed if elapsed > 0 else 0.0

    def describe_left(self, done: int) -> str:
        """Return the time left as text, such as "1:05 left"."""
        fps = self.fps(done)
        left = format_seconds((self.total - done) / fps) if fps > 0 else "?"
        return f"{left} left"

    def describe(self, done: int, busy: dict[str, float]) -> str:
        """Return the frames per second, the time left and the slowest stage as text."""
        stage = find_bottleneck(busy)
        limit = f", limited by {stage}" if stage else ""
        return f"{self.fps(done):.2f} fps, {self.describe_left(done)}{limit}"


class LineReporter(_BatchText):
    """A reporter that writes plain lines at intervals, for logs and pipes."""

    def __init__(
        self, stream: IO[str] | None = None, *, first_seconds: float = _FIRST_LINE_SECONDS
    ) -> None:
        """Write to `stream` (default: stderr), and show progress only after `first_seconds`."""
        self._first_seconds = first_seconds
        self._stream = LossyStream(stream or sys.stderr)
        self._pace = Pace(0, 0)
        self._next = 0.0

    def note(self, text: str) -> None:
        """Write one line."""
        self._stream.write(f"{make_printable(text)}\n")
        self._stream.flush()

    def start(self, total: int, done: int) -> None:
        """Write the number of frames, and how many of them are already done."""
        self._pace = Pace(total, done)
        self._next = time.monotonic() + self._first_seconds
        resumed = f", {done} already done" if done else ""
        self.note(f"{total} frame{'' if total == 1 else 's'}{resumed}")

    def update(self, done: int, busy: dict[str, float]) -> None:
        """Write a line of progress if the next one is due."""
        if time.monotonic() >= self._next:
            self._next = time.monotonic() + _LINE_INTERVAL_SECONDS
            pace = self._pace.describe(done, busy)
            self.note(f"{done}/{self._pace.total} frames, {pace}{self._batch}")

    def close(self) -> None:
        """Do nothing: plain lines leave no display to close."""

    @contextmanager
    def step(self, what: str, total: int = 0, done: int = 0) -> Iterator[Count]:
        """Write lines at intervals, but none for a short step.

        If no progress arrives in time, the first line contains only the name of the step.
        """
        pace = Pace(total, done)
        due = time.monotonic() + self._first_seconds
        timer = threading.Timer(self._first_seconds + _SILENT_SECONDS, self.note, [f"{what} ..."])
        timer.daemon = True
        timer.start()

        def count(done: int, detail: str = "") -> None:
            nonlocal due
            if time.monotonic() >= due:
                timer.cancel()
                due = time.monotonic() + _LINE_INTERVAL_SECONDS
                self.note(f"{what}: {_describe_step(pace, done, detail)}")

        try:
            yield count
        finally:
            timer.cancel()


def _describe_step(pace: Pace, done: int, detail: str) -> str:
    """Return the progress of a step as text, such as "3/10, 0:12 left"."""
    state = f"{done}/{pace.total}, {pace.describe_left(done)}" if pace.total else f"{done}"
    return f"{state}, {detail}" if detail else state


class BarReporter(_BatchText):
    """A reporter that redraws a bar in place, for terminals."""

    def __init__(self) -> None:
        self._progress = Progress(
            BarColumn(),
            TextColumn("{task.completed:.0f}/{task.total:.0f} frames"),
            TextColumn("{task.fields[pace]}"),
            console=Console(file=cast(IO[str], LossyStream(sys.stderr))),
        )
        self._task: TaskID | None = None
        self._pace = Pace(0, 0)

    def note(self, text: str) -> None:
        """Write one line above the bar."""
        self._progress.console.print(make_printable(text), highlight=False, markup=False)

    def start(self, total: int, done: int) -> None:
        """Show the bar."""
        self._pace = Pace(total, done)
        self._task = self._progress.add_task("", total=total, completed=done, pace="")
        self._progress.start()

    def update(self, done: int, busy: dict[str, float]) -> None:
        """Redraw the bar."""
        if self._task is not None:
            pace = self._pace.describe(done, busy) + self._batch
            self._progress.update(self._task, completed=done, pace=pace)

    def close(self) -> None:
        """Stop the bar, whose last state stays on the screen."""
        self._progress.stop()
        if self._task is not None:
            # otherwise, this bar would be drawn again beside the bar of the next input or pass
            self._progress.remove_task(self._task)
            self._task = None

    @contextmanager
    def step(self, what: str, total: int = 0, done: int = 0) -> Iterator[Count]:
        """Show a bar that disappears when the step ends."""
        pace = Pace(total, done)
        columns = (
            TextColumn("{task.description}", markup=False),
            BarColumn(),
            TextColumn("{task.fields[state]}", markup=False),
        )
        with Progress(*columns, console=self._progress.console, transient=True) as bar:
            task = bar.add_task(what, total=total or None, completed=done, state="")

            def count(done: int, detail: str = "") -> None:
                bar.update(task, completed=done, state=_describe_step(pace, done, detail))

            yield count


def make_reporter(*, quiet: bool = False) -> BatchReporter:
    """Return a reporter: silent if `quiet`, with a bar on a terminal, or else with plain lines."""
    if quiet:
        return SilentReporter()

    return BarReporter() if LossyStream(sys.stderr).isatty() else LineReporter()
