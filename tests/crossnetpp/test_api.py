"""`crossnetpp.load` with every supported type of array and tensor."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
import torch

import crossnetpp
from crossnetpp.data.degradation import degrade
from deploy.engines.torch_engine import TorchEngine


@pytest.fixture(scope="module")
def enhancer() -> crossnetpp.Enhancer:
    return crossnetpp.load("fast", device="cpu")


@pytest.fixture(scope="module")
def pair() -> tuple[np.ndarray, np.ndarray]:
    import cv2

    picture = cv2.imread("tests/data/kodak_21.jpg")[:104, :136]
    ref = np.ascontiguousarray(picture[..., ::-1])
    return degrade(ref, 4), ref


def test_it_agrees_with_the_engine(enhancer: crossnetpp.Enhancer, pair) -> None:
    lr, ref = pair
    ours = enhancer(lr, ref)
    assert (ours.shape, ours.dtype) == (ref.shape, ref.dtype)
    theirs = TorchEngine("fast").enhance(lr[None], ref[None])[0]
    assert np.abs(ours.astype(int) - theirs).max() <= 1


def test_all_types_of_arrays_and_tensors_agree(enhancer: crossnetpp.Enhancer, pair) -> None:
    lr, ref = pair
    expected = enhancer(lr, ref) / 255
    deep = enhancer(lr.astype(np.uint16) * 257, ref.astype(np.uint16) * 257)
    assert deep.dtype == np.uint16
    assert np.abs(deep / 65535 - expected).max() < 0.003
    floating = enhancer((lr / 255).astype(np.float32), (ref / 255).astype(np.float32))
    assert floating.dtype == np.float32
    assert np.abs(floating - expected).max() < 0.003
    small, large = (torch.from_numpy(x / 255).permute(2, 0, 1).float() for x in (lr, ref))
    planes = enhancer(small, large)
    assert planes.shape == large.shape
    assert np.abs(planes.permute(1, 2, 0).numpy() - expected).max() < 0.003
    both = enhancer(np.stack([lr, lr]), np.stack([ref, ref]))
    assert both.shape == (2, *ref.shape)
    assert np.abs(both[1] / 255 - expected).max() < 0.005


@pytest.mark.parametrize(
    ("lr", "ref", "error"),
    [
        (np.zeros((8, 8, 3), np.uint8), np.zeros((24, 24, 3), np.uint8), ValueError),
        (np.zeros((8, 8, 3), np.uint8), np.zeros((32, 32, 3), np.uint16), ValueError),
        (np.zeros((8, 8), np.uint8), np.zeros((32, 32), np.uint8), ValueError),
        (np.zeros((8, 8, 3), np.int32), np.zeros((32, 32, 3), np.int32), ValueError),
        (torch.zeros(3, 8, 8), np.zeros((32, 32, 3), np.float32), TypeError),
        (torch.zeros(8, 8, 3), torch.zeros(32, 32, 3), ValueError),
    ],
)
def test_unsupported_inputs_are_refused(enhancer: crossnetpp.Enhancer, lr, ref, error) -> None:
    with pytest.raises(error, match="expected"):
        enhancer(lr, ref)


def test_importing_the_package_is_light() -> None:
    code = "import sys, crossnetpp; assert 'torch' not in sys.modules; crossnetpp.load"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_unknown_names_are_attribute_errors() -> None:
    with pytest.raises(AttributeError, match="nonsense"):
        _ = crossnetpp.nonsense
