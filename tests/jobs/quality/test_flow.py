"""The errors of flow, the pairs with known flow, and the flows that are measured."""

from __future__ import annotations

import math
import subprocess
import sys
from dataclasses import asdict
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from crossnetpp.checkpoint import WeightsError, load_network, save_weights
from crossnetpp.data.degradation import degrade
from crossnetpp.data.sample import Pair, read_rgb
from crossnetpp.networks.arbitration import arbitrate_flows
from crossnetpp.networks.blocks import pad_planes
from crossnetpp.networks.build import build_network
from crossnetpp.networks.fast import CrossNetFast
from crossnetpp.networks.lucas_kanade import rgb_to_luma
from crossnetpp.networks.resample import reduce_antialiased, upsample_bicubic
from crossnetpp.networks.warp import upscale_flow, warp
from jobs.quality.flow import (
    Method,
    load_methods,
    measure_errors,
    measure_scene,
    name_models,
    render_figures,
    summarise_errors,
)
from jobs.quality.flow_scenes import BANDS, FlowPair, FlowScene, crop_flow_pair, render_bands
from tests.support import DATA, ROOT

PHOTO = DATA / "kodak_21.jpg"
NAN = math.nan


def test_errors_are_distances_at_known_pixels() -> None:
    truth = np.array([[(1, 0), (NAN, NAN), (-2, 5)], [(0, 0), (NAN, 1), (4, 4)]], np.float32)
    flow = np.array([[(1, 0), (9, 9), (-5, 1)], [(0.5, 0), (9, 9), (4, 2)]], np.float32)
    errors = measure_errors(flow, truth)
    assert errors.tolist() == [0, math.hypot(3, 4), 0.5, 2]
    assert summarise_errors(errors) == {
        "mean": (0 + 5 + 0.5 + 2) / 4,
        "median": (0.5 + 2) / 2,
        "above_1": 50,
        "above_3": 25,
    }


def test_all_pixels_of_a_scene_count_alike() -> None:
    def make_pair(width: int, motion: float) -> FlowPair:
        flow = np.full((8, width, 2), motion, np.float32)
        flow[:, 0] = NAN
        return FlowPair(*(np.zeros((8, width, 3), np.uint8),) * 2, flow)

    scene = FlowScene("two sizes", (make_pair(8, 0.0), make_pair(24, 3.0)))
    still = Method(("still",), lambda lr, reference: (np.zeros((*reference.shape[:2], 2)),))
    rows = list(measure_scene(scene, [still], (2, 4)))
    small, large = 8 * 7, 8 * 23
    mean = large * 3 * math.sqrt(2) / (small + large)
    for row, scale in zip(rows, (2, 4), strict=True):
        assert (row["scene"], row["scale"], row["method"]) == ("two sizes", scale, "still")
        assert row["mean"] == pytest.approx(mean, abs=1e-3)
        assert row["median"] == pytest.approx(3 * math.sqrt(2), abs=1e-3)
        assert row["above_3"] == pytest.approx(100 * large / (small + large), abs=0.01)
    assert "| two sizes | x4 | still | 3.25 | 4.24 | 76.7 % | 76.7 % |" in render_figures(rows)


def test_flow_that_leads_out_of_the_picture_is_unknown() -> None:
    rng = np.random.default_rng(1)
    flow = rng.uniform(-12, 12, (17, 21, 2)).astype(np.float32)
    flow[3, 4] = NAN
    picture = rng.integers(0, 256, (17, 21, 3), np.uint8)
    pair = crop_flow_pair(Pair(picture, picture[::-1], flow))
    assert pair.target.shape == pair.reference.shape == (16, 16, 3)
    for row in range(16):
        for col in range(16):
            x, y = col + flow[row, col, 0], row + flow[row, col, 1]
            known = 0 <= x <= 15 and 0 <= y <= 15  # False for NaN
            expected = flow[row, col] if known else (NAN, NAN)
            np.testing.assert_array_equal(pair.flow[row, col], expected)


def test_rendered_pairs_have_the_motion_of_their_band() -> None:
    first, second = (render_bands([PHOTO], 96, 2) for _ in range(2))
    assert list(first) == list(BANDS)
    for name, (least, most) in BANDS.items():
        assert len(first[name]) == 2
        for pair, same in zip(first[name], second[name], strict=True):
            np.testing.assert_array_equal(pair.target, same.target)
            np.testing.assert_array_equal(pair.flow, same.flow)
            known = np.isfinite(pair.flow[..., 0])
            assert least <= np.sqrt((pair.flow[known] ** 2).sum(-1)).mean() < most

            # The reference shows at the ends of the flow what the target shows
            rows, cols = np.indices(known.shape, np.float32)
            x, y = np.moveaxis(np.nan_to_num(pair.flow) + np.stack((cols, rows), axis=-1), -1, 0)
            warped = cv2.remap(pair.reference, x, y, cv2.INTER_LINEAR)
            difference = np.abs(warped.astype(int) - pair.target)[known]
            unmoved = np.abs(pair.reference.astype(int) - pair.target)[known]
            assert difference.mean() < 8
            assert least == 0 or difference.mean() < unmoved.mean() / 3


