"""Report progress on stderr as JSON, one object per line, for programs that call `pipeline run`.

Every object has all the keys of `EVENT`; values that do not apply are null. Later versions may add
keys and events, but will not change the meaning of existing ones.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from typing import IO, Any

from crossnetpp.printable import make_printable_json
from pipeline.progress import BatchState, Count, LossyStream, Pace

INTERVAL_SECONDS = 1.0  # between two events of the same kind

# The keys of every event, in order.
EVENT: dict[str, Any] = {
    "event": None,  # begin, step, progress, note, batch or end
    "input": None,  # the input, as given; null if several are running
    "stage": None,  # prepare, enhance or finish
    "step": None,  # in words, what a step of prepare or finish does
    "frames_done": None,  # finished frames of the input or, in step, finished items of the step
    "frames": None,  # how many there are in all
    "fps": None,  # since the stage began
    "eta_seconds": None,  # for the input or, in batch, for all inputs
    "status": None,  # of end: done, skipped, failed or not run
    "output": None,  # of end
    "text": None,  # of note, and of end: the reason
    "batch": None,  # of batch: the number of inputs in each state
}


class JsonReporter:
    """A reporter that writes one JSON object per line."""

    def __init__(self, stream: IO[str] | None = None, *, interval: float = INTERVAL_SECONDS):
        self._stream = LossyStream(stream or sys.stderr)
        self._interval = interval
        self._open: list[str] = []
        self._stage = "prepare"
        self._pace = Pace(0, 0)
        self._done = 0
        self._next: dict[str, float] = {}

    def note(self, text: str) -> None:
        """Write a note."""
        self._write("note", text=text)

    def start(self, total: int, done: int) -> None:
        """Write the first progress event of the frames."""
        self._stage = "enhance"
        self._pace = Pace(total, done)
        self._done = done
        self._next.pop("progress", None)
        self._write_progress()

    def update(self, done: int, busy: dict[str, float]) -> None:
        """Write a progress event if the last one is old enough, or when all frames are done."""
        is_last = done == self._pace.total and done != self._done
        self._done = done
        if self._is_due("progress") or is_last:
            self._write_progress()

    def close(self) -> None:
        """Enter the stage that follows the frames, without writing anything."""
        if self._stage == "enhance":
            self._stage = "finish"

    @contextmanager
    def step(self, what: str, total: int = 0, done: int = 0) -> Iterator[Count]:
        """Write an event when a step begins, and events about its progress from time to time."""
        pace = Pace(total, done)
        frames = total or None

        def count(done: int, detail: str = "") -> None:
            if self._is_due("step"):
                figures = _measure(pace, done)
                self._write("step", step=what, frames_done=done, frames=frames, **figures)

        self._write("step", step=what, frames_done=done, frames=frames)
        self._next["step"] = time.monotonic() + self._interval
        yield count

    def begin_input(self, name: str) -> None:
        """Write that an input has begun."""
        self._open.append(name)
        self._stage = "prepare"
        self._write("begin", input=name)

    def end_input(self, name: str, status: str, output: str | None, reason: str | None) -> None:
        """Write the result of an input."""
        self._write("end", input=name, stage=None, status=status, output=output, text=reason)
        if name in self._open:
            self._open.remove(name)

    def show_batch(self, state: BatchState) -> None:
        """Write a batch event if the last one is old enough, or when no input is left."""
        if self._is_due("batch") or not state.running + state.waiting:
            counts = asdict(state)
            eta = _round(counts.pop("eta_seconds"))
            self._write("batch", input=None, stage=None, batch=counts, eta_seconds=eta)

    def _is_due(self, event: str) -> bool:
        now = time.monotonic()
        if now < self._next.get(event, now):
            return False
        self._next[event] = now + self._interval
        return True

    def _write_progress(self) -> None:
        figures = _measure(self._pace, self._done)
        self._write("progress", frames_done=self._done, frames=self._pace.total, **figures)

    def _write(self, event: str, **values: Any) -> None:
        current = self._open[0] if len(self._open) == 1 else None
        known = {"event": event, "input": current, "stage": self._stage}
        line = make_printable_json(json.dumps(EVENT | known | values))
        self._stream.write(f"{line}\n")
        self._stream.flush()


def _measure(pace: Pace, done: int) -> dict[str, float | None]:
    """Return the values of the keys `fps` and `eta_seconds`; `eta_seconds` is None if unknown."""
    fps = pace.fps(done)
    left = (pace.total - done) / fps if fps > 0 and pace.total else None
    return {"fps": _round(fps), "eta_seconds": _round(left)}


def _round(value: float | None) -> float | None:
    return None if value is None else round(value, 3)
