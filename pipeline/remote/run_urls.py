"""Replace the URLs in a run's settings with local paths, and record the URLs in its plan."""

from __future__ import annotations

from typing import TypeVar

from pipeline.confinement import describe_gap, describe_obstacle
from pipeline.errors import InputError, already_there, no_default_output
from pipeline.paths import is_url, local_path, redact_url
from pipeline.remote import cache, transfer
from pipeline.schema.clip import Recording, VideoClip
from pipeline.schema.plan import Plan
from pipeline.schema.settings import InputSettings, OutputSettings

Settings = TypeVar("Settings", bound=InputSettings)

_READ = ("input", "ref_stream", "plan", "ground_truth")  # settings whose value is read


def fetch_inputs(settings: Settings, target: OutputSettings) -> Settings:
    """Download every input at a URL, and return the settings with local paths instead of URLs.

    The output of `target` is replaced by a path in the cache if it is at a URL. After a download,
    `sandbox` "auto" becomes "on" where possible, because downloads are not trusted. Raises
    InputError if an input cannot be read, if the output cannot be written, or if the input is at a
    URL and no output is given, and OutputExistsError if there is already a file at the output's
    URL.
    """
    changed: dict[str, object] = {}
    for name in _READ:
        value = getattr(settings, name, None)
        if value and "://" in value:
            changed[name] = str(cache.fetch_copy(value))
    if changed and settings.sandbox == "auto" and not describe_obstacle():
        changed["sandbox"] = "on"  # downloaded files are not trusted

    output = target.output
    if output is None and is_url(settings.input):
        raise no_default_output(redact_url(settings.input))
    if output is not None:
        changed["output"] = _local_output(output, force=target.force)

    changed = {name: value for name, value in changed.items() if value != getattr(settings, name)}
    return settings.model_copy(update=changed) if changed else settings


def describe_confinement(settings: InputSettings) -> str:
    """Return a note if this system confines recordings less than `--sandbox` states, else ""."""
    fetched = any("://" in (getattr(settings, name, None) or "") for name in _READ)
    if settings.sandbox == "auto" and fetched and (obstacle := describe_obstacle()):
        return f"recordings from URLs are opened in this process: {obstacle}"
    is_confined = settings.sandbox == "on" or (settings.sandbox == "auto" and fetched)
    return describe_gap() if is_confined else ""


def _local_output(output: str, *, force: bool) -> str:
    if not is_url(output):
        return local_path(output)
    transfer.check_writable(output.rpartition("/")[0])
    if not force and transfer.find_file(output) is not None:
        raise already_there(redact_url(output))
    return str(cache.output_path(output))


def with_urls(plan: Plan, lr: str, reference: str | None, output: str | None) -> Plan:
    """Return the plan with the URLs of its input (`lr`), reference and output recorded in it.

    Arguments that are local paths are not recorded. Raises InputError if an output at a URL would
    not be a video.
    """
    clip = plan.reference.clip
    plan = plan.model_copy(
        update={
            "input": _with_url(plan.input, lr),
            "reference": plan.reference.model_copy(
                update={"clip": _with_url(clip, reference or clip.url)}
            ),
        }
    )

    if output is None or not is_url(output):
        return plan
    if not isinstance(plan.input, VideoClip) or plan.pictures:
        raise InputError(
            f"the output {redact_url(output)} would not be a video, and only videos can be "
            "uploaded; try a local -o, and copy the output"
        )
    return plan.model_copy(update={"output_url": output})


def _with_url(clip: Recording, url: str | None) -> Recording:
    return clip.model_copy(update={"url": url}) if url and is_url(url) else clip
