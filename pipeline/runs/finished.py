"""Determine whether a run would make an output that already exists, without planning it again.

The plan beside a finished output records the command that made it. A run would make the same output
if the settings, the recordings and the weights are the same; the output must also still pass
verification.
"""

from __future__ import annotations

from pathlib import Path

from pydantic import ValidationError

from crossnetpp.capture.variants import RECORDED
from pipeline.adaptation.decision import is_same_adaptation
from pipeline.adaptation.request import AdaptRequest, names_file, take_request, use_adapted_file
from pipeline.assembly.finish import find_differences
from pipeline.assembly.record import format_command, read_command
from pipeline.errors import InputError, PipelineError
from pipeline.ledger.plan_beside import plan_path, plan_url
from pipeline.paths import is_url
from pipeline.planning.capture import NAMES, read_capture
from pipeline.planning.edited_plan import load_plan
from pipeline.planning.effort import find_base_model
from pipeline.planning.pinned import can_be_planes, pin_plan
from pipeline.planning.sources import reopen_sources
from pipeline.planning.weights import choose_model
from pipeline.remote import transfer
from pipeline.remote.run_urls import fetch_inputs, with_urls
from pipeline.schema.options import list_options
from pipeline.schema.plan import Plan
from pipeline.schema.plan_file import read_plan
from pipeline.schema.settings import (
    OPTION_GROUPS,
    ExecutionSettings,
    InputSettings,
    PairingSettings,
    RunSettings,
)

# Settings that change where or how a run executes, but not its output; and settings whose files are
# compared by content instead.
_UNCOMPARED = frozenset(
    {
        "output", "force", "ground_truth", "ref_stream", "plan", "model", "sandbox", "runner",
        "address", "workers", "accelerator", "placement", "capture", "adapt",
    }
)  # fmt: skip


def find_finished_plan(settings: RunSettings, output: str) -> Plan | None:
    """Return the plan of an output if a run with these settings finished it, else None.

    `output` is a local path. If the settings' output is a URL, the output is not verified again,
    because an upload appears only when it is complete.
    """
    url = settings.output if settings.output is not None and is_url(settings.output) else None
    try:
        stored = _read_url_plan(url) if url is not None else _read_local_plan(Path(output))
        if stored is None or stored.record is None:
            return None

        forced = settings.model_copy(update={"force": True})
        local, adapt, from_file = use_adapted_file(fetch_inputs(forced, forced))
        if local.plan is not None:
            planned = load_plan(local.plan, local)
            planned = with_urls(planned, settings.input, settings.ref_stream, settings.output)
            planned, adapt, from_file = take_request(planned, adapt, from_file)
            if from_file is not None:
                planned = planned.model_copy(update={"adaptation": from_file})
            current = _match_edited_plan(stored, planned, adapt)
        elif _is_same_command(stored, format_command(settings)):
            model = _find_model(stored, local, local.capture)
            current = _reopen_recordings(stored, local, local, model)
        else:
            current = None
    except (InputError, OSError):
        return None  # a recording or the weights are gone or have changed
    if current is None:
        return None

    if url is not None:
        current = current.model_copy(update={"output": local.output})
        return with_urls(current, settings.input, settings.ref_stream, settings.output)
    current = current.model_copy(update={"output": output})
    try:
        return None if find_differences(current, [], Path(output)) else current
    except (PipelineError, OSError):
        return None


def _read_local_plan(output: Path) -> Plan | None:
    """Return the plan beside an output; None if there is none, or if it is not the output's plan.

    The plan may belong to a deleted output with the same stem, or to an earlier file at this path.
    """
    plan = plan_path(output)
    if not plan.is_file():
        return None

    stored = read_plan(plan)
    # the plan may belong to a deleted output, such as out.mkv beside out.mp4
    if Path(stored.output).name != output.name:
        return None
    # an output is older than its plan, unless it has been replaced
    if output.is_file() and output.stat().st_mtime_ns > plan.stat().st_mtime_ns:
        return None
    return stored


def _read_url_plan(url: str) -> Plan | None:
    content = transfer.read_bytes(plan_url(url))
    try:
        return Plan.model_validate_json(content or b"")
    except ValidationError:
        return None


def _find_model(stored: Plan, settings: ExecutionSettings, capture: str) -> str | None:
    """Return the weights (name or path) that a run would use, or None if they are not known.

    `capture` is the value of --capture.
    """
    if "model" in settings.model_fields_set or stored.engine == "bicubic":
        return settings.model

    # no weights are set, so the program chooses; it also chose for the stored plan unless its
    # command has --model
    base = find_base_model(settings)
    assert stored.record is not None
    if "model" not in read_command(stored.record.command):
        is_variant = RECORDED.get(base) == stored.model
        return stored.model if is_variant else base
    if stored.capture is None and capture == "auto":
        return None  # the fit on which the choice depends is not stored
    # a capture from a file may have been measured on another recording, so its fit is ignored
    fitted = stored.capture if capture == "auto" else None
    return choose_model(base, fitted.fits_db if fitted else None)[0]


def _match_edited_plan(stored: Plan, planned: Plan, adapt: AdaptRequest) -> Plan | None:
    """Return the plan `planned` as it would run now, or None if the stored plan differs from it."""
    planes = stored.planes and can_be_planes(planned)
    planned = planned.model_copy(update={"threads": stored.threads, "planes": planes})
    if is_same_adaptation(stored.adaptation, planned, adapt):
        planned = planned.model_copy(update={"adaptation": stored.adaptation})
    pinned = pin_plan(planned)
    return pinned if pinned.digest() == stored.digest() else None


def _reopen_recordings(
    stored: Plan, part: InputSettings, pairing: PairingSettings, model: str | None
) -> Plan | None:
    """Return the stored plan with the recordings as they are now.

    The result is None if the weights `model` are unknown (None), or differ from the plan's. Raises
    InputError if a recording has changed.
    """
    if model is None:
        return None
    sources = reopen_sources(stored, "beside the output", part, pairing)
    reference = stored.reference.model_copy(update={"clip": sources.ref})
    current = stored.model_copy(update={"input": sources.lr, "reference": reference})
    pinned = pin_plan(current.model_copy(update={"model": model}))
    return current if pinned.model_sha256 == stored.model_sha256 else None


def _is_same_command(stored: Plan, command: str) -> bool:
    """Return whether `command` has the same settings as the command recorded in a finished plan.

    An option that a command omits has its default. The model, settings that do not change the
    output, and the recordings' paths are not compared.
    """
    assert stored.record is not None
    there, here = read_command(stored.record.command), read_command(command)
    if here.get("consistent") == "True" or "plan" in there:
        return False  # the references of a second pass no longer exist
    for field in list_options(*OPTION_GROUPS):
        if field.name in _UNCOMPARED:
            continue
        default = str(RunSettings.model_fields[field.name].default)
        if there.get(field.name, default) != here.get(field.name, default):
            return False

    captures = there.get("capture", "auto"), here.get("capture", "auto")
    adapts = there.get("adapt", "auto"), here.get("adapt", "auto")
    return _is_same_capture(stored, *captures) and _is_same_adapt(*adapts)


def _is_same_capture(stored: Plan, there: str, here: str) -> bool:
    """Return whether two values of --capture are equivalent; files are compared by content."""
    if there in NAMES or here in NAMES:
        return there == here
    return read_capture(here, stored.scale) == stored.capture


def _is_same_adapt(there: str, here: str) -> bool:
    """Return whether two values of --adapt are equal, or both name files with weights."""
    return there == here or (names_file(there) and names_file(here))
