"""Several references of one frame: alignment one by one, weighing, and a single fusion."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from crossnetpp.checkpoint import load_network
from crossnetpp.networks.build import build_network
from crossnetpp.networks.fast import CrossNetFast
from crossnetpp.networks.fast_fusion import Candidate, Votes, mix_candidates
from crossnetpp.networks.resample import reduce_antialiased
from crossnetpp.networks.taps import make_box_taps


@pytest.fixture(scope="module")
def network() -> CrossNetFast:
    loaded = load_network("fast")
    assert isinstance(loaded, CrossNetFast)
    return loaded


@pytest.fixture(scope="module")
def hr() -> torch.Tensor:
    """Return a smooth random picture, 1 x 3 x 96 x 128."""
    rng = np.random.default_rng(3)
    coarse = torch.from_numpy(rng.random((1, 3, 24, 32), np.float32))
    return torch.nn.functional.interpolate(coarse, scale_factor=4, mode="bicubic").clamp(0, 1)


@torch.inference_mode()
def test_a_missing_reference_changes_nothing(network: CrossNetFast, hr: torch.Tensor) -> None:
    lr = reduce_antialiased(hr, 4)
    good = network.prepare(hr, 4)
    other = network.prepare(1 - hr, 4)
    alone = network.enhance(lr, good).sr
    both = network.enhance(lr, good, other, weights=torch.tensor([[1.0, 0.0]])).sr
    assert torch.allclose(both, alone, atol=1e-5)


@torch.inference_mode()
def test_the_better_reference_wins_in_any_order(network: CrossNetFast, hr: torch.Tensor) -> None:
    lr = reduce_antialiased(hr, 4)
    good = network.prepare(hr, 4)
    bad = network.prepare(1 - hr, 4)
    alone = network.enhance(lr, good).sr
    for pair in ((good, bad), (bad, good)):
        assert (network.enhance(lr, *pair).sr - alone).abs().max() < 2 / 255


@torch.inference_mode()
def test_three_references_are_mixed_into_one_fusion(
    network: CrossNetFast, hr: torch.Tensor
) -> None:
    lr = reduce_antialiased(hr, 4)
    prepared = network.prepare(hr, 4)
    same = network.enhance(lr, prepared, prepared, prepared).sr
    assert torch.allclose(same, network.enhance(lr, prepared).sr, atol=1e-5)


@torch.inference_mode()
def test_the_kernel_decides_what_counts_as_agreement(
    network: CrossNetFast, hr: torch.Tensor
) -> None:
    lr = torch.nn.functional.avg_pool2d(hr, 4)
    taps = torch.from_numpy(make_box_taps(4))
    right = network.enhance(lr, network.prepare(hr, 4, taps)).sr
    wrong = network.enhance(lr, network.prepare(hr, 4)).sr
    assert (right - hr).square().mean() < (wrong - hr).square().mean()


def _make_candidate(error: float) -> Candidate:
    image = torch.full((1, 3, 32, 32), error)
    return Candidate(torch.zeros(1, 3, 32, 32), image, image)


def test_shares_are_inverse_squared_errors_times_prior_weights() -> None:
    votes = Votes(0)
    features = torch.zeros(1, 40, 8, 8)
    candidates = [_make_candidate(error) for error in (0.01, 0.03)]
    weights = torch.tensor([[1.0, 0.5]])
    shares = votes(features, candidates, weights, 4)
    first = 1 / (0.01**2 + 0.002**2)
    second = 0.5 / (0.03**2 + 0.002**2)
    assert shares.shape == (1, 2, 32, 32)
    assert shares[0, 0].mean().item() == pytest.approx(first / (first + second), rel=1e-4)
    assert torch.allclose(shares.sum(1), torch.ones(1, 32, 32))

    mixed = mix_candidates(candidates, shares)
    expected = (first * 0.01 + second * 0.03) / (first + second)
    assert mixed.difference.mean().item() == pytest.approx(expected, rel=1e-4)


def test_an_untrained_vote_hardly_changes_the_shares() -> None:
    torch.manual_seed(0)
    features = torch.rand(1, 40, 8, 8)
    candidates = [_make_candidate(error) for error in (0.01, 0.03)]
    plain = Votes(0)(features, candidates, None, 4)
    learned = Votes(16)(features, candidates, None, 4)
    assert torch.allclose(plain, learned, atol=0.01)


def test_the_option_builds_the_network_that_votes() -> None:
    network = build_network("fast", {"votes": 16})
    assert isinstance(network, CrossNetFast)
    assert network.votes.body is not None
    assert build_network("fast", {}).state_dict().keys() < network.state_dict().keys()