def test_a_known_shift_is_found_by_every_method(tmp_path: Path) -> None:
    photo = read_rgb(PHOTO)
    target, reference = (
        np.ascontiguousarray(photo[row : row + 128, col : col + 136])  # padded by the networks
        for row, col in ((100, 200), (98, 205))
    )
    fast = load_network("fast")
    single = build_network("fast", asdict(fast.config) | {"stages": 1})
    weights = fast.state_dict()
    single.load_state_dict({k: v for k, v in weights.items() if not k.startswith("stage2.")})
    save_weights(single, "fast", tmp_path / "single.safetensors")

    methods = load_methods(name_models(["fast", str(tmp_path / "single.safetensors")]))
    lr = degrade(target, 4)
    flows = {
        name: flow
        for method in methods
        for name, flow in zip(method.names, method.find_flows(lr, reference), strict=True)
    }
    limits = {
        "dis": 0.3,
        "fast": 0.3,
        "fast:stage1": 2,
        "fast:stage2": 2,
        "fast:no-stage2": 0.3,
        "single": 0.3,
        "single:stage1": 2,
    }
    assert list(flows) == list(limits)
    for name, limit in limits.items():
        assert flows[name].shape == (128, 136, 2)
        inside = flows[name][16:-16, 16:-16] - np.array((-5, 2))
        assert np.median(np.hypot(inside[..., 0], inside[..., 1])) < limit, name

    # The parts of `fast` are those that their names state
    assert len({flow.tobytes() for flow in flows.values()}) == 5
    np.testing.assert_array_equal(flows["fast:no-stage2"], flows["single"])
    np.testing.assert_array_equal(flows["fast:stage1"], flows["single:stage1"])
    np.testing.assert_allclose(flows["fast:stage2"], search_twice(lr, reference), atol=1e-4)


@torch.inference_mode()
def search_twice(lr: NDArray[np.uint8], reference: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Return the flow that `fast` chooses from both searches at x4, H x W x 2, unrefined."""
    network = load_network("fast")
    assert isinstance(network, CrossNetFast)
    assert network.stage2 is not None
    lr_planes, planes = (
        pad_planes(torch.from_numpy(picture).permute(2, 0, 1)[None] / 255, multiple)
        for picture, multiple in ((lr, 8), (reference, 32))
    )
    features = network.encoder(upsample_bicubic(lr_planes, 4))
    prepared = network.prepare(planes, 4)
    flow8 = network.stage1(features, prepared.features)
    warped = warp(prepared.unsharp, upscale_flow(flow8, 8))
    flow2 = network.stage2(network.encoder, features, warped, flow8)

    lr_luma = rgb_to_luma(lr_planes)
    reduced = reduce_antialiased(prepared.luma, 4)
    images = (upsample_bicubic(each, 2) for each in (lr_luma, reduced))
    flow2 = arbitrate_flows(*images, (upscale_flow(flow8, 4), flow2), 17)
    height, width = reference.shape[:2]
    return upscale_flow(flow2, 2)[0, :, :height, :width].permute(1, 2, 0).numpy()


def test_models_have_names_of_their_own() -> None:
    assert name_models(["fast", "runs/a.safetensors"], Path("b.safetensors")) == {
        "fast": "fast",
        "a": "runs/a.safetensors",
        "old": "b.safetensors",
    }
    for models in (["fast", "runs/fast.safetensors"], ["old.safetensors"], ["dis.safetensors"]):
        with pytest.raises(WeightsError, match="would have the same name as another flow"):
            name_models(models)


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["--data", "{}/none"], "there is no folder {}/none, expected a folder with stereo pairs"),
        (["--data", "{}"], "there is no file stereo/motorcycle_left.png in {}, expected a folder"),
        (["--data", "{}", "--models", "slow"], "found no model 'slow', expected one of"),
    ],
)
def test_unusable_arguments_end_with_one_line(
    arguments: list[str], expected: str, tmp_path: Path
) -> None:
    words = [word.format(tmp_path) for word in arguments]
    done = subprocess.run(
        [sys.executable, "-m", "jobs.quality.flow", *words],
        capture_output=True,
        text=True,
        check=False,
        cwd=ROOT,
    )
    assert done.returncode == 2
    assert done.stdout == ""
    (line,) = done.stderr.splitlines()
    assert line.startswith(expected.format(tmp_path))
