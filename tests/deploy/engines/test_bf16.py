"""The engine with bfloat16 convolutions."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from crossnetpp.networks.taps import make_box_taps
from deploy.engines.bf16_engine import Bf16Engine, is_bf16_fast
from deploy.load import list_candidates, load_engine
from deploy.protocol import Pixels
from deploy.registry import Registry
from deploy.selftest import LOWEST_PSNR, compare_engines, load_baseline_engine


def load_photograph(height: int, width: int) -> Pixels:
    """Return the top left part of a photograph, uint8 height x width x 3 RGB."""
    picture = cv2.imread("tests/data/kodak_21.jpg")
    assert picture is not None
    return np.ascontiguousarray(picture[:height, :width, ::-1])


def test_the_network_passes_its_self_test() -> None:
    figures = compare_engines(Bf16Engine(), load_baseline_engine("fast"))
    assert LOWEST_PSNR["bf16"] < figures["psnr"] < 70


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_almost_all_pixels_of_a_photograph_are_within_an_8_bit_level(dtype: type) -> None:
    photograph = load_photograph(256, 384)
    level = 1
    if dtype == np.uint16:
        level = 257
        photograph = photograph.astype(np.uint16) * level
    lr = cv2.resize(photograph, (96, 64), interpolation=cv2.INTER_AREA)[None]
    refs = [np.roll(photograph, shift, axis=(0, 1))[None].copy() for shift in ((2, 3), (-4, 1))]
    half, exact = (
        engine.enhance(lr, *refs, kernel=make_box_taps(4)).astype(int)
        for engine in (Bf16Engine(), load_baseline_engine("fast"))
    )
    assert (np.abs(half - exact) <= level).mean() > 0.999
    assert (half != exact).any()


def test_coordinates_and_images_stay_in_float32() -> None:
    network = Bf16Engine().network
    types = {name: parameter.dtype for name, parameter in network.named_parameters()}
    assert types["fusion.enter.layers.0.weight"] == torch.bfloat16
    assert types["encoder.level4.layers.0.0.weight"] == torch.bfloat16
    assert types["stage1.head32.flow.weight"] == torch.float32
    assert types["balance.leave.weight"] == torch.float32


def test_batches_and_repetition_do_not_change_bits() -> None:
    photograph = load_photograph(96, 256)
    refs = np.stack([photograph[:, :128], photograph[:, 128:]])
    lr = np.stack([cv2.resize(each, (32, 24), interpolation=cv2.INTER_AREA) for each in refs])
    engine = Bf16Engine(threads=1)
    together = engine.enhance(lr, refs)
    np.testing.assert_array_equal(engine.enhance(lr, refs), together)
    for i in range(2):
        alone = Bf16Engine(threads=1).enhance(lr[i : i + 1], refs[i : i + 1])
        np.testing.assert_array_equal(alone[0], together[i])


@pytest.mark.parametrize(
    ("flags", "expected"),
    [({}, False), ({"avx512_bf16": True}, True), ({"amx_bf16": True}, True), (None, False)],
)
def test_auto_considers_it_only_where_the_processor_is_fast(
    flags: dict[str, bool] | None, expected: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if flags is None:
        monkeypatch.delattr(torch.cpu, "get_capabilities", raising=False)
    else:
        monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: flags, raising=False)
    assert is_bf16_fast() is expected
    assert ("bf16" in list_candidates()) is expected


def test_it_can_be_requested_by_name(tmp_path: Path) -> None:
    engine = load_engine("bf16", registry=Registry(tmp_path / "engines"))
    assert (engine.info.name, engine.info.precision) == ("bf16", "bf16")
