"""Engines: the same interface for every runtime."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from crossnetpp.checkpoint import save_weights
from crossnetpp.networks.build import build_network
from crossnetpp.networks.taps import make_bicubic_taps, make_box_taps
from deploy.engines.torch_engine import TorchEngine
from deploy.load import EngineError, UnknownEngineError, load_engine
from deploy.selftest import load_baseline_engine


@pytest.fixture(scope="module")
def picture() -> np.ndarray:
    """A textured uint8 1 x 96 x 130 x 3 picture; neither side is a multiple of 32."""
    rng = np.random.default_rng(0)
    noise = cv2.GaussianBlur(rng.random((96, 130, 3), dtype=np.float32), (0, 0), 1.2)
    return cv2.normalize(noise, None, 0, 255, cv2.NORM_MINMAX).astype(np.uint8)[None]


def shrink(frames: np.ndarray, scale: int) -> np.ndarray:
    size = (frames.shape[2] // scale, frames.shape[1] // scale)
    return np.stack([cv2.resize(f, size, interpolation=cv2.INTER_AREA) for f in frames])


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize("scale", [2, 4, 8])
def test_torch_engine_preserves_shape_and_type(
    picture: np.ndarray, dtype: type, scale: int
) -> None:
    ref = picture[:, :96, :128].astype(dtype) * (257 if dtype is np.uint16 else 1)
    ref = np.concatenate([ref, ref[:, ::-1]])
    lr = shrink(ref, scale)
    sr = load_engine("torch").enhance(lr, ref)
    assert sr.shape == ref.shape
    assert sr.dtype == ref.dtype


def test_torch_engine_pads_odd_sizes(picture: np.ndarray) -> None:
    ref = picture[:, :92, :124]
    sr = load_engine("torch").enhance(shrink(ref, 4), ref)
    assert sr.shape == ref.shape


def test_frames_of_a_batch_do_not_influence_each_other(picture: np.ndarray) -> None:
    engine = load_engine("torch")
    ref = np.concatenate([picture[:, :96, :128], picture[:, ::-1][:, :96, :128]])
    lr = shrink(ref, 4)
    together = engine.enhance(lr, ref).astype(int)
    apart = np.concatenate([engine.enhance(lr[i : i + 1], ref[i : i + 1]) for i in range(2)])
    assert np.abs(together - apart).max() <= 1


def test_sixteen_bit_agrees_with_eight_bit(picture: np.ndarray) -> None:
    engine = load_engine("torch")
    ref = picture[:, :96, :128]
    lr = shrink(ref, 4)
    narrow = engine.enhance(lr, ref).astype(float)
    wide = engine.enhance(lr.astype(np.uint16) * 257, ref.astype(np.uint16) * 257) / 257
    assert np.abs(narrow - wide).max() <= 0.51


def test_bicubic_engine_is_opencv_bicubic(picture: np.ndarray) -> None:
    lr = shrink(picture[:, :, :128], 2)
    ref = np.zeros((1, 96, 128, 3), np.uint8)
    expected = cv2.resize(lr[0], (128, 96), interpolation=cv2.INTER_CUBIC)
    assert np.array_equal(load_engine("bicubic").enhance(lr, ref)[0], expected)


@pytest.mark.parametrize(
    ("lr", "ref", "dtype"),
    [
        ((1, 10, 10, 3), (1, 30, 30, 3), np.uint8),
        ((1, 10, 10, 3), (2, 20, 20, 3), np.uint8),
        ((1, 10, 10, 3), (1, 20, 22, 3), np.uint8),
        ((1, 10, 10, 3), (1, 20, 20, 3), np.uint16),
    ],
)
def test_frames_that_do_not_fit_are_refused(
    lr: tuple[int, ...], ref: tuple[int, ...], dtype: type
) -> None:
    with pytest.raises(
        EngineError, match="each frame needs a reference of the same type that is 2, 4 or 8 times"
    ):
        load_engine("bicubic").enhance(np.zeros(lr, np.uint8), np.zeros(ref, dtype))


def test_unknown_engines_and_models_are_named() -> None:
    with pytest.raises(UnknownEngineError, match="no engine 'warp9'; expected one of auto"):
        load_engine("warp9")
    with pytest.raises(EngineError, match=r"found no model 'nothing\.safetensors'"):
        load_engine("torch", model="nothing.safetensors")
    with pytest.raises(EngineError, match="no shipped weights for the preset 'paper'"):
        load_engine("torch", model="paper")


def test_weights_round_trip_and_broken_files_are_refused(tmp_path: Path) -> None:
    network = build_network("fast")
    good = tmp_path / "good.safetensors"
    save_weights(network, "fast", good)
    assert load_engine("torch", model=str(good)).info.model == str(good)

    text = tmp_path / "text.safetensors"
    text.write_text("not weights")
    for load in (TorchEngine, load_baseline_engine):
        with pytest.raises(EngineError, match="no readable safetensors file"):
            load(str(text))
    with pytest.raises(EngineError, match="no readable safetensors file"):
        load_engine("torch", model=str(text))

    other = tmp_path / "other.safetensors"
    save_file({"x": torch.zeros(1)}, other, metadata={"preset": "fast"})
    with pytest.raises(EngineError, match="do not fit the network 'fast'"):
        load_engine("torch", model=str(other))

    unnamed = tmp_path / "unnamed.safetensors"
    save_file({"x": torch.zeros(1)}, unnamed)
    with pytest.raises(EngineError, match="expected one of paper, crossnet, fast"):
        load_engine("torch", model=str(unnamed))


def test_reused_references_and_kernels_change_no_bit(picture: np.ndarray) -> None:
    first = picture[:, :96, :128]
    second = picture[:, ::-1][:, :96, :128].copy()
    third = picture[:, :96, :128][..., ::-1].copy()
    lr = shrink(first, 4)
    engine = load_engine("torch")

    def run(*refs: np.ndarray, kernel: np.ndarray | None = None) -> None:
        again = engine.enhance(lr, *refs, kernel=kernel)
        fresh = load_engine("torch").enhance(lr, *refs, kernel=kernel)
        assert np.array_equal(again, fresh)

    run(first, second)
    run(second, third)
    run(second, third, kernel=make_box_taps(4))
    run(first)
    run(third, first, second)


def test_the_bicubic_kernel_is_the_default(picture: np.ndarray) -> None:
    ref = picture[:, :96, :128]
    lr = shrink(ref, 4)
    engine = load_engine("torch")
    plain = engine.enhance(lr, ref).astype(int)
    assert np.abs(engine.enhance(lr, ref, kernel=make_bicubic_taps(4)) - plain).max() <= 1
    assert np.abs(engine.enhance(lr, ref, kernel=make_box_taps(4)) - plain).max() > 1


def test_weights_and_references_must_fit(picture: np.ndarray) -> None:
    ref = picture[:, :96, :128]
    lr = shrink(ref, 4)
    engine = load_engine("torch")
    with pytest.raises(EngineError, match=r"weights have the shape \(1, 3\), expected \(1, 2\)"):
        engine.enhance(lr, ref, ref, weights=np.ones((1, 3), np.float32))
    with pytest.raises(
        EngineError, match=r"found references of shapes \[\], expected at least one"
    ):
        engine.enhance(lr)
    with pytest.raises(EngineError, match=r"expected at least one, all of the same size"):
        engine.enhance(lr, ref, np.repeat(np.repeat(lr, 2, 1), 2, 2))


def test_a_reused_reference_changes_no_bit(picture: np.ndarray) -> None:
    first = picture[:, :96, :128]
    second = picture[:, ::-1][:, :96, :128].copy()
    lr = shrink(first, 4)
    engine = load_engine("torch")
    fresh = engine.enhance(lr, first)
    assert np.array_equal(engine.enhance(lr, first), fresh)
    other = engine.enhance(lr, second)
    assert np.array_equal(engine.enhance(lr, first), fresh)
    assert np.array_equal(load_engine("torch").enhance(lr, second), other)
