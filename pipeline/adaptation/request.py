"""Parse the option `--adapt`, and describe files of adapted weights."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Generic, Literal, NamedTuple, TypeVar

from pipeline.errors import InputError
from pipeline.paths import sha256
from pipeline.schema.adaptation import Adaptation
from pipeline.schema.parsing import parse_seconds
from pipeline.schema.plan import Plan
from pipeline.schema.settings import ExecutionSettings

if TYPE_CHECKING:
    from crossnetpp.checkpoint import AdaptedFacts

Settings = TypeVar("Settings", bound=ExecutionSettings)


@dataclass(frozen=True)
class AdaptRequest:
    """The parsed value of `--adapt`."""

    kind: Literal["auto", "off", "seconds", "file"]
    seconds: float | None = None
    """The training time in seconds; None unless `kind` is "seconds"."""
    file: Path | None = None
    """The file of adapted weights; None unless `kind` is "file"."""

    @property
    def is_auto(self) -> bool:
        """Whether the program decides if and how long to train."""
        return self.kind == "auto"


class AdaptedSettings(NamedTuple, Generic[Settings]):
    """Settings and their parsed `adapt`; if that is a file of weights, the file is the model."""

    settings: Settings
    request: AdaptRequest
    from_file: Adaptation | None
    """The adaptation that the file describes, or None without a file."""


def use_adapted_file(settings: Settings) -> AdaptedSettings[Settings]:
    """Return the settings; if `--adapt` is a file of adapted weights, the file becomes the model.

    Raises InputError if `--adapt` is invalid, or if the file was not adapted from the weights of
    the settings' model.
    """
    request = parse_adapt(settings.adapt)
    if request.file is None:
        return AdaptedSettings(settings, request, None)

    is_default = "model" not in settings.model_fields_set
    facts = describe_file(request.file, settings.model, is_default=is_default)
    changed = settings.model_copy(update={"model": str(request.file)})
    return AdaptedSettings(changed, request, facts)


def parse_adapt(text: str) -> AdaptRequest:
    """Parse `auto`, `off`, a time in seconds, or the path of a file; a number is always a time.

    Raises InputError if `text` is none of these.
    """
    if text == "auto":
        return AdaptRequest("auto")
    if text == "off":
        return AdaptRequest("off")
    if names_file(text) and Path(text).is_file():
        return AdaptRequest("file", file=Path(text).absolute())
    try:
        seconds = parse_seconds(text)
    except ValueError:
        seconds = math.nan
    if not 0 < seconds < math.inf:
        raise InputError(
            f"--adapt {text} is not auto, off, a positive number of seconds, or a file written by "
            "`pipeline adapt`; try --adapt auto"
        )
    return AdaptRequest("seconds", seconds)


def train_nothing(request: AdaptRequest) -> AdaptRequest:
    """Return the request for a run with a second pass: unchanged for a file, otherwise `off`.

    The second pass borrows from the results of the first, which are no ground truth to train on.
    Raises InputError if the request is for a training time.
    """
    if request.seconds is not None:
        raise InputError(
            f"--adapt {request.seconds:g} cannot be combined with --consistent, which does not "
            "train; adapt the weights with `pipeline adapt`, and pass --adapt its output file"
        )
    return AdaptRequest("off") if request.file is None else request


def names_file(text: str) -> bool:
    """Return whether a value of `--adapt` is a path; the file need not exist."""
    if text in ("auto", "off"):
        return False
    try:
        parse_seconds(text)
    except ValueError:
        return True
    return False


def describe_file(file: Path, model: str, *, is_default: bool) -> Adaptation:
    """Return the adaptation that a file of adapted weights describes.

    Raises InputError if the file was not adapted from the weights of `model`. If `model` is the
    default rather than the user's choice (`is_default`), its variants are accepted, too.
    """
    # torch is not needed for help and plans
    from crossnetpp.checkpoint import WeightsError, find_weights, load_network, read_adapted_facts
    from crossnetpp.networks.presets import VARIANTS

    variants = [name for name, base in VARIANTS.items() if base == model and is_default]
    try:
        facts = read_adapted_facts(file)
        bases = {sha256(find_weights(name)): name for name in (model, *variants)}
        if facts is None:
            raise InputError(
                f"the weights in {file} were not adapted to a recording; pass a file written "
                "by `pipeline adapt`, or try --model instead of --adapt"
            )
        if facts.base not in bases:
            known = " or ".join(f"{name} ({digest[:12]})" for digest, name in bases.items())
            raise InputError(
                f"the weights in {file} were adapted from the weights {facts.base[:12]}, but this "
                f"run uses {known}; run pipeline adapt again, or pass the --model from which they "
                "were adapted"
            )
        load_network(str(file))
    except WeightsError as error:
        raise InputError(str(error)) from error

    return _describe_facts(facts)


def _describe_facts(facts: AdaptedFacts) -> Adaptation:
    return Adaptation(
        request="file",
        steps=facts.steps,
        done=True,
        used=True,
        held_out_gain_db=facts.held_out_gain_db,
        blend=facts.blend,
    )


class PlannedAdaptation(NamedTuple):
    """A plan, and the request for its adaptation."""

    plan: Plan
    """The plan. It contains an adaptation only if the decision whether to train has been made."""
    request: AdaptRequest
    from_file: Adaptation | None
    """The adaptation that the file of adapted weights describes, or None without a file."""


def take_request(
    plan: Plan, request: AdaptRequest, from_file: Adaptation | None
) -> PlannedAdaptation:
    """Return the plan and the plan's own request for an adaptation, or `request` if it has none.

    Raises InputError if the plan requests adapted weights from a file, but its model is not such a
    file.
    """
    planned = plan.adaptation
    if planned is None:
        return PlannedAdaptation(plan, request, from_file)
    if planned.request == "file":
        request = AdaptRequest("file", file=Path(plan.model))
        return PlannedAdaptation(plan, request, _describe_planned_file(plan.model))

    request = AdaptRequest(planned.request, planned.seconds)
    if planned.is_decided:
        return PlannedAdaptation(plan, request, None)
    return PlannedAdaptation(plan.model_copy(update={"adaptation": None}), request, None)


def _describe_planned_file(model: str) -> Adaptation:
    from crossnetpp.checkpoint import WeightsError, read_adapted_facts  # imports torch

    try:
        facts = read_adapted_facts(Path(model))
    except WeightsError as error:
        raise InputError(str(error)) from error
    if facts is None:
        raise InputError(
            f"the plan requests adapted weights from a file, but its model {model} is not a file "
            "written by `pipeline adapt`; pass --adapt FILE, or another --model"
        )
    return _describe_facts(facts)
