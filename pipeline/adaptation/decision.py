"""Decide whether to adapt the weights to a recording, and for how many training steps."""

from __future__ import annotations

import math
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from pipeline.adaptation.request import AdaptRequest
from pipeline.errors import count_items
from pipeline.ledger.run_folder import find_stored_plan
from pipeline.paths import sha256
from pipeline.progress import Reporter
from pipeline.schema.adaptation import Adaptation, KeyPair
from pipeline.schema.plan import Plan

if TYPE_CHECKING:
    from crossnetpp.adaptation import KeyFrame

LEAST_KEYS_OF_AUTO = 4
ENGINES_OF_AUTO = ("auto", "torch")  # other engines take minutes to build for new weights
SHARE_OF_RUN = 0.25  # largest share of a run's time that `auto` spends on adapting
LEAST_STEPS_OF_AUTO = 20
SAMPLE_KEYS = 3  # key frames read at a time, until there are enough to time a training step
STEPS = (10, 20, 40, 80, 160)  # so few that small differences in speed rarely change the choice
FORWARD_PASSES = 3  # forward passes that take as long as a training step on as many pixels

# Least work (pixels of a frame at the network's size, times the references of all frames) for which
# adaptation can pay off. A run with less takes less time than LEAST_STEPS_OF_AUTO / SHARE_OF_RUN
# training steps, on any machine and even with an engine as slow as PyTorch.
LEAST_WORK = 55_000_000


class Decision(NamedTuple):
    """A run's adaptation (or None), and a sentence about the decision (may be empty)."""

    adaptation: Adaptation | None
    note: str


def find_stored_adaptation(plan: Plan, request: AdaptRequest) -> Adaptation | None:
    """Return the adaptation of an unfinished run with the same plan and request, or None."""
    stored = find_stored_plan(plan)
    if stored is None or not is_same_adaptation(stored.adaptation, plan, request):
        return None
    if without_adaptation(stored).digest() != without_adaptation(plan).digest():
        return None
    return stored.adaptation


def is_same_adaptation(stored: Adaptation | None, plan: Plan, request: AdaptRequest) -> bool:
    """Return whether a stored adaptation is the one that the plan requires.

    If the plan has no adaptation, the stored one is compared with the request.
    """
    if stored is None:
        return False
    if plan.adaptation is not None:  # from a plan that the user passed
        return stored.without_result() == plan.adaptation.without_result()
    return (stored.request, stored.seconds) == (request.kind, request.seconds)


def without_adaptation(plan: Plan) -> Plan:
    """Return a copy of the plan without its adaptation."""
    return plan.model_copy(update={"adaptation": None})


def decide_adaptation(
    plan: Plan,
    request: AdaptRequest,
    find_run_seconds: Callable[[], float | None],
    progress: Reporter,
) -> Decision:
    """Decide whether to adapt the weights for a new run, and how long to train.

    `find_run_seconds` returns an estimate of the run's duration in seconds. If it returns None, the
    duration is estimated from the time that a training step takes.
    """
    if request.kind in ("off", "file") or plan.engine == "bicubic":
        return Decision(None, "")
    if request.is_auto and plan.engine not in ENGINES_OF_AUTO:
        return Decision(None, "")
    work = plan.reference_map.count_references() * math.prod(plan.network_size)
    if not work or (request.is_auto and work < LEAST_WORK):
        return Decision(None, "")

    from crossnetpp.adaptation import LEAST_KEY_FRAMES  # imports torch
    from pipeline.adaptation.key_frames import list_key_pairs

    pairs = list_key_pairs(plan)
    least = LEAST_KEYS_OF_AUTO if request.is_auto else LEAST_KEY_FRAMES
    if len(pairs) < least:
        return _refuse_few_keys(len(pairs), f"at least {least} are needed")

    with progress.step("deciding how long to adapt the weights"):
        step_seconds = _time_step(plan, pairs)
    if isinstance(step_seconds, str):
        return Decision(None, f"the weights are not adapted: {step_seconds}")
    return _choose_steps(plan, request, pairs, work, step_seconds, find_run_seconds())


