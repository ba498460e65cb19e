"""Which actors a run asks Ray for, and what is said where Ray has no place for them.

An actor that waits for its place is what Ray's autoscaler acts upon: it starts nodes for it, and
ends nodes on which no actor is left.
"""

from __future__ import annotations

import os
from dataclasses import dataclass

import ray

from pipeline.errors import PipelineError
from pipeline.execution.cluster.actor import Setup

PLACEMENT_TIMEOUT = float(os.environ.get("PIPELINE_PLACEMENT_TIMEOUT", "60"))
"""Seconds to wait for an actor to be placed; an unsatisfiable request waits silently in Ray."""


@dataclass(frozen=True)
class Demand:
    """Which actors to ask Ray for."""

    workers: int | None = None
    """At most so many, more than the cluster has if it can grow; None = one for every GPU that is
    there, or for every node without any."""
    gpu: bool = False
    accelerator: str | None = None
    """GPU type, as in Ray's label `ray.io/accelerator-type`."""
    timeout: float = PLACEMENT_TIMEOUT
    release: float = 30.0
    """Seconds after which an actor that will have nothing to do any more is ended."""

    def most(self) -> int:
        """Return how many actors the work may have: as asked, else the cluster's GPUs or nodes."""
        if self.workers:
            return self.workers
        if self.gpu:
            resources: dict[str, float] = ray.cluster_resources()  # type: ignore[no-untyped-call]
            return max(1, int(resources.get("GPU", 0)))
        return max(1, sum(n["Alive"] for n in ray.nodes()))  # type: ignore[no-untyped-call]

    def unplaced(self) -> PipelineError:
        """Return what is said when no actor at all was placed in time."""
        free: dict[str, float] = ray.available_resources()  # type: ignore[no-untyped-call]
        kind = f" of type {self.accelerator}" if self.accelerator else ""
        return PipelineError(
            f"no actor could be placed within {self.timeout:g} s: each needs 1 CPU and "
            f"{int(self.gpu)} GPU{kind}, free are {free.get('CPU', 0):g} CPU and "
            f"{free.get('GPU', 0):g} GPU; wait for other work to end, or try --runner inline"
        )


def demand_for(setup: Setup, workers: int | None, accelerator: str | None) -> Demand:
    """Return the actors an input needs on the connected cluster."""
    resources: dict[str, float] = ray.cluster_resources()  # type: ignore[no-untyped-call]
    gpu = accelerator is not None or (resources.get("GPU", 0) >= 1 and setup.engine != "bicubic")
    return Demand(workers=workers, gpu=gpu, accelerator=accelerator)


def nodes_coming() -> int:
    """Return how many nodes the cluster's autoscaler is starting."""
    from ray.autoscaler.v2.sdk import get_cluster_status

    context = ray.get_runtime_context()
    status = get_cluster_status(context.gcs_address)
    return len(status.pending_nodes) + sum(launch.count for launch in status.pending_launches)
