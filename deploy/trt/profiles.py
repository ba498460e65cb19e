"""The sizes that a plan is made for: TensorRT's optimisation profiles."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

Shape = tuple[int, int, int]
"""Frames of a batch, height and width of the output."""
BUSY_PIXELS = 2**21
"""Output pixels that keep a GPU busy: as many frames as hold so many are enhanced at once."""
MOST_FRAMES = 8
"""Frames at once, however small."""


def frames_at_once(height: int, width: int) -> int:
    """Return how many output frames of `height` x `width` are enhanced together."""
    return max(1, min(MOST_FRAMES, -(-BUSY_PIXELS // (height * width))))


@dataclass(frozen=True)
class SizeRange:
    """Smallest, usual and largest output: frames, height, width."""

    least: Shape
    usual: Shape
    most: Shape

    @classmethod
    def of(cls, height: int, width: int) -> SizeRange:
        """Return the sizes of a plan for frames of one size, which is the fastest."""
        at_once = frames_at_once(height, width)
        return cls((1, height, width), (at_once, height, width), (at_once, height, width))

    def hold(self, shape: Shape) -> bool:
        """Return whether a plan of these sizes runs `shape`."""
        return all(a <= b <= c for a, b, c in zip(self.least, shape, self.most, strict=True))

    def facts(self) -> list[list[int]]:
        """Return what a registry's key says of them."""
        return [list(self.least), list(self.usual), list(self.most)]


ANY_SIZE = SizeRange((1, 64, 64), (1, 1088, 1920), (MOST_FRAMES, 2176, 3840))
"""For plans that are made elsewhere, before anybody knows the recording."""


def input_shape(name: str, declared: Sequence[int], shape: Shape, scale: int) -> tuple[int, ...]:
    """Return the shape of the input `name` of a graph for an output of `shape`.

    `declared` is the graph's own, -1 where it is free.
    """
    batch, height, width = shape
    if name == "lr":
        return batch, height // scale, width // scale, 3
    if name == "ref":
        return batch, height, width, 3
    # features say what they are: f8 has an eighth of the size; others are whole pictures
    k = int(name[1:]) if name[1:].isdigit() else 1
    return batch, declared[1], height // k, width // k
