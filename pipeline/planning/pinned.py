"""TODO: what this module is for."""

from __future__ import annotations

import os
from pathlib import Path

from pipeline.errors import InputError
from pipeline.ledger.durable import sha256
from pipeline.ledger.run_folder import find_stored_plan
from pipeline.schema.plan import Plan


def pin_plan(plan: Plan) -> Plan:
    """Return the plan with everything fixed that decides bits but depends on machine and moment.

    These are the weights, and the engine's CPU threads, which are the same for every worker.
    A resumed run keeps its number of threads, even on a machine with other cores.
    """
    if plan.engine != "bicubic":
        plan = plan.model_copy(update=_weights(plan.model))
    if plan.threads:
        return plan
    threads = len(os.sched_getaffinity(0))
    stored = find_stored_plan(plan)
    if stored is not None and stored.model_copy(update={"threads": 0}).digest() == plan.digest():
        threads = stored.threads
    return plan.model_copy(update={"threads": threads})


def _weights(model: str) -> dict[str, str]:
    from crossnetpp.checkpoint import WeightsError, find_weights  # imports torch

    try:
        path = find_weights(model)
    except WeightsError as error:
        raise InputError(str(error)) from error
    # a file is named by its whole path: an actor's working directory is not the driver's
    named = str(path.absolute()) if Path(model).is_file() else model
    return {"model": named, "model_sha256": sha256(path)}
