"""A model that exports and builds in half the time of `fast`, with all of its operations."""

from __future__ import annotations

import pytest

from crossnetpp.checkpoint import load_network, save_weights
from crossnetpp.networks.build import build_network


@pytest.fixture(scope="session")
def settled_once(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Return `fast` with one variational step where it has three; a step has no weights."""
    network = build_network("fast", {"settlings": 1})
    network.load_state_dict(load_network("fast").state_dict())
    path = tmp_path_factory.mktemp("weights") / "settled_once.safetensors"
    save_weights(network, "fast", path)
    return str(path)
