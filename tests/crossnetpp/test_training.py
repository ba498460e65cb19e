"""Training: true flow is true, faults are faults, and the loss falls on a real photograph."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from crossnetpp.checkpoint import load_network
from crossnetpp.data.mixture import Mixture, MixtureSettings, break_reference
from crossnetpp.data.photographs import Photographs
from crossnetpp.data.recordings import Clips, Views
from crossnetpp.data.sample import Pair, PairSource
from crossnetpp.train import learning_rate, train

ROOT = Path(__file__).parents[2]
PHOTOGRAPH = ROOT / "tests" / "data" / "kodak_21.jpg"
CLIP = ROOT / "pipeline" / "samples" / "monster.mp4"


@pytest.fixture(scope="module")
def photographs() -> Photographs:
    return Photographs([PHOTOGRAPH])


@pytest.mark.parametrize("seed", range(8))
def test_the_true_flow_brings_the_reference_onto_the_target(
    photographs: Photographs, seed: int
) -> None:
    pair = photographs.draw(np.random.default_rng(seed), 128, 1.0)
    assert pair.flow is not None
    y, x = np.mgrid[:128, :128].astype(np.float32)
    at_x, at_y = x + pair.flow[..., 0], y + pair.flow[..., 1]
    inside = (at_x > 2) & (at_x < 125) & (at_y > 2) & (at_y < 125)  # False where the flow is NaN
    # next to an occluder's edge a bilinear sample mixes both layers
    inside = cv2.erode(inside.astype(np.uint8), np.ones((5, 5), np.uint8)) > 0
    warped = cv2.remap(pair.reference, at_x, at_y, cv2.INTER_CUBIC)
    before, after = (
        np.abs(image.astype(int) - pair.target)[inside].mean() for image in (pair.reference, warped)
    )
    assert after < 3
    assert after < 0.6 * before


def test_clips_and_views_are_cut_at_one_place() -> None:
    rng = np.random.default_rng(0)
    for source in (Clips([CLIP], reach=1, every=10), Views([[PHOTOGRAPH, PHOTOGRAPH]])):
        pair = source.draw(rng, 96, 0.5)
        assert pair.target.shape == pair.reference.shape == (96, 96, 3)
        assert pair.flow is None
    assert np.array_equal(pair.target, pair.reference)


def test_broken_references_differ_and_claim_no_false_flow(photographs: Photographs) -> None:
    rng = np.random.default_rng(1)
    pair, other = photographs.draw(rng, 96, 0.1), photographs.draw(rng, 96, 0.1)
    for _ in range(12):
        broken = break_reference(rng, pair, other)
        assert not np.array_equal(broken.reference, pair.reference)
        assert np.array_equal(broken.target, pair.target)
        if np.array_equal(broken.reference, other.reference):
            assert broken.flow is None


def test_a_mixture_repeats_by_its_seed(photographs: Photographs) -> None:
    sources: list[tuple[float, PairSource]] = [(1.0, photographs)]
    first, second = (
        next(iter(Mixture(sources, MixtureSettings(size=64, seed=3)))) for _ in range(2)
    )
    assert all(
        torch.equal(a.nan_to_num(), b.nan_to_num()) for a, b in zip(first, second, strict=True)
    )


def test_the_learning_rate_warms_up_and_falls() -> None:
    rates = [learning_rate(step, 1000, 1.0) for step in (0, 99, 500, 999)]
    assert rates[0] == pytest.approx(0.01, abs=1e-3)
    assert rates[1] > 0.95
    assert rates[3] == pytest.approx(0.01, abs=1e-3)


class Still:
    """The same easy pair over and over: a reference moved by whole pixels."""

    def __init__(self) -> None:
        image = cv2.cvtColor(cv2.imread(str(PHOTOGRAPH)), cv2.COLOR_BGR2RGB)
        flow = np.tile(np.float32([3, 2]), (64, 64, 1))
        self.pair = Pair(image[300:364, 500:564], image[298:362, 497:561], flow)

    def draw(self, rng: np.random.Generator, size: int, motion: float) -> Pair:
        return self.pair


def test_training_lowers_the_loss_and_its_weights_load(tmp_path: Path) -> None:
    out = tmp_path / "weights.safetensors"
    settings = MixtureSettings(size=64, steps=80, batch=1, fault_rate=0.0)
    losses = train([(1.0, Still())], settings, out, peak_rate=1e-3)
    assert len(losses) == 80
    assert np.mean(losses[-20:]) < 0.8 * np.mean(losses[:20])
    assert load_network(str(out)).multiple == 32
