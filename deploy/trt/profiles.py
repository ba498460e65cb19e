"""The ranges of sizes for which a plan is built: TensorRT's optimisation profiles."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

Shape = tuple[int, int, int]  # frames in a batch, height and width of the output
BUSY_PIXELS = 2**21  # output pixels per batch that are enough to keep a GPU busy
MOST_FRAMES = 8  # per batch, even if frames are very small


def frames_at_once(height: int, width: int) -> int:
    """Return how many output frames of `height` x `width` form a batch."""
    return max(1, min(MOST_FRAMES, -(-BUSY_PIXELS // (height * width))))


@dataclass(frozen=True)
class SizeRange:
    """The smallest, the usual and the largest output that a plan supports."""

    least: Shape
    usual: Shape
    most: Shape

    @classmethod
    def for_frames(cls, height: int, width: int) -> SizeRange:
        """Return the range for frames of a single size; plans for one size run fastest."""
        batch = frames_at_once(height, width)
        return cls(
            least=(1, height, width), usual=(batch, height, width), most=(batch, height, width)
        )

    @classmethod
    def from_json(cls, values: Sequence[Sequence[int]]) -> SizeRange:
        """Return the range that `to_json` wrote."""
        least, usual, most = ((batch, height, width) for batch, height, width in values)
        return cls(least, usual, most)

    def contains(self, shape: Shape) -> bool:
        """Return whether a plan for this range supports an output of `shape`."""
        return all(a <= b <= c for a, b, c in zip(self.least, shape, self.most, strict=True))

    def to_json(self) -> list[list[int]]:
        """Return the range as nested lists, for JSON and registry keys."""
        return [list(self.least), list(self.usual), list(self.most)]


# for plans that are built for other machines, before the size of the recordings is known
ANY_SIZE = SizeRange(least=(1, 64, 64), usual=(1, 1088, 1920), most=(MOST_FRAMES, 2176, 3840))


def input_shape(name: str, declared: Sequence[int], shape: Shape, scale: int) -> tuple[int, ...]:
    """Return the shape of the graph's input `name` for an output of `shape`.

    `declared` is the input's shape in the graph, with -1 for each dynamic axis.
    """
    batch, height, width = shape
    # the tensors of further references are named ref_2, unsharp_2 and so on
    name = name.partition("_")[0]
    if name == "taps":
        return tuple(declared)
    if name == "weights":
        return batch, declared[1]
    if name == "lr":
        return batch, height // scale, width // scale, 3
    if name == "ref":
        return batch, height, width, 3

    # feature names contain the divisor: f8 has an eighth of the output's height and width
    divisor = int(name[1:]) if name[1:].isdigit() else 1
    return batch, declared[1], height // divisor, width // divisor
