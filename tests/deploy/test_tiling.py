"""Little memory: smaller batches, then tiles with invisible seams, and no frame is dropped."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import cv2
import numpy as np
import pytest

from deploy.engines.bicubic_engine import BicubicEngine
from deploy.engines.torch_engine import TorchEngine
from deploy.load import load_engine
from deploy.protocol import EngineError, OutOfMemoryError, Pixels
from deploy.tiling import SMALLEST_TILE, TilingEngine, choose_tile_grid, make_spans
from tests.support import DATA

PHOTOGRAPH = DATA / "kodak_21.jpg"
CONTEXT = 64


class Tight(BicubicEngine):
    """Bicubic on a device with memory for `most` output pixels."""

    def __init__(self, most: int) -> None:
        super().__init__()
        self.info = replace(self.info, context=CONTEXT, multiple=32)
        self.most = most
        self.calls: list[tuple[int, ...]] = []

    def enhance(self, lr: Pixels, *refs: Pixels, **options: Any) -> Pixels:
        count, height, width = refs[0].shape[:3]
        self.calls.append((count, height, width))
        if count * height * width > self.most:
            raise OutOfMemoryError("found too little memory")
        return super().enhance(lr, *refs, **options)


def pictures(count: int = 1, height: int = 384, width: int = 512) -> tuple[Pixels, Pixels]:
    """Return LR frames and references, x4."""
    photograph = cv2.imread(str(PHOTOGRAPH))[..., ::-1]
    hr = np.stack([photograph[i:, i:][:height, :width] for i in range(count)])
    size = (width // 4, height // 4)
    return np.stack([cv2.resize(p, size, interpolation=cv2.INTER_AREA) for p in hr]), hr


def test_a_batch_is_halved_until_it_fits_and_remembered() -> None:
    lr, ref = pictures(7)
    expected = BicubicEngine().enhance(lr, ref)
    engine = Tight(2 * 384 * 512)
    tiling = TilingEngine(engine)
    tiling.limit = 2**62
    assert np.array_equal(tiling.enhance(lr, ref), expected)
    assert [n for n, *_ in engine.calls] == [7, 3, 1, 1, 1, 1, 1, 1, 1]
    engine.calls.clear()
    assert np.array_equal(tiling.enhance(lr, ref), expected)
    assert [n for n, *_ in engine.calls] == [1] * 7


@pytest.mark.parametrize("most", [384 * 512 - 1, 256 * 300, 200 * 200])
def test_a_frame_that_does_not_fit_is_made_of_tiles(most: int) -> None:
    lr, ref = pictures(2)
    engine = Tight(most)
    tiling = TilingEngine(engine)
    tiling.limit = 2**62
    sr = tiling.enhance(lr, ref)
    assert engine.calls[0] == (2, 384, 512)
    done = [height * width for _, height, width in engine.calls if height * width <= most]
    assert len(done) > 2
    assert np.abs(sr.astype(int) - BicubicEngine().enhance(lr, ref)).max() <= 1


def test_known_free_memory_limits_the_first_call() -> None:
    lr, ref = pictures(3)
    engine = Tight(384 * 512)
    tiling = TilingEngine(engine, available=lambda device: 384 * 512 * 6 * 3)
    assert tiling.limit == 2**18
    tiling.enhance(lr, ref)
    assert engine.calls == [(1, 384, 512)] * 3


def test_no_memory_at_all_is_an_error_of_one_line() -> None:
    lr, ref = pictures()
    engine = Tight(100)
    with pytest.raises(EngineError, match="the smallest tiles fit in memory on cpu; free some"):
        TilingEngine(engine).enhance(lr, ref)
    assert len(engine.calls) < 15


def test_other_errors_are_not_treated_as_out_of_memory() -> None:
    class Wrong(BicubicEngine):
        def enhance(self, lr: Pixels, *refs: Pixels, **options: Any) -> Pixels:
            raise ValueError("a programming error")

    with pytest.raises(ValueError, match="a programming error"):
        TilingEngine(Wrong()).enhance(*pictures())


def test_weights_of_tiles_sum_to_one_and_fade() -> None:
    length = 700
    total = np.zeros(length)
    found = make_spans(length, 3, 96, 32)
    for span in found:
        total[span.start : span.stop] += span.weights
        assert np.abs(np.diff(span.weights)).max() < 0.05
        assert span.start % 32 == 0
    np.testing.assert_allclose(total, 1, atol=1e-6)
    assert found[0].start == 0
    assert found[-1].stop == length


def list_tile_sizes(height: int, width: int, limit: int) -> tuple[list[int], list[int]]:
    """Return the heights and widths of the tiles of a frame, context included, in order."""
    rows, cols = choose_tile_grid(height, width, limit, 384)
    return tuple(  # type: ignore[return-value]
        [span.stop - span.start for span in make_spans(length, pieces, 384, 32)]
        for length, pieces in ((height, rows), (width, cols))
    )


def test_a_coarse_grid_of_tiles_has_few_sizes_and_a_fine_one_many() -> None:
    # counted for the caches of engines, which hold sizes: 4 in TensorRT, 3 CUDA graphs
    sizes = []
    for limit in (2**22, 2**21, 2**20):
        heights, widths = list_tile_sizes(2160, 3840, limit)
        sizes.append((len(set(heights)), len(set(widths))))
    assert sizes == [(2, 1), (3, 2), (6, 3)]
    # longer than their context: the first, the inner ones, and the last
    assert list_tile_sizes(4320, 7680, 2**21)[1] == [1088, *[1472] * 9, 1024]
    # shorter: the context of several spans reaches an end
    assert list_tile_sizes(2160, 3840, 2**20)[0][:4] == [640, 896, 1024, 1024]


def test_real_spans_exceed_the_limit_by_a_few_rows_and_columns_only() -> None:
    for limit in (2**22, 2**21, 2**20):
        for height, width in ((2160, 3840), (1088, 1920), (4320, 7680), (1080, 1920)):
            heights, widths = list_tile_sizes(height, width, limit)
            assert (max(heights) - 31) * (max(widths) - 31) <= limit
    heights, widths = list_tile_sizes(2160, 3840, 2**21)
    assert max(heights) * max(widths) > 2**21


def test_borders_at_multiples_can_make_fewer_spans_than_pieces() -> None:
    assert [(span.start, span.stop) for span in make_spans(260, 4, 32, 32)] == [
        (0, 128),
        (64, 224),
        (160, 260),
    ]


def test_tiles_stay_within_the_limit_or_are_the_smallest() -> None:
    assert choose_tile_grid(1080, 1920, 2**30, 384) == (1, 1)
    rows, cols = choose_tile_grid(2160, 3840, 2**21, 384)
    assert (-(-2160 // rows) + 768) * (-(-3840 // cols) + 768) <= 2**21
    rows, cols = choose_tile_grid(2160, 3840, 1, 384)
    assert (2160 // (rows + 1), 3840 // (cols + 1)) < (SMALLEST_TILE, SMALLEST_TILE)


def test_the_networks_tiles_agree_with_the_whole_within_a_level() -> None:
    photograph = cv2.imread(str(PHOTOGRAPH))[:96, :, ::-1]
    hr = np.concatenate([photograph, photograph[:, ::-1]] * 2, axis=1)[:, :2048]
    ref = np.roll(hr, (2, 5), axis=(0, 1))[None]
    lr = cv2.resize(hr, (512, 24), interpolation=cv2.INTER_AREA)[None]
    engine = TorchEngine()
    tiling = TilingEngine(engine)
    tiling.limit = 96 * (1024 + engine.info.context)
    assert choose_tile_grid(96, 2048, tiling.limit, engine.info.context) == (1, 2)
    difference = np.abs(tiling.enhance(lr, ref).astype(int) - engine.enhance(lr, ref))
    assert (difference <= 1).mean() > 0.9999
    # without context they differ
    engine.info = replace(engine.info, context=0)
    tiling.info = engine.info
    difference = np.abs(tiling.enhance(lr, ref).astype(int) - engine.enhance(lr, ref))
    assert (difference <= 1).mean() < 0.9999


def test_engines_are_loaded_with_tiling() -> None:
    assert isinstance(load_engine("torch"), TilingEngine)
