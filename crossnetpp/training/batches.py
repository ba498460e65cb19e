"""Batches of samples, prepared by worker processes."""

from __future__ import annotations

from collections.abc import Iterator

from torch.utils.data import DataLoader, Dataset

from crossnetpp.data.mixture import Sample
from crossnetpp.data.sample import DataError


class SampleNumbers:
    """Batch sampler for a DataLoader: the sample numbers of each step, for one process."""

    def __init__(self, steps: Iterator[int], batch: int, offset: int, share: int) -> None:
        self._steps = steps
        self._batch = batch
        self._offset = offset
        self._share = share

    def __iter__(self) -> Iterator[list[int]]:
        for step in self._steps:
            first = step * self._batch + self._offset
            yield list(range(first, first + self._share))


def load_batches(
    samples: Dataset[Sample], numbers: SampleNumbers, workers: int
) -> Iterator[Sample]:
    """Yield a batch of `samples` for each list of `numbers`, prepared by `workers` processes.

    Raises DataError, with a one-line message, if a sample cannot be made.
    """
    try:
        yield from DataLoader(samples, batch_sampler=numbers, num_workers=workers)
    except DataError as error:
        # PyTorch puts the traceback of a worker into the message
        *traceback, last = str(error).splitlines()
        if not traceback:
            raise
        name = f"{DataError.__module__}.{DataError.__qualname__}: "
        raise DataError(last.removeprefix(name)) from error
