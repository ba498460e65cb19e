"""Build engines on a Ray cluster: one for each kind of GPU, or one for CPUs if it has no GPUs."""

from __future__ import annotations

from typing import Any, NamedTuple

from deploy.protocol import EngineError, EngineInfo
from pipeline.errors import PipelineError, last_line
from pipeline.execution.cluster.actor import ACCELERATOR_LABEL
from pipeline.execution.cluster.connection import cluster
from pipeline.interrupt import Interrupts

BUILD_TIMEOUT_SECONDS = 3600.0  # for each kind of node; a busy node finishes its other work first


class BuiltEngine(NamedTuple):
    """The engine that `auto` chose on one kind of node."""

    kind: str
    """GPU type as in Ray's node labels, "gpu" if the nodes have no such label, or "cpu"."""
    host: str
    nodes: int
    """Number of nodes of this kind. Nodes that do not share PIPELINE_CACHE with the node that built
    the engine build their own engine later."""
    info: EngineInfo | str
    """The engine, or the reason why it could not be built."""


def group_by_kind(nodes: list[dict[str, Any]]) -> dict[str, list[dict[str, Any]]]:
    """Return the living GPU nodes by GPU type or, if there are none, the CPU nodes under "cpu"."""
    alive = [node for node in nodes if node.get("Alive")]
    kinds: dict[str, list[dict[str, Any]]] = {}

    for node in alive:
        if node.get("Resources", {}).get("GPU", 0) >= 1:
            kind = str(node.get("Labels", {}).get(ACCELERATOR_LABEL) or "gpu")
            kinds.setdefault(kind, []).append(node)

    return kinds or {"cpu": [node for node in alive if node["Resources"].get("CPU", 0) >= 1]}


def build_on_cluster(model: str, address: str | None) -> list[BuiltEngine]:
    """Build the engine that `auto` chooses for `model` on one node of each kind, in parallel.

    The result for a kind describes the engine, or says why it could not be built.
    Raises PipelineError if no node has a GPU or a CPU.
    """
    with Interrupts() as interrupts, cluster(address, interrupts):
        import ray
        from ray.exceptions import RayError
        from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

        kinds = group_by_kind(ray.nodes())  # type: ignore[no-untyped-call]
        if not any(kinds.values()):
            raise PipelineError("the cluster has no node with a GPU or a CPU; see `ray status`")

        builds = {}
        for kind, nodes in kinds.items():
            on_first = NodeAffinitySchedulingStrategy(nodes[0]["NodeID"], soft=False)
            task = ray.remote(_build).options(
                num_cpus=1, num_gpus=0 if kind == "cpu" else 1, scheduling_strategy=on_first
            )
            builds[kind] = task.remote(model)

        built = []
        for kind, nodes in kinds.items():
            try:
                answer = ray.get(builds[kind], timeout=BUILD_TIMEOUT_SECONDS)
            except RayError as error:
                answer = f"{type(error).__name__}: {last_line(error)}"
            built.append(BuiltEngine(kind, nodes[0]["NodeManagerHostname"], len(nodes), answer))

        return built


def _build(model: str) -> EngineInfo | str:
    """Build and return the engine that `auto` chooses on this node, or return the error as text.

    The error is not raised, because Ray would wrap it.
    """
    from deploy.load import load_engine
    from deploy.machine import device_facts

    try:
        # speeds are stored by thread count, so measure with as many threads as a run here uses
        threads = device_facts()["cores"]
        return load_engine("auto", model=model, threads=threads, remeasure=True).info
    except EngineError as error:
        return str(error)
