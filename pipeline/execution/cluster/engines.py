"""Make engines on a Ray cluster, once for each kind of GPU (or processor) that it has."""

from __future__ import annotations

from typing import Any, NamedTuple

from deploy.protocol import EngineError, EngineInfo
from pipeline.errors import PipelineError
from pipeline.execution.cluster.actor import ACCELERATOR
from pipeline.execution.cluster.connection import cluster
from pipeline.interrupt import Interrupts

TIMEOUT = 3600.0
"""Seconds for one kind; a busy node may have to finish its work first."""


class Built(NamedTuple):
    """What `auto` is on one kind of node."""

    kind: str
    """GPU type as Ray labels it, or cpu."""
    host: str
    nodes: int
    """How many are of this kind; those without a shared PIPELINE_CACHE build for themselves."""
    info: EngineInfo | str
    """Or why there is none."""


def representatives(nodes: list[dict[str, Any]]) -> dict[str, list[dict[str, Any]]]:
    """Return living nodes by kind; nodes without a GPU count only where no node has one."""
    alive = [node for node in nodes if node.get("Alive")]
    kinds: dict[str, list[dict[str, Any]]] = {}
    for node in alive:
        if node.get("Resources", {}).get("GPU", 0) >= 1:
            kind = str(node.get("Labels", {}).get(ACCELERATOR) or "gpu")
            kinds.setdefault(kind, []).append(node)
    return kinds or {"cpu": [node for node in alive if node["Resources"].get("CPU", 0) >= 1]}


def build_everywhere(model: str, address: str | None) -> list[Built]:
    """Return what was built on one node of each kind, all of them at once.

    Raises PipelineError for a cluster without nodes that could do it.
    """
    with Interrupts() as interrupts, cluster(address, interrupts):
        import ray
        from ray.exceptions import RayError
        from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

        found = representatives(ray.nodes())  # type: ignore[no-untyped-call]
        if not any(found.values()):
            raise PipelineError("found no node with a GPU or a CPU; see `ray status`")
        waiting = {}
        for kind, nodes in found.items():
            here = NodeAffinitySchedulingStrategy(nodes[0]["NodeID"], soft=False)
            task = ray.remote(_build).options(
                num_cpus=1, num_gpus=0 if kind == "cpu" else 1, scheduling_strategy=here
            )
            waiting[kind] = task.remote(model)
        built = []
        for kind, nodes in found.items():
            try:
                answer = ray.get(waiting[kind], timeout=TIMEOUT)
            except RayError as error:
                answer = f"{type(error).__name__}: {str(error).strip().splitlines()[-1]}"
            built.append(Built(kind, nodes[0]["NodeManagerHostname"], len(nodes), answer))
        return built


def _build(model: str) -> EngineInfo | str:
    """Return what `auto` is on this node, or in words why there is no engine: Ray wraps errors."""
    from deploy.load import load_engine

    try:
        return load_engine("auto", model=model, remeasure=True).info
    except EngineError as error:
        return str(error)
