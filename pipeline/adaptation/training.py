"""Adapt the weights before the first segment of a run, and store them in its run folder."""

from __future__ import annotations

import time
from functools import partial
from pathlib import Path

from crossnetpp.adaptation import AdaptationSettings, Adapted, Progress, adapt, try_adapted
from crossnetpp.checkpoint import AdaptedFacts, WeightsError, load_network, save_weights
from crossnetpp.networks.fast import CrossNetFast
from deploy.device import choose_baseline_device
from pipeline.adaptation.key_frames import find_taps, read_key_frames
from pipeline.adaptation.sentences import describe_adaptation
from pipeline.adaptation.shared import SharedWeights
from pipeline.errors import InputError, StageError
from pipeline.ledger.adapted_weights import find_adapted_weights, store_adapted_weights
from pipeline.ledger.ledger import Ledger
from pipeline.paths import sha256
from pipeline.progress import Reporter
from pipeline.schema.adaptation import Adaptation
from pipeline.schema.plan import Plan

PRESET = "fast"


def load_adaptable(plan: Plan) -> CrossNetFast | None:
    """Return a plan's network on the training device, or None if it cannot be adapted.

    Raises InputError if its weights cannot be loaded.
    """
    try:
        network = load_network(plan.model)
    except WeightsError as error:
        raise InputError(str(error)) from error
    return network.to(choose_baseline_device()) if isinstance(network, CrossNetFast) else None


def train_planned(ledger: Ledger, progress: Reporter, shared: SharedWeights | None = None) -> None:
    """Train the adapted weights that the ledger's plan requires, or test shared ones.

    Skip this if a previous attempt has finished it and any weights that it kept are still intact.
    The result is stored in the ledger's plan. `shared` finds the weights that the inputs of a batch
    share. Raises StageError if the plan requires shared weights that are missing or have changed.
    """
    plan = ledger.plan
    planned = plan.adaptation
    if planned is None or not planned.trains:
        return
    if planned.done and (
        not planned.used or find_adapted_weights(ledger.folder, planned.weights_sha256)
    ):
        return

    start = time.monotonic()
    stored = ""
    if planned.shared:
        weights = _find_shared(plan, planned, shared)
        result = _try_weights(plan, planned, weights, progress)
        if result.used:
            stored = store_adapted_weights(ledger.folder, partial(_copy, weights))
    else:
        result = train_weights(plan, planned, progress)
        if result.used:
            facts = make_facts(plan, result)
            stored = store_adapted_weights(
                ledger.folder, lambda path: save_weights(result.network, PRESET, path, facts)
            )
    done = Adaptation(
        request=planned.request,
        seconds=planned.seconds,
        steps=planned.steps,
        pairs=planned.pairs,
        shared=planned.shared,
        done=True,
        used=result.used,
        weights_sha256=stored,
        held_out_db=result.held_out_db,
        held_out_gain_db=result.held_out_gain_db,
        blend=result.blend,
        note=result.note,
        took_seconds=round(time.monotonic() - start, 3),
    )
    ledger.replace_plan(plan.model_copy(update={"adaptation": done}))
    progress.note(describe_adaptation(done))


def train_weights(plan: Plan, planned: Adaptation, progress: Reporter) -> Adapted:
    """Train on the planned key frames, and return the adapted weights.

    If too few key frames agree with the input, the result is marked as not used, and its note says
    why.
    """
    with progress.step("reading the key frames"):
        keys = read_key_frames(plan, planned.pairs)
        network = load_adaptable(plan)
    assert network is not None

    steps = planned.steps or 0
    settings = AdaptationSettings(steps=steps, threads=plan.threads or None)
    with progress.step("adapting the weights to the key frames", steps) as count:

        def show(state: Progress) -> None:
            gain = "" if state.gain_db is None else f"{state.gain_db:+.2f} dB"
            count(state.step, gain)

        try:
            return adapt(network, keys, find_taps(plan), settings, show)
        except ValueError as error:  # too few key frames agree with the input
            return Adapted(network, 0, None, None, 0.0, used=False, note=str(error))


def _copy(source: Path, target: Path) -> None:
    target.write_bytes(source.read_bytes())


def _find_shared(plan: Plan, planned: Adaptation, shared: SharedWeights | None) -> Path:
    """Return the file of the batch's weights to test.

    Raises StageError if the file is missing or has changed.
    """
    weights = None if shared is None else shared.find(plan.model_sha256)
    if weights is None or sha256(weights) != planned.shared:
        raise StageError(
            "the adapted weights of the batch with which this run began are missing or have "
            "changed; run the same command again"
        )
    return weights


def _try_weights(plan: Plan, planned: Adaptation, weights: Path, progress: Reporter) -> Adapted:
    """Return the result of testing another input's adapted weights on the planned key frames."""
    with progress.step("trying the weights of the batch on the key frames"):
        keys = read_key_frames(plan, planned.pairs)
        network = load_adaptable(plan)
        adapted = load_adaptable(plan.model_copy(update={"model": str(weights)}))
        assert network is not None
        assert adapted is not None
        settings = AdaptationSettings(steps=planned.steps or 0, threads=plan.threads or None)
        try:
            return try_adapted(network, adapted, keys, find_taps(plan), settings)
        except ValueError as error:  # too few key frames agree with the input
            return Adapted(network, 0, None, None, 0.0, used=False, note=str(error))


def make_facts(plan: Plan, result: Adapted) -> AdaptedFacts:
    """Return the facts to store in the file of adapted weights."""
    return AdaptedFacts(
        base=plan.model_sha256,
        steps=result.steps,
        held_out_gain_db=result.held_out_gain_db or 0.0,
        blend=result.blend,
    )
