"""Find out whether an existing output is what a run would make, without planning it again.

The plan beside a finished output records the command that made it. The output counts as made by
the same run if the settings, the recordings and the weights are the same, and if it still passes
verification.
"""

from __future__ import annotations

from pathlib import Path

from pydantic import ValidationError

from pipeline.assembly.finish import find_differences, plan_path
from pipeline.assembly.record import format_command, read_command
from pipeline.errors import InputError, PipelineError
from pipeline.paths import is_url, join_url
from pipeline.planning.edited_plan import load_plan
from pipeline.planning.pinned import pin_plan
from pipeline.planning.sources import reopen_sources
from pipeline.remote import transfer
from pipeline.remote.run_urls import fetch_inputs, with_urls
from pipeline.schema.options import list_options
from pipeline.schema.plan import Plan
from pipeline.schema.plan_file import read_plan
from pipeline.schema.settings import OPTION_GROUPS, RunSettings

# Settings that change where or how a run executes but not its output, and settings whose files are
# compared by content instead.
_UNCOMPARED = frozenset(
    {
        "output", "force", "ground_truth", "ref_stream", "plan", "model", "sandbox", "runner",
        "address", "workers", "accelerator", "placement",
    }
)  # fmt: skip


def find_finished_plan(settings: RunSettings, output: str) -> Plan | None:
    """Return the plan of an output if a run with these settings finished it, else None.

    `output` is a local path. If the settings name a URL instead, the output at the URL is not
    verified again, because an upload appears only as a whole.
    """
    at_url = settings.output is not None and is_url(settings.output)
    try:
        stored = _read_url_plan(settings) if at_url else _read_local_plan(Path(output))
        if stored is None or stored.record is None:
            return None
        local = fetch_inputs(settings.model_copy(update={"force": True}))
        current = _with_current_files(stored, settings, local)
    except (InputError, OSError):
        return None  # a recording or the weights are gone or have changed
    if current is None:
        return None

    if at_url:
        current = current.model_copy(update={"output": local.output})
        return with_urls(current, settings.input, settings.ref_stream, settings.output)
    current = current.model_copy(update={"output": output})
    try:
        return None if find_differences(current, [], Path(output)) else current
    except (PipelineError, OSError):
        return None


def _read_local_plan(output: Path) -> Plan | None:
    """Return the plan beside an output; None if it belongs to another output or a changed one."""
    plan = plan_path(output)
    if not plan.is_file():
        return None

    stored = read_plan(plan)
    # the plans of out.mkv and out.mp4 have the same path
    if Path(stored.output).name != output.name:
        return None
    # an output is older than its plan, unless somebody has replaced the output
    if output.is_file() and output.stat().st_mtime_ns > plan.stat().st_mtime_ns:
        return None
    return stored


def _read_url_plan(settings: RunSettings) -> Plan | None:
    folder, _, name = str(settings.output).rpartition("/")
    content = transfer.read_bytes(join_url(folder, plan_path(Path(name)).name))
    try:
        return Plan.model_validate_json(content or b"")
    except ValidationError:
        return None


def _with_current_files(stored: Plan, settings: RunSettings, local: RunSettings) -> Plan | None:
    """Return the stored plan with the recordings as they are now; None if the settings differ.

    `local` is the settings with local paths. Raises InputError if a recording has changed.
    """
    assert stored.record is not None
    if local.plan is not None:
        planned = load_plan(local.plan, local.model_copy(update={"force": True}))
        planned = with_urls(planned, settings.input, settings.ref_stream, settings.output)
        planned = pin_plan(planned.model_copy(update={"threads": stored.threads}))
        return planned if planned.digest() == stored.digest() else None

    if not _is_same_command(stored.record.command, settings):
        return None
    sources = reopen_sources(stored, "beside the output", local, local)
    reference = stored.reference.model_copy(update={"clip": sources.ref})
    current = stored.model_copy(update={"input": sources.lr, "reference": reference})
    pinned = pin_plan(current.model_copy(update={"model": local.model}))
    return current if pinned.model_sha256 == stored.model_sha256 else None


def _is_same_command(command: str, settings: RunSettings) -> bool:
    """Return whether a recorded command has the same settings, given or by default."""
    if settings.consistent:
        return False  # the references of a second pass no longer exist
    there = read_command(command)
    here = read_command(format_command(settings))
    for field in list_options(*OPTION_GROUPS):
        if field.name in _UNCOMPARED:
            continue
        default = str(RunSettings.model_fields[field.name].default)
        if there.get(field.name, default) != here.get(field.name, default):
            return False
    return "plan" not in there
