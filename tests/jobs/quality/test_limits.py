"""The best choice of blocks, and the limits that it shows for a frame."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
import torch

from crossnetpp.checkpoint import load_network
from crossnetpp.data.degradation import degrade
from crossnetpp.data.sample import read_rgb
from crossnetpp.evaluation.scenes import Case, Material, Reference, Scene
from crossnetpp.networks.fast import CrossNetFast
from jobs.quality.limits import (
    COLUMNS,
    align_with_truth,
    choose_blocks,
    measure_case,
    measure_scene,
    render_figures,
)
from tests.support import DATA

PHOTO = DATA / "kodak_21.jpg"


def test_each_block_is_copied_from_the_best_candidate() -> None:
    rng = np.random.default_rng(0)
    truth, *candidates = (rng.random((3, 10, 13), np.float32) for _ in range(4))
    planes = [torch.from_numpy(each)[None] for each in (truth, *candidates)]
    total = 0.0
    for top in range(0, 10, 4):
        for left in range(0, 13, 4):
            block = np.s_[:, top : top + 4, left : left + 4]
            total += min(float(np.square(each[block] - truth[block]).sum()) for each in candidates)
    assert choose_blocks(planes[0], planes[1:], 4) == pytest.approx(total / truth.size, rel=1e-5)


def make_case() -> Case:
    """Return a photograph, and the same photograph moved by 2 pixels as its reference."""
    truth = read_rgb(PHOTO)[:128, :192]
    moved = np.ascontiguousarray(np.roll(truth, (2, 2), axis=(0, 1)))
    return Case(truth, degrade(truth, 4), (Reference(moved), Reference(moved)), Material(4), "1")


def test_flow_to_the_truth_aligns_the_reference() -> None:
    case = make_case()
    aligned = align_with_truth(case.truth, case.references[0].picture)[0].permute(1, 2, 0).numpy()
    inside = np.s_[16:-16, 16:-16]
    assert cv2.PSNR(aligned[inside] * 255, case.truth[inside].astype(np.float32)) > 35


def test_the_limits_and_the_result_are_better_than_bicubic() -> None:
    case = make_case()
    network = load_network("fast")
    assert isinstance(network, CrossNetFast)
    errors = measure_case(case, network)
    assert tuple(errors) == COLUMNS
    assert errors["choice"] < errors["bicubic"]
    assert errors["model"] < errors["bicubic"]

    row = measure_scene(Scene("clips", "photo", "test", 4, [case]), "fast")
    assert row["frames"] == 1
    assert row["bicubic"] == round(-10 * np.log10(errors["bicubic"]), 2)
    assert f"| clips | photo | {row['bicubic']:.2f} |" in render_figures([row])
