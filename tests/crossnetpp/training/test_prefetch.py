"""Samples that a thread prepares ahead."""

from __future__ import annotations

import threading

import pytest

from crossnetpp.training.prefetch import DEPTH, Prefetch


def test_results_come_in_order_and_are_prepared_ahead() -> None:
    made: list[int] = []
    enough = threading.Event()

    def prepare(step: int) -> int:
        made.append(step)
        if len(made) == DEPTH:
            enough.set()
        return step * step

    with Prefetch(prepare, iter((3, 5, 8, 13))) as ahead:
        assert ahead.get_next() == 9
        assert enough.wait(20)
        assert [ahead.get_next() for _ in range(3)] == [25, 64, 169]
        with pytest.raises(StopIteration):
            ahead.get_next()
    assert made == [3, 5, 8, 13]


def test_an_error_reaches_the_step_that_it_concerns() -> None:
    def prepare(step: int) -> float:
        return 1 / step

    with Prefetch(prepare, iter((1, 0, 2))) as ahead:
        assert ahead.get_next() == 1
        with pytest.raises(ZeroDivisionError):
            ahead.get_next()