def decide_to_share(plan: Plan, request: AdaptRequest, weights: Path) -> Decision:
    """Decide whether to try weights that were adapted to another input of the batch."""
    from crossnetpp.adaptation import LEAST_KEY_FRAMES  # imports torch
    from crossnetpp.checkpoint import read_adapted_facts
    from pipeline.adaptation.key_frames import list_key_pairs

    facts = read_adapted_facts(weights)
    if facts is None or (request.is_auto and plan.engine not in ENGINES_OF_AUTO):
        return Decision(None, "")

    pairs = list_key_pairs(plan)
    if len(pairs) < LEAST_KEY_FRAMES:
        needed = f"at least {LEAST_KEY_FRAMES} are needed to test the weights of the batch"
        return _refuse_few_keys(len(pairs), needed)
    shared = Adaptation(
        request=request.kind,
        seconds=request.seconds,
        steps=facts.steps,
        pairs=tuple(pairs),
        shared=sha256(weights),
    )
    return Decision(shared, "")


def _refuse_few_keys(found: int, needed: str) -> Decision:
    frames = count_items(found, "frame")
    note = f"the key frames show {frames} of the input, but {needed}"
    return Decision(None, f"the weights are not adapted: {note}")


def _time_step(plan: Plan, pairs: list[KeyPair]) -> float | str:
    """Return the duration of a training step in seconds, or why training is impossible."""
    from crossnetpp.adaptation import time_step
    from pipeline.adaptation.key_frames import find_taps
    from pipeline.adaptation.training import load_adaptable

    network = load_adaptable(plan)
    if network is None:
        return f"the network of {plan.model} cannot be adapted; only the network of fast can"
    keys = _read_sample(plan, pairs)
    try:
        return time_step(network, keys, find_taps(plan), threads=plan.threads)
    except ValueError as error:
        return str(error)


def _read_sample(plan: Plan, pairs: list[KeyPair]) -> list[KeyFrame]:
    """Return the first key frames that suffice for a training step, or all if they never do.

    The first few may not suffice: they may be corrupt, be the only ones of their scene, or not show
    the same instant as the input.
    """
    from crossnetpp.adaptation import check_key_frames
    from pipeline.adaptation.key_frames import read_key_frames

    keys: list[KeyFrame] = []
    for start in range(0, len(pairs), SAMPLE_KEYS):
        keys += read_key_frames(plan, pairs[start : start + SAMPLE_KEYS])
        with suppress(ValueError):
            check_key_frames(keys)
            break
    return keys


def _choose_steps(
    plan: Plan,
    request: AdaptRequest,
    pairs: list[KeyPair],
    work: int,
    step_seconds: float,
    run_seconds: float | None,
) -> Decision:
    """Decide how many steps to train for: as many as fit into the available time.

    This is the requested time or, for `auto`, SHARE_OF_RUN of the run's duration `run_seconds`,
    which is None if it is not known. `work` has the unit of LEAST_WORK, and `step_seconds` is the
    duration of a training step.
    """
    from crossnetpp.adaptation import PIXELS_PER_STEP, count_steps

    if request.seconds is not None:
        steps = choose_steps(count_steps(request.seconds, step_seconds))
        found = Adaptation(
            request="seconds", seconds=request.seconds, steps=steps, pairs=tuple(pairs)
        )
        return Decision(found, "")

    if run_seconds is None:
        run_seconds = work * step_seconds / (FORWARD_PASSES * PIXELS_PER_STEP)
    budget = SHARE_OF_RUN * run_seconds
    steps = choose_steps(count_steps(budget, step_seconds, least=0))
    if steps >= LEAST_STEPS_OF_AUTO:
        return Decision(Adaptation(request="auto", steps=steps, pairs=tuple(pairs)), "")

    note = (
        f"training would take more than a quarter of the run's {run_seconds:.0f} s; "
        "try --adapt SECONDS"
    )
    skipped = Adaptation(request="auto", steps=0, note=note)
    return Decision(skipped, f"the weights are not adapted: {note}")


def choose_steps(fitting: int) -> int:
    """Return the greatest of STEPS that is at most `fitting`, or 0 if there is none."""
    return max((steps for steps in STEPS if steps <= fitting), default=0)
