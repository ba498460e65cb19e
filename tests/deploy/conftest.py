"""A model with all operations of `fast` that exports and builds in half the time."""

from __future__ import annotations

from dataclasses import asdict

import pytest

from crossnetpp.checkpoint import load_network, save_weights
from crossnetpp.networks.build import build_network


@pytest.fixture(scope="session")
def one_step_model(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Return weights of `fast` with one variational step, not two; a step has no weights."""
    fast = load_network("fast")
    network = build_network("fast", asdict(fast.config) | {"settlings": 1})
    network.load_state_dict(fast.state_dict())
    path = tmp_path_factory.mktemp("weights") / "one_step_model.safetensors"
    save_weights(network, "fast", path)
    return str(path)
