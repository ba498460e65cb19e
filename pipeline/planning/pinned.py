"""Pin a plan: fix the weights and the number of threads, which affect the bits of its output."""

from __future__ import annotations

from pathlib import Path

from crossnetpp.machine import count_cores
from pipeline.errors import InputError
from pipeline.ledger.run_folder import find_stored_plan
from pipeline.media.planes import can_scale_planes
from pipeline.paths import sha256
from pipeline.planning.effort_notes import copy_effort_notes
from pipeline.schema.capture import Capture
from pipeline.schema.plan import Plan


def pin_plan(
    plan: Plan,
    *,
    recut: bool = False,
    keep_capture: bool = False,
    keep_effort: bool = False,
    is_written: bool = True,
) -> Plan:
    """Return the plan with the weights and the engine's number of CPU threads fixed.

    Both affect the output's bits, but depend on the machine and the time of the run. If the output
    `is_written`, the plan also states whether planes are enlarged instead of RGB frames.

    All workers use the same number of threads. A resumed run keeps that number, even on a machine
    with a different number of cores. It also keeps the following decisions made at its start, if
    the options are set: with `keep_capture`, the measured capture, which may depend on the
    processor; with `recut`, the segments, whose length depends on the speed that was known then;
    and with `keep_effort`, whether optical flow is mixed in, which depends on the device. Raises
    InputError if the weights cannot be found.
    """
    if plan.engine != "bicubic":
        plan = plan.model_copy(update=_pin_weights(plan.model))
    if plan.threads:
        return plan

    threads = count_cores()
    plan = plan.model_copy(update={"planes": is_written and can_be_planes(plan)})
    stored = find_stored_plan(plan)
    if stored is not None:
        kept = plan.model_copy(update={"segments": stored.segments}) if recut else plan
        if keep_capture and _is_measured(stored.capture):
            kept = kept.model_copy(update={"capture": stored.capture})
        if keep_capture and None not in (stored.restores_from_db, plan.restores_from_db):
            kept = kept.model_copy(update={"restores_from_db": stored.restores_from_db})
        if keep_effort and kept.mixes_flow != stored.mixes_flow:
            notes = copy_effort_notes(kept.notes, stored.notes)
            kept = kept.model_copy(update={"mixes_flow": stored.mixes_flow, "notes": notes})
        # the adaptation is compared later, when it has been decided
        left = {"threads": 0, "adaptation": None, "planes": False}
        if stored.model_copy(update=left).digest() == kept.model_copy(update=left).digest():
            # runs of older versions enlarge RGB frames
            plan = kept.model_copy(update={"planes": stored.planes})
            threads = stored.threads

    return plan.model_copy(update={"threads": threads})


def can_be_planes(plan: Plan) -> bool:
    """Return whether a plan's frames can be enlarged plane by plane, without conversion to RGB."""
    return (
        plan.engine == "bicubic"
        and plan.reference.trusted is None
        and can_scale_planes(plan.input, plan.encoding, plan.width, plan.height)
    )


def _is_measured(capture: Capture | None) -> bool:
    """Return whether a capture was measured: its kernel, or only its colours (source "bicubic")."""
    return capture is not None and capture.source in ("measured", "bicubic")


def _pin_weights(model: str) -> dict[str, str]:
    """Return the fields of a plan that identify the weights."""
    from crossnetpp.checkpoint import WeightsError, find_weights  # imports torch

    try:
        path = find_weights(model)
    except WeightsError as error:
        raise InputError(str(error)) from error

    # an absolute path, because an actor's working directory is not the driver's
    name = str(path.absolute()) if Path(model).is_file() else model
    return {"model": name, "model_sha256": sha256(path)}
