"""Prepare samples for the next steps in a thread while the device computes."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from types import TracebackType
from typing import Generic, TypeVar

Prepared = TypeVar("Prepared")

DEPTH = 3  # number of steps that are prepared in advance


class Prefetch(Generic[Prepared]):
    """The results of `prepare` for `steps`, in order, up to DEPTH of them computed in advance.

    Each result must depend only on its step. Use the object in a `with` block, which ends the
    thread.
    """

    def __init__(self, prepare: Callable[[int], Prepared], steps: Iterator[int]) -> None:
        self._prepare = prepare
        self._steps = steps
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="prefetch")
        self._waiting: deque[Future[Prepared]] = deque()

    def __enter__(self) -> Prefetch[Prepared]:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._pool.shutdown(wait=True, cancel_futures=True)

    def get_next(self) -> Prepared:
        """Return the result of the next step. Raises StopIteration after the last one."""
        while len(self._waiting) < DEPTH and (step := next(self._steps, None)) is not None:
            self._waiting.append(self._pool.submit(self._prepare, step))
        if not self._waiting:
            raise StopIteration
        return self._waiting.popleft().result()
