"""The mean of an engine's results for mirrored frames."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from crossnetpp.networks.resample import reduce_antialiased
from crossnetpp.networks.taps import Taps, make_separable_taps
from deploy.engines.torch_engine import TorchEngine
from deploy.mirroring import enhance_mirrored
from deploy.protocol import EngineInfo, Pixels, Weights

RNG = np.random.default_rng(5)
LOPSIDED = make_separable_taps(np.arange(8.0), np.arange(8.0)[::-1] ** 2)  # x2, off centre
TURNS = ((1, 1), (1, -1), (-1, 1), (-1, -1))


class _Remembering:
    """An engine that returns its first reference, plus a ramp that does not turn with it."""

    info = EngineInfo("torch", "cpu", "fast", "fp32", 32, 1, "a stub")

    def __init__(self) -> None:
        self.calls: list[tuple[Pixels, tuple[Pixels, ...], Weights | None, Taps | None]] = []

    def enhance(
        self,
        lr: Pixels,
        *refs: Pixels,
        weights: Weights | None = None,
        kernel: Taps | None = None,
    ) -> Pixels:
        self.calls.append((lr, refs, weights, kernel))
        ramp = np.arange(refs[0].shape[2], dtype=refs[0].dtype)[:, None]
        return refs[0] + 2 * ramp


def reduce(hr: NDArray[np.uint8], kernel: Taps) -> NDArray[np.float32]:
    planes = torch.from_numpy(hr.astype(np.float32)).permute(0, 3, 1, 2)
    reduced = reduce_antialiased(planes, 2, torch.from_numpy(kernel))
    return np.asarray(reduced.permute(0, 2, 3, 1).numpy())


def test_pictures_and_kernel_are_mirrored_alike_and_the_results_back() -> None:
    hr = RNG.integers(0, 160, (2, 32, 48, 3), dtype=np.uint8)
    other = RNG.integers(0, 200, hr.shape, dtype=np.uint8)
    lr = np.rint(reduce(hr, LOPSIDED)).clip(0, 255).astype(np.uint8)
    weights = np.array([[1, 0.5], [1, 0.2]], np.float32)
    engine = _Remembering()

    sr = enhance_mirrored(engine, lr, [hr, other], weights, LOPSIDED)

    assert len(engine.calls) == 4
    seen = set()
    for mirrored_lr, (mirrored_hr, second), given, kernel in engine.calls:
        assert given is weights
        assert kernel is not None
        # the mirrored kernel reduces the mirrored picture to the mirrored LR frame
        assert np.abs(reduce(np.asarray(mirrored_hr, np.uint8), kernel) - mirrored_lr).max() < 0.501
        turns = [(r, c) for r, c in TURNS if np.array_equal(mirrored_hr, hr[:, ::r, ::c])]
        assert np.array_equal(second, other[:, :: turns[0][0], :: turns[0][1]])
        seen.update(turns)
    assert seen == set(TURNS)

    # the ramp, from 0 to 94, has risen to the right twice and to the left twice
    assert np.array_equal(sr, hr + 47)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_the_result_turns_with_the_pictures(dtype: type[np.uint8 | np.uint16]) -> None:
    engine = TorchEngine("fast")
    ref = RNG.integers(0, np.iinfo(dtype).max, (1, 64, 96, 3), dtype=dtype)
    lr = np.ascontiguousarray(ref[:, 1::4, 1::4])

    def enhance(step: int) -> Pixels:
        turned = [np.ascontiguousarray(each[:, :, ::step]) for each in (lr, ref)]
        return enhance_mirrored(engine, turned[0], turned[1:], None, None)

    sr = enhance(1)
    assert sr.dtype == dtype
    assert sr.shape == ref.shape
    assert np.array_equal(sr, enhance(-1)[:, :, ::-1])
    assert not np.array_equal(sr, engine.enhance(lr, ref))
