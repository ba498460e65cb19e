"""Keep any engine within the memory there is: smaller batches, then tiles, and no frame is lost.

A tile is enhanced with `context` pixels around it, which the network looks at and which are thrown
away, but for a narrow seam in which neighbouring tiles fade into each other.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple, cast

import numpy as np
from numpy.typing import NDArray

from deploy.memory import available_bytes
from deploy.protocol import Engine, EngineError, OutOfMemory, Pixels

MEMORY_SHARE = 0.7
"""Of the free memory; decoding, encoding and other programs have the rest."""
SEAM_PIXELS = 16
"""Pixels on each side of a border over which two tiles fade into each other."""
SMALLEST_TILE = 64
"""Pixels; a tile's core is not made smaller."""


class Span(NamedTuple):
    """One tile's part of the rows, or of the columns, of an output frame."""

    start: int
    stop: int
    """What is enhanced, context included."""
    weights: NDArray[np.float32]
    """0..1 for each of these pixels; those of all spans sum to 1 everywhere."""


def make_spans(length: int, pieces: int, context: int, multiple: int) -> list[Span]:
    """Return `pieces` spans over `length` pixels whose borders lie on multiples of `multiple`."""
    step = -(-length // pieces // multiple) * multiple
    borders = [0, *range(step, length, step), length]
    places = np.arange(length, dtype=np.float32) + 0.5
    # share of all that lies right of a border, rising over the seam
    rising = [
        np.clip((places - border) / (2 * SEAM_PIXELS) + 0.5, 0, 1) for border in borders[1:-1]
    ]
    before: list[NDArray[np.float32] | float] = [1.0, *rising]
    after: list[NDArray[np.float32] | float] = [*rising, 0.0]
    found = []
    for i in range(len(borders) - 1):
        start = max(0, borders[i] - context) if i else 0
        stop = min(length, borders[i + 1] + context)
        weights = np.broadcast_to(before[i] - after[i], (length,)).astype(np.float32)
        found.append(Span(start, stop, weights[start:stop]))
    return found


def choose_tile_grid(height: int, width: int, limit: int, context: int) -> tuple[int, int]:
    """Return rows and columns of tiles that keep to `limit` pixels each, context included.

    Where even the smallest tiles do not, the smallest.
    """
    rows = cols = 1
    while True:
        # the first and the last tile end with the frame on one side
        tall = -(-height // rows) + min(2, rows - 1) * context
        wide = -(-width // cols) + min(2, cols - 1) * context
        if min(tall, height) * min(wide, width) <= limit:
            return rows, cols
        more_rows, more_cols = (
            height // (rows + 1) >= SMALLEST_TILE,
            width // (cols + 1) >= SMALLEST_TILE,
        )
        if not more_rows and not more_cols:
            return rows, cols
        if more_rows and (height / rows >= width / cols or not more_cols):
            rows += 1
        else:
            cols += 1


class TilingEngine:
    """An engine that asks another one for no more at once than its device's memory allows."""

    def __init__(self, engine: Engine, free: Callable[[str], int] = available_bytes) -> None:
        self.info = engine.info
        self._engine = engine
        share = int(MEMORY_SHARE * free(engine.info.device)) // max(1, engine.info.bytes_per_pixel)
        # down to a power of two, so that a resumed run mostly meets the same tiles
        self.limit = 1 << (share.bit_length() - 1) if share > 0 else 2**62
        """Output pixels in one call."""

    def enhance(self, lr: Pixels, ref: Pixels) -> Pixels:
        """Return `Engine.enhance`, in parts when memory is short.

        Raises EngineError when not even the smallest part fits.
        """
        done: list[Pixels] = []
        count = 0
        while count < len(lr):
            frame = ref.shape[1] * ref.shape[2]
            some = slice(count, count + max(1, self.limit // frame))
            try:
                if frame <= self.limit:
                    part = self._engine.enhance(lr[some], ref[some])
                else:
                    part = self._tiled(lr[some], ref[some])
            except OutOfMemory as error:
                self._halve(ref[some].shape, error)
                continue
            done.append(part)
            count = some.stop
        return done[0] if len(done) == 1 else cast(Pixels, np.concatenate(done))

    def _halve(self, shape: tuple[int, ...], error: OutOfMemory) -> None:
        """Ask for half as much as for frames of `shape`, as soon as that means smaller parts."""
        frames, height, width = shape[:3]

        def parts() -> tuple[int, int]:
            return choose_tile_grid(height, width, self.limit, self.info.context)

        tried = parts()
        self.limit = min(self.limit, frames * height * width) // 2
        while self.limit and frames == 1 and parts() == tried:
            self.limit //= 2
        if not self.limit:
            raise EngineError(
                f"{error}; not even the smallest tiles fit: free memory on {self.info.device}, "
                "or try --engine bicubic"
            ) from error

    def _tiled(self, lr: Pixels, ref: Pixels) -> Pixels:
        """Return one frame made of tiles."""
        height, width = ref.shape[1:3]
        scale = height // lr.shape[1]
        multiple, context = self.info.multiple, self.info.context
        rows, cols = choose_tile_grid(height, width, self.limit, context)
        down = make_spans(height, rows, context, multiple)
        across = make_spans(width, cols, context, multiple)
        total = np.zeros((height, width, 3), np.float32)
        for row in down:
            for col in across:
                place = slice(row.start, row.stop), slice(col.start, col.stop)
                small = tuple(slice(p.start // scale, p.stop // scale) for p in place)
                tile = self._engine.enhance(lr[:, *small], ref[:, *place])[0]
                total[place] += tile * (row.weights[:, None, None] * col.weights[:, None])
        return cast(Pixels, np.rint(total).astype(ref.dtype)[None])
