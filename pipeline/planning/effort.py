"""Decide how much work a run does per frame: the network, the references and the extra steps."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import NamedTuple, TypeVar

from crossnetpp.capture.variants import LEAST_FAITHFUL, QUICK
from pipeline.planning.effort_notes import (
    NOT_MIXED,
    describe_best,
    describe_mix,
    describe_no_effect,
    select_effort_notes,
)
from pipeline.schema.clip import LightField, Recording
from pipeline.schema.plan import Plan
from pipeline.schema.settings import ExecutionSettings, PairingSettings

Pairing = TypeVar("Pairing", bound=PairingSettings)

# Pixels of the largest frame that `auto` mixes (4K); mixing takes 200 to 250 bytes per pixel.
MOST_PIXELS = 9_000_000


class Effort(NamedTuple):
    """What a run does beyond a single pass of the network."""

    mixes_flow: bool
    """Whether the network's frames are mixed with those of optical flow."""
    averages_mirrored: bool
    """Whether the network enhances four mirrored versions of each frame, which are averaged."""
    notes: tuple[str, ...] = ()
    """Sentences about the decision."""


def uses_cpu() -> bool:
    """Return whether the network would run on this machine's CPU."""
    from deploy.device import choose_device  # imports torch

    return choose_device().type == "cpu"


def _is_elsewhere(settings: ExecutionSettings) -> bool:
    """Return whether the network will run on an existing Ray cluster."""
    if settings.runner == "inline":
        return False
    return bool(settings.address or os.environ.get("RAY_ADDRESS"))


def find_base_model(settings: ExecutionSettings) -> str:
    """Return the settings' model or, for `--effort fast`, the quick variant of the default model.

    The plan may replace shipped weights with their variant for compressed recordings.
    """
    if settings.effort != "fast" or "model" in settings.model_fields_set:
        return settings.model
    return QUICK.get(settings.model, settings.model)


def limit_references(pairing: Pairing, effort: str) -> Pairing:
    """Return the settings, limited to one reference per frame if `effort` is "fast".

    If `ref_count` is set, the settings are returned unchanged.
    """
    if effort != "fast" or pairing.ref_count is not None:
        return pairing
    return pairing.model_copy(update={"ref_count": 1})


def choose_effort(
    settings: ExecutionSettings,
    fits_db: float | None,
    pixels: int,
    is_cpu: Callable[[], bool] = uses_cpu,
    *,
    trusts: bool = False,
) -> Effort:
    """Return what the run does beyond a single pass of the network.

    Mixing with optical flow helps if the input is nearly lossless. `fits_db` is the PSNR, in dB, at
    which the measured capture reproduces the input, or None if nothing was measured, and `pixels`
    is the number of pixels in a frame of the network. With `auto`, frames are mixed only if the
    input is nearly lossless, a frame has at most MOST_PIXELS, and the network runs on this
    machine's CPU (`is_cpu` returns True): a GPU would have to wait for the mixing. Nothing is mixed
    or averaged if the plan `trusts` key frames.
    """
    is_best = settings.effort == "best"
    if settings.engine == "bicubic" or trusts:
        notes = (describe_no_effect(settings.engine),) if is_best else ()
        return Effort(mixes_flow=False, averages_mirrored=False, notes=notes)
    if settings.effort in ("fast", "normal"):
        return Effort(mixes_flow=False, averages_mirrored=False)
    if not is_best:
        is_faithful = fits_db is not None and fits_db >= LEAST_FAITHFUL
        is_large = pixels > MOST_PIXELS
        if not is_faithful or is_large or _is_elsewhere(settings) or not is_cpu():
            return Effort(mixes_flow=False, averages_mirrored=False)
        return Effort(True, averages_mirrored=False, notes=(describe_mix(fits_db),))

    mixes = fits_db is None or fits_db >= LEAST_FAITHFUL
    return Effort(mixes, averages_mirrored=True, notes=describe_best(fits_db, mixes_flow=mixes))


def change_effort(plan: Plan, engine: str, effort: str) -> Effort:
    """Return what a run of a stored plan does if `engine` and `--effort` replace the plan's.

    With the effort "auto", the plan decides. The notes replace those of the plan about its effort.
    """
    if effort == "auto":
        mixes = plan.mixes_flow and engine != "bicubic"
        averages = plan.averages_mirrored and engine != "bicubic"
        notes = select_effort_notes(plan.notes, mixes_flow=mixes, averages_mirrored=averages)
    elif effort == "best":
        mixes, averages = can_mix(plan, engine), can_average(plan, engine)
        best = describe_best(_find_fit(plan), mixes_flow=mixes)
        notes = best if averages else (describe_no_effect(engine),)
    else:
        mixes, averages, notes = False, False, ()
    if plan.mixes_flow and not mixes and not averages:
        notes = (*notes, NOT_MIXED)
    return Effort(mixes, averages, notes)


def _find_fit(plan: Plan) -> float | None:
    """Return the PSNR, in dB, at which a plan's capture reproduces the input; None if unknown.

    A capture from a file may have been measured on another recording, so its fit is ignored.
    """
    if plan.restores_from_db is not None:
        return plan.restores_from_db
    if plan.capture is None or plan.capture.source == "file":
        return None
    return plan.capture.fits_db


def can_mix(plan: Plan, engine: str) -> bool:
    """Return whether frames of a stored plan, run by `engine`, may be mixed with optical flow's."""
    fits = _find_fit(plan)
    is_compressed = plan.restores_from_db is not None or (
        fits is not None and fits < LEAST_FAITHFUL
    )
    return engine != "bicubic" and plan.reference.trusted is None and not is_compressed


def can_average(plan: Plan, engine: str) -> bool:
    """Return whether the results of `engine` for mirrored frames of a stored plan may be averaged.

    Frames with trusted key frames are left out, as they are when a plan is made.
    """
    return engine != "bicubic" and plan.reference.trusted is None


def find_restoring_fit(
    settings: ExecutionSettings, fits_db: float | None, lr: Recording, *, trusts: bool
) -> float | None:
    """Return `fits_db`, rounded, if the input is to be restored at the instants of key frames.

    The result is None if the engine is bicubic, if the input is nearly lossless or a light field,
    if nothing was measured, or if the plan `trusts` key frames, which are then output unchanged.
    """
    if settings.engine == "bicubic" or isinstance(lr, LightField) or trusts:
        return None
    if fits_db is None or fits_db >= LEAST_FAITHFUL:
        return None
    return round(fits_db, 2)
