"""The choice between the shipped weights."""

from __future__ import annotations

from dataclasses import asdict

import pytest

from crossnetpp.capture.variants import RECORDED, choose_weights
from crossnetpp.checkpoint import find_weights, load_network, read_description
from crossnetpp.networks.fast import CrossNetFast


@pytest.mark.parametrize(
    ("fits_db", "expected"),
    [(51.3, "fast"), (42.0, "fast"), (41.9, "fast-recorded"), (32.7, "fast-recorded")],
)
def test_compressed_recordings_get_their_own_weights(fits_db: float, expected: str) -> None:
    assert choose_weights("fast", fits_db) == expected


def test_the_usual_weights_stay_where_nothing_was_measured() -> None:
    assert choose_weights("fast", None) == "fast"


def test_weights_that_the_user_names_stay() -> None:
    for model in ("paper", "mine.safetensors", "fast-recorded"):
        assert choose_weights(model, 30.0) == model


def test_all_variants_are_shipped() -> None:
    for model, variant in RECORDED.items():
        assert find_weights(variant).parent == find_weights(model).parent
        network = load_network(variant)
        assert isinstance(network, CrossNetFast)
        assert network.config.votes
        assert network.config.chroma
        assert read_description(find_weights(variant)) == ("fast", asdict(network.config))
