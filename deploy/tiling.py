"""Keep an engine within the available memory, first with smaller batches, then with tiles.

A tile is enhanced together with a border of `context` pixels on every side. The border is discarded
afterwards, except for a narrow seam in which neighbouring tiles are blended.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple, cast

import numpy as np
from numpy.typing import NDArray

from crossnetpp.networks.taps import Taps
from deploy.memory import available_bytes
from deploy.protocol import (
    Engine,
    EngineError,
    OutOfMemoryError,
    Pixels,
    Weights,
    complete_weights,
    find_scale,
    run_engine,
)

MEMORY_SHARE = 0.7  # of the free memory; the rest is for decoding, encoding and other programs
SEAM_PIXELS = 16  # neighbouring tiles are blended over this width on each side of their border
SMALLEST_TILE = 64  # least height and width of a tile in output pixels, without its context
_UNLIMITED = 2**62  # pixels
_SHARE_OF_FURTHER = 0.5  # memory of each further reference / memory of a frame with one reference


class Span(NamedTuple):
    """The range of rows or columns of an output frame that one tile covers."""

    start: int
    """The first enhanced pixel, context included."""
    stop: int
    """The end of the enhanced pixels (exclusive), context included."""
    weights: NDArray[np.float32]
    """The weights of these pixels, in 0..1; at every pixel, the weights of all spans sum to 1."""


def make_spans(length: int, pieces: int, context: int, multiple: int) -> list[Span]:
    """Return at most `pieces` spans over `length` pixels, with borders at multiples of `multiple`.

    Without context, all spans have an equal share of the length, rounded up to the next multiple,
    except for the last span, which has the remainder. If spans are longer than the context, their
    lengths including context have at most three values: one for the first span, one for all inner
    spans, and one for the last. Otherwise there may be more, because the ends of the frame cut off
    the context of several spans.
    """
    step = -(-length // pieces // multiple) * multiple
    borders = [0, *range(step, length, step), length]

    # for each inner border, the weight of everything to its right, which rises across the seam
    centres = np.arange(length, dtype=np.float32) + 0.5
    rising = [
        np.clip((centres - border) / (2 * SEAM_PIXELS) + 0.5, 0, 1) for border in borders[1:-1]
    ]
    right_of_start: list[NDArray[np.float32] | float] = [1.0, *rising]
    right_of_stop: list[NDArray[np.float32] | float] = [*rising, 0.0]

    spans = []
    for i in range(len(borders) - 1):
        start = max(0, borders[i] - context) if i else 0
        stop = min(length, borders[i + 1] + context)
        weights = np.broadcast_to(right_of_start[i] - right_of_stop[i], (length,))
        spans.append(Span(start, stop, weights.astype(np.float32)[start:stop]))
    return spans


def choose_tile_grid(height: int, width: int, limit: int, context: int) -> tuple[int, int]:
    """Return the numbers of rows and columns of tiles that keep each tile within `limit` pixels.

    A tile's context counts towards the limit. The tiles of `make_spans` differ slightly in size, so
    some may exceed the limit by a few rows and columns. If even the smallest allowed tiles exceed
    the limit, return their grid.
    """
    rows = 1
    cols = 1
    while True:
        # the first and last tiles have context on only one side
        tile_height = -(-height // rows) + min(2, rows - 1) * context
        tile_width = -(-width // cols) + min(2, cols - 1) * context
        if min(tile_height, height) * min(tile_width, width) <= limit:
            return rows, cols

        can_split_rows = height // (rows + 1) >= SMALLEST_TILE
        can_split_cols = width // (cols + 1) >= SMALLEST_TILE
        if not can_split_rows and not can_split_cols:
            return rows, cols

        # split the longer side of the tiles
        if can_split_rows and (height / rows >= width / cols or not can_split_cols):
            rows += 1
        else:
            cols += 1


class TilingEngine:
    """Calls another engine with no more pixels at once than fit in the device's memory."""

    def __init__(self, engine: Engine, available: Callable[[str], int] = available_bytes) -> None:
        self.info = engine.info
        self._engine = engine

        free = int(MEMORY_SHARE * available(engine.info.device))
        pixels = free // max(1, engine.info.bytes_per_pixel)
        # rounded down to a power of two, so that a resumed run usually has the same tiles
        self.limit = 1 << (pixels.bit_length() - 1) if pixels > 0 else _UNLIMITED
        """Largest number of output pixels per call, for frames with one reference."""

    def enhance(
        self,
        lr: Pixels,
        *refs: Pixels,
        weights: Weights | None = None,
        kernel: Taps | None = None,
    ) -> Pixels:
        """Return SR frames, computed in parts if memory is short; see Engine.enhance.

        Raises EngineError if not even the smallest part fits in memory, or if the arguments do not
        match.
        """
        find_scale(lr, *refs)
        weights = complete_weights(weights, len(lr), len(refs))
        frame_pixels = refs[0].shape[1] * refs[0].shape[2]

        done: list[Pixels] = []
        count = 0
        while count < len(lr):
            limit = self._limit_for(len(refs))
            batch = slice(count, count + max(1, limit // frame_pixels))
            parts = [ref[batch] for ref in refs]
            try:
                if frame_pixels <= limit:
                    sr = run_engine(self._engine, lr[batch], parts, weights[batch], kernel)
                else:
                    sr = self._enhance_tiled(lr[batch], parts, weights[batch], kernel)
            except OutOfMemoryError as error:
                self._halve_limit(parts[0].shape, len(refs), error)
                continue
            done.append(sr)
            count = batch.stop
        return done[0] if len(done) == 1 else cast(Pixels, np.concatenate(done))

    def _limit_for(self, references: int) -> int:
        """Return the largest number of output pixels per call, given the number of references."""
        return int(self.limit / (1 + _SHARE_OF_FURTHER * (references - 1)))

    def _halve_limit(
        self, shape: tuple[int, ...], references: int, error: OutOfMemoryError
    ) -> None:
        """Halve the limit until a batch of `shape` is split into smaller parts than before.

        `shape` begins with N x H x W. Raises EngineError if the batch cannot be split further.
        """
        frames, height, width = shape[:3]

        def grid() -> tuple[int, int]:
            limit = self._limit_for(references)
            return choose_tile_grid(height, width, limit, self.info.context)

        tried = grid()
        self.limit = min(self.limit, frames * height * width) // 2
        while self.limit and frames == 1 and grid() == tried:
            self.limit //= 2

        if not self.limit:
            raise EngineError(
                f"not even the smallest tiles fit in memory on {self.info.device}; free some "
                "memory, or try --engine bicubic"
            ) from error

    def _enhance_tiled(
        self, lr: Pixels, refs: list[Pixels], weights: Weights, kernel: Taps | None
    ) -> Pixels:
        """Return one SR frame, computed tile by tile."""
        height, width = refs[0].shape[1:3]
        scale = height // lr.shape[1]
        context = self.info.context

        rows, cols = choose_tile_grid(height, width, self._limit_for(len(refs)), context)
        row_spans = make_spans(height, rows, context, self.info.multiple)
        col_spans = make_spans(width, cols, context, self.info.multiple)

        total = np.zeros((height, width, 3), np.float32)
        for row in row_spans:
            for col in col_spans:
                area = (slice(row.start, row.stop), slice(col.start, col.stop))
                lr_area = tuple(slice(s.start // scale, s.stop // scale) for s in area)
                parts = [ref[:, *area] for ref in refs]
                tile = run_engine(self._engine, lr[:, *lr_area], parts, weights, kernel)[0]
                total[area] += tile * (row.weights[:, None, None] * col.weights[:, None])
        return cast(Pixels, np.rint(total).astype(lr.dtype)[None])
