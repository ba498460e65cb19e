"""Turn SIGINT and SIGTERM into one KeyboardInterrupt, so that a run can clean up."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType, TracebackType
from typing import Any

_SIGNALS = (signal.SIGINT, signal.SIGTERM)


class Interrupts:
    """A context manager that turns the first SIGINT or SIGTERM into a KeyboardInterrupt.

    Later signals are ignored. Outside the main thread, the context manager has no effect, because
    Python handles signals only there.
    """

    def __init__(self) -> None:
        self._before: dict[signal.Signals, Any] = {}
        self._deferring = False
        self._pending = False
        self._raised = False

    def __enter__(self) -> Interrupts:
        if threading.current_thread() is threading.main_thread():
            self._before = {number: signal.getsignal(number) for number in _SIGNALS}
            self.install()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)
        self._before = {}

    def install(self) -> None:
        """Install the handlers; call this again after `ray.init`, which replaces one of them."""
        if threading.current_thread() is threading.main_thread():
            for number in _SIGNALS:
                signal.signal(number, self._handle)

    @contextmanager
    def defer(self) -> Iterator[None]:
        """Defer signals to the end of the block, so that they cannot interrupt publishing.

        If the block raises an error after a signal, KeyboardInterrupt is raised instead.
        """
        self._deferring = True
        try:
            yield
        finally:
            self._deferring = False
            if self._pending:
                self._raise()

    def _handle(self, number: int, frame: FrameType | None) -> None:
        if self._raised:
            return
        if self._deferring:
            self._pending = True
        else:
            self._raise()

    def _raise(self) -> None:
        self._raised = True
        self._pending = False
        raise KeyboardInterrupt
