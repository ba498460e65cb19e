"""Where inputs and outputs of a run are: URLs become paths here, and stay in the plan."""

from __future__ import annotations

from pipeline.errors import InputError, already_there
from pipeline.paths import is_url, local_path, redact_url
from pipeline.remote import cache, transfer
from pipeline.schema.clip import Clip
from pipeline.schema.plan import Plan
from pipeline.schema.settings import RunSettings

_READ = ("input", "ref_stream", "plan", "ground_truth")


def fetch_inputs(settings: RunSettings) -> RunSettings:
    """Return the settings with every URL fetched, and the output's replaced by a place here.

    Raises InputError for what cannot be read, OutputExistsError for an output that exists.
    """
    changed: dict[str, object] = {}
    for name in _READ:
        value = getattr(settings, name)
        if value and "://" in value:
            changed[name] = str(cache.fetch_copy(value))
    if changed and settings.sandbox == "auto":
        changed["sandbox"] = "on"  # who put it there is not known
    output = settings.output
    if output is None and is_url(settings.input):
        raise InputError(
            f"found no -o for {redact_url(settings.input)}, expected one for an input at a "
            "URL; give -o OUT"
        )
    if output is not None and is_url(output):
        transfer.check_writable(output.rpartition("/")[0])
        if not settings.force and transfer.find_file(output) is not None:
            raise already_there(redact_url(output))
        changed["output"] = str(cache.output_path(output))
    elif output is not None:
        changed["output"] = local_path(output)
    changed = {name: value for name, value in changed.items() if value != getattr(settings, name)}
    return settings.model_copy(update=changed) if changed else settings


def with_urls(plan: Plan, settings: RunSettings) -> Plan:
    """Return the plan with the URLs its recordings came from, and where its output goes."""
    reference = settings.ref_stream or plan.reference.clip.url
    plan = plan.model_copy(
        update={
            "input": _from(plan.input, settings.input),
            "reference": plan.reference.model_copy(
                update={"clip": _from(plan.reference.clip, reference)}
            ),
        }
    )
    output = settings.output
    if output is None or not is_url(output):
        return plan
    if plan.input.kind != "video" or plan.pictures:
        raise InputError(
            f"found the folder {redact_url(output)} as output, expected a video's: a folder "
            "cannot appear at a URL in one step; choose a local -o and copy it"
        )
    return plan.model_copy(update={"output_url": output})


def _from(clip: Clip, given: str | None) -> Clip:
    return clip.model_copy(update={"url": given}) if given and is_url(given) else clip
