"""What engines keep of the references that were used last."""

from __future__ import annotations

import numpy as np

from crossnetpp.networks.taps import make_bicubic_taps, make_box_taps
from deploy.engines.kept_references import KeptReferences
from deploy.protocol import Pixels


def make_reference(level: int) -> Pixels:
    return np.full((8, 8, 3), level, np.uint8)


class Counter:
    """Computes a new number each time."""

    def __init__(self) -> None:
        self.kept = KeptReferences[int]()
        self.count = 0

    def get(self, pixels: Pixels, scale: int = 4, kernel: np.ndarray | None = None) -> int:
        def compute() -> int:
            self.count += 1
            return self.count

        return self.kept.get_or_compute(pixels, scale, kernel, compute)


def test_a_reference_is_known_by_its_pixels_scale_and_kernel() -> None:
    counter = Counter()
    counter.kept.make_room(9)
    first = make_reference(1)
    box, bicubic = make_box_taps(4), make_bicubic_taps(4)
    assert [counter.get(first), counter.get(first.copy())] == [1, 1]
    assert counter.get(make_reference(2)) == 2
    assert counter.get(first, scale=2) == 3
    assert counter.get(first, kernel=box) == 4
    assert counter.get(first, kernel=bicubic) == 5
    assert counter.get(first, kernel=box.copy()) == 4
    assert counter.get(first) == 1


def test_pixels_that_are_overwritten_later_are_another_reference() -> None:
    counter = Counter()
    buffer, kernel = make_reference(1), make_box_taps(4).copy()
    assert counter.get(buffer, kernel=kernel) == 1
    buffer[:] = 2
    assert counter.get(buffer, kernel=kernel) == 2
    kernel[:] = make_bicubic_taps(4)
    assert counter.get(buffer, kernel=kernel) == 3


def test_as_many_are_kept_as_a_frame_has_had_the_last_used_ones() -> None:
    counter = Counter()
    one, two, three = (make_reference(level) for level in (1, 2, 3))
    assert [counter.get(one), counter.get(two), counter.get(one)] == [1, 2, 3]

    counter.kept.make_room(2)
    assert [counter.get(two), counter.get(one)] == [4, 3]
    assert [counter.get(three), counter.get(one), counter.get(two)] == [5, 3, 6]
    counter.kept.make_room(1)  # room for two stays
    assert [counter.get(one), counter.get(two)] == [3, 6]
