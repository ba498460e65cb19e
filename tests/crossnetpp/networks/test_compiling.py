"""The network as compilers see it: one graph, without the operations on which they fail."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from crossnetpp.networks.blocks import repeat_border
from crossnetpp.networks.build import build_network


class Recorder:
    """A backend of torch.compile that runs the graphs as they are, and keeps them."""

    def __init__(self) -> None:
        self.graphs: list[torch.fx.GraphModule] = []

    def __call__(self, graph: torch.fx.GraphModule, _: list[Tensor]) -> torch.fx.GraphModule:
        self.graphs.append(graph)
        return graph

    def list_pads(self) -> list[str]:
        """Return the modes of all paddings in the graphs."""
        nodes = [node for graph in self.graphs for node in graph.graph.nodes]
        pads = [node for node in nodes if node.target is F.pad or "pad" in str(node.target)]
        return [str(node.kwargs.get("mode", "constant")) for node in pads]


@pytest.mark.parametrize("border", [(1, 2, 0, 3), (0, 0, 2, 1), (4, 0, 0, 0), (0, 0, 0, 0)])
def test_a_compiled_border_is_that_of_pad(border: tuple[int, int, int, int]) -> None:
    planes = torch.randn(2, 3, 4, 5)
    expected = F.pad(planes, border, mode="replicate")
    assert torch.equal(repeat_border(planes, *border), expected)

    recorder = Recorder()
    compiled = torch.compile(lambda p: repeat_border(p, *border), backend=recorder, dynamic=False)
    assert torch.equal(compiled(planes), expected)
    assert recorder.list_pads() == []


@pytest.mark.filterwarnings("ignore:Dynamo detected a call to a `functools.lru_cache`")
def test_the_network_compiles_to_one_graph_without_replicating_pads() -> None:
    torch.manual_seed(0)
    options = {"votes": 16, "chroma": True, "arbitration": True, "lr_steps": 1}
    network = build_network("fast", options).eval()
    lr = torch.rand(1, 3, 16, 24)
    refs = [torch.rand(1, 3, 64, 96) for _ in range(2)]
    recorder = Recorder()
    with torch.no_grad():
        expected = network(lr, *refs).sr
        compiled = torch.compile(network, backend=recorder, dynamic=False, fullgraph=True)
        got = compiled(lr, *refs).sr
    assert len(recorder.graphs) == 1
    assert "replicate" not in recorder.list_pads()
    torch.testing.assert_close(got, expected, rtol=0, atol=2e-4)
