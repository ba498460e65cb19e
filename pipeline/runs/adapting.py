"""Plan the adaptation of a run's weights, and complete it before the first segment."""

from __future__ import annotations

from deploy.speed import find_speed
from pipeline.adaptation.decision import decide_adaptation, find_stored_adaptation
from pipeline.adaptation.request import AdaptRequest
from pipeline.execution.runners import Runner
from pipeline.ledger.ledger import Ledger
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
) -> Plan:
    """Return the plan with its adaptation, which an unfinished run may already have decided on."""
    if plan.engine == "bicubic":
        return plan.model_copy(update={"adaptation": None})
    if from_file is not None:
        return plan.model_copy(update={"adaptation": from_file})
    if plan.adaptation is not None:  # the plan was made earlier, and perhaps edited
        pending = plan.adaptation.without_result()
        plan = plan.model_copy(update={"adaptation": pending})
    elif request.kind == "off":
        return plan

    stored = find_stored_adaptation(plan, request)
    if stored is not None:
        return plan.model_copy(update={"adaptation": stored})
    if plan.adaptation is not None:
        return plan

    def find_run_seconds() -> float | None:
        known = runner == "inline"  # this device's speed says nothing about a cluster's
        speed = find_speed(plan.engine, plan.model, plan.output_pixels) if known else None
        return None if speed is None else estimate_seconds(plan, speed)

    decision = decide_adaptation(plan, request, find_run_seconds, progress)
    notes = tuple(dict.fromkeys((*plan.notes, *filter(None, (decision.note,)))))
    return plan.model_copy(update={"adaptation": decision.adaptation, "notes": notes})


def complete_adaptation(ledger: Ledger, progress: Reporter) -> None:
    """Adapt the weights as the ledger's plan requires, unless an earlier run has done so."""
    from pipeline.adaptation.training import train_planned  # imports torch

    train_planned(ledger, progress)
