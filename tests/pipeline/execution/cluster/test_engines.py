"""Engines built on a Ray cluster, on one node of each kind."""

from __future__ import annotations

from typing import Any

import pytest
from click.testing import CliRunner

from pipeline.cli.main import main
from pipeline.execution.cluster.engines import group_by_kind


def node(name: str, *, gpu: str = "", alive: bool = True) -> dict[str, Any]:
    return {
        "NodeID": name,
        "Alive": alive,
        "Resources": {"CPU": 4.0} | ({"GPU": 1.0} if gpu else {}),
        "Labels": {"ray.io/accelerator-type": gpu} if gpu else {},
    }


def test_each_kind_of_gpu_gets_one_build() -> None:
    nodes = [node("head"), node("a", gpu="H100"), node("b", gpu="L4"), node("c", gpu="H100")]
    found = group_by_kind([*nodes, node("d", gpu="A100", alive=False)])
    assert {kind: [n["NodeID"] for n in members] for kind, members in found.items()} == {
        "H100": ["a", "c"],
        "L4": ["b"],
    }
    assert list(group_by_kind([node("head")])) == ["cpu"]


@pytest.mark.ray
def test_a_local_cluster_builds_on_the_cpu() -> None:
    done = CliRunner().invoke(main, ["engines", "build", "--cluster"])
    assert done.exit_code == 0, done.output
    assert done.stdout.startswith("cpu (1 node, built on ")
    assert "auto: frames per second measured here" in done.stdout


@pytest.mark.ray
def test_a_failure_on_a_node_is_reported() -> None:
    done = CliRunner().invoke(main, ["engines", "build", "--cluster", "--model", "paper"])
    assert done.exit_code == 1
    assert "FAILED: " in done.stdout
    assert "no shipped weights for the preset 'paper'" in done.stdout
