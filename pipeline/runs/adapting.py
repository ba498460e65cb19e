"""Plan the adaptation of a run's weights, and complete it before the first segment."""

from __future__ import annotations

from pathlib import Path

from deploy.speed import find_speed
from pipeline.adaptation.decision import (
    Decision,
    decide_adaptation,
    decide_to_share,
    find_stored_adaptation,
)
from pipeline.adaptation.request import AdaptRequest
from pipeline.adaptation.shared import SharedWeights
from pipeline.errors import PipelineError
from pipeline.execution.runners import Runner
from pipeline.ledger.adapted_weights import find_adapted_weights
from pipeline.ledger.ledger import Ledger
from pipeline.paths import sha256
from pipeline.planning.cost_estimate import estimate_seconds
from pipeline.progress import Reporter
from pipeline.schema.adaptation import Adaptation
from pipeline.schema.plan import Plan


def plan_adaptation(
    plan: Plan,
    request: AdaptRequest,
    from_file: Adaptation | None,
    progress: Reporter,
    runner: Runner,
    shared: SharedWeights | None = None,
) -> Plan:
    """Return the plan with its adaptation: from an unfinished run, from a file, or newly decided.

    `shared` contains the weights that the inputs of a batch share; None if they share none.
    """
    if plan.engine == "bicubic":
        return plan.model_copy(update={"adaptation": None})
    if from_file is not None:
        return plan.model_copy(update={"adaptation": from_file})
    if plan.adaptation is not None:  # the plan was made earlier, and perhaps edited
        pending = plan.adaptation.without_result()
        plan = plan.model_copy(update={"adaptation": pending})
    elif request.kind == "off":
        return plan

    weights = None if shared is None else shared.find(plan.model_sha256)
    stored = find_stored_adaptation(plan, request)
    if stored is not None and _can_resume(stored, weights, shared):
        return plan.model_copy(update={"adaptation": stored})
    if plan.adaptation is not None:
        return plan
    if weights is not None:
        return _with_decision(plan, decide_to_share(plan, request, weights))

    def find_run_seconds() -> float | None:
        known = runner == "inline"  # this device's speed says nothing about a cluster's
        speed = find_speed(plan.engine, plan.model, plan.network_pixels) if known else None
        return None if speed is None else estimate_seconds(plan, speed)

    return _with_decision(plan, decide_adaptation(plan, request, find_run_seconds, progress))


def _can_resume(stored: Adaptation, weights: Path | None, shared: SharedWeights | None) -> bool:
    """Return whether an unfinished run can continue with its stored adaptation.

    If the adaptation uses shared weights, the batch must share weights, too. If the shared weights
    have not been tried on this input yet, they must also be the ones that the adaptation names.
    """
    if not stored.shared:
        return True
    if stored.done:
        return shared is not None
    return weights is not None and sha256(weights) == stored.shared


def _with_decision(plan: Plan, decision: Decision) -> Plan:
    notes = tuple(dict.fromkeys((*plan.notes, *filter(None, (decision.note,)))))
    return plan.model_copy(update={"adaptation": decision.adaptation, "notes": notes})


def complete_adaptation(
    ledger: Ledger, progress: Reporter, shared: SharedWeights | None = None
) -> None:
    """Adapt the weights as the ledger's plan requires, unless an earlier run has done so.

    If the adapted weights beat the original ones, they are stored in `shared` for later inputs of
    the batch.
    """
    from pipeline.adaptation.training import train_planned  # imports torch

    train_planned(ledger, progress, shared)
    done = ledger.plan.adaptation
    if shared is not None and done is not None and done.used and not done.shared:
        weights = find_adapted_weights(ledger.folder, done.weights_sha256)
        if weights is None:
            return
        try:
            shared.offer(weights, ledger.plan.model_sha256)
        except (OSError, PipelineError) as error:  # the other inputs will adapt their own weights
            progress.note(f"the adapted weights cannot be shared: {error}")
