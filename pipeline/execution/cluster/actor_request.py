"""Describe the actors that a run requests from Ray, and explain why Ray cannot place them.

Ray's autoscaler starts nodes for actors that cannot be placed yet, and shuts down nodes without
actors.
"""

from __future__ import annotations

from dataclasses import dataclass

import ray

from pipeline.errors import PipelineError
from pipeline.schema.parsing import read_number_variable

# Seconds to wait for an actor to be placed. Ray waits silently, even if no node could ever run it.
PLACEMENT_TIMEOUT_SECONDS = read_number_variable("PIPELINE_PLACEMENT_TIMEOUT", 60.0, "seconds")


@dataclass(frozen=True)
class ActorRequest:
    """The number and kind of actors to request from Ray."""

    workers: int | None = None
    """Maximum number of actors, which may exceed the present capacity of a cluster that can grow.
    None means one per GPU or, for actors without a GPU, one per node."""
    gpu: bool = False
    """Whether each actor needs a GPU."""
    accelerator: str | None = None
    """GPU type, as in Ray's label `ray.io/accelerator-type`, or None for any type."""
    timeout: float = PLACEMENT_TIMEOUT_SECONDS
    """Seconds after which an actor that Ray has not placed yet counts as late."""
    release_after: float = 30.0
    """Seconds after which an idle actor is ended."""

    def max_actors(self) -> int:
        """Return the maximum number of actors: `workers`, or else one per GPU or node."""
        if self.workers:
            return self.workers
        if self.gpu:
            resources: dict[str, float] = ray.cluster_resources()  # type: ignore[no-untyped-call]
            return max(1, int(resources.get("GPU", 0)))
        return max(1, sum(n["Alive"] for n in ray.nodes()))  # type: ignore[no-untyped-call]

    def unplaced_error(self) -> PipelineError:
        """Return the error that is raised if Ray placed none of a run's actors in time."""
        free: dict[str, float] = ray.available_resources()  # type: ignore[no-untyped-call]
        kind = f" of type {self.accelerator}" if self.accelerator else ""
        return PipelineError(
            f"no actor could be placed within {self.timeout:g} s: each needs 1 CPU and "
            f"{int(self.gpu)} GPU{kind}, but {free.get('CPU', 0):g} CPU and "
            f"{free.get('GPU', 0):g} GPU are free; wait for other work to end, or try "
            "--runner inline"
        )


def request_actors(engine: str, workers: int | None, accelerator: str | None) -> ActorRequest:
    """Return the request for actors that run `engine` on the connected cluster."""
    resources: dict[str, float] = ray.cluster_resources()  # type: ignore[no-untyped-call]
    gpu = accelerator is not None or (resources.get("GPU", 0) >= 1 and engine != "bicubic")
    return ActorRequest(workers=workers, gpu=gpu, accelerator=accelerator)


def count_starting_nodes() -> int:
    """Return the number of nodes that the cluster's autoscaler is starting."""
    from ray.autoscaler.v2.sdk import get_cluster_status

    context = ray.get_runtime_context()
    status = get_cluster_status(context.gcs_address)
    return len(status.pending_nodes) + sum(launch.count for launch in status.pending_launches)
