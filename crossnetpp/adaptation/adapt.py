"""Adapt the weights of `fast` to a recording by training on its own key frames."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor

from crossnetpp.adaptation.crops import Crops, choose_side
from crossnetpp.adaptation.judging import Judge, Verdict, blend_weights, make_cases
from crossnetpp.adaptation.key_frames import Example, KeyFrame, hold_out, list_examples
from crossnetpp.adaptation.training import CROPS, Training, measure_step_seconds
from crossnetpp.machine import count_cores, is_out_of_memory
from crossnetpp.networks.fast import CrossNetFast
from crossnetpp.networks.taps import Taps

LEAST_KEY_FRAMES = 3
LEAST_STEPS = 10  # fewer steps change the weights too little to be worth the time
MOST_STEPS = 160  # more steps gain hardly anything
SIDE = 256  # HR pixels along each side of a crop
PIXELS_PER_STEP = CROPS * SIDE**2
JUDGING_STEPS = 15  # judging the result takes as long as this many training steps
REPORTS = 4  # number of times that the gain is measured during training
STILL_SHARE = 0.35  # share of the batches in which one reference is the target, slightly moved


@dataclass(frozen=True)
class AdaptationSettings:
    """Settings of an adaptation; the adapted weights depend on all of them."""

    steps: int
    """Training steps; see `count_steps`."""
    seed: int = 0
    threads: int | None = None
    """CPU threads; None = all cores."""
    side: int = SIDE
    """Maximum side of a crop in HR pixels."""


@dataclass(frozen=True)
class Progress:
    """How far an adaptation has progressed, and its latest gain."""

    step: int
    steps: int
    gain_db: float | None
    """The latest gain in dB on the held-out key frames (may be NaN); None if it is unknown."""


@dataclass(frozen=True)
class Adapted:
    """The network to use after an adaptation, with figures that describe the adaptation."""

    network: CrossNetFast
    """The network to use; it has the original weights if `used` is False."""
    steps: int
    held_out_db: float | None
    """PSNR in dB on the held-out key frames with the original weights; None if it is not finite or
    was not measured."""
    held_out_gain_db: float | None
    """Gain in dB on the held-out key frames over the original weights; None if it is not finite or
    was not measured."""
    blend: float
    """Share of the adapted weights in the weights of `network`; 0 if they are not used."""
    used: bool
    note: str = ""
    """Why the adapted weights are not used, or another remark; may be empty."""


OnProgress = Callable[[Progress], None]


def adapt(
    network: CrossNetFast,
    keys: Sequence[KeyFrame],
    taps: Taps,
    settings: AdaptationSettings,
    on_progress: OnProgress = lambda _: None,
) -> Adapted:
    """Train a copy of `network` on neighbouring key frames, and judge it on held-out ones.

    `keys` are in ascending order of position; all have the same LR size and the same HR size.
    `taps` is the kernel that reduced HR to LR. The same arguments give bit-identical weights on the
    same CPU. If memory runs out, the result has the original weights.

    Raises ValueError if the key frames cannot be used; see `check_key_frames`.
    """
    examples = check_key_frames(keys, settings.side)
    device = next(network.parameters()).device
    kernel = torch.from_numpy(taps).to(device)
    training, held_out = hold_out(examples)
    crops = Crops(keys, training, taps, side=settings.side, still_share=STILL_SHARE)

    with _limit_threads(settings.threads):
        try:
            cases = make_cases(keys, held_out, crops.scale, settings.side, device)
            judge = Judge(network, cases, crops.scale, kernel)
            return _train(network, crops, judge, kernel, settings, on_progress)
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error):
                raise
            reason = " ".join(str(error).split())[:200]
            note = f"memory ran out during training: {reason}"
            return Adapted(network, 0, None, None, 0.0, used=False, note=note)


def try_adapted(
    network: CrossNetFast,
    adapted: CrossNetFast,
    keys: Sequence[KeyFrame],
    taps: Taps,
    settings: AdaptationSettings,
) -> Adapted:
    """Judge `adapted`, which was adapted to another recording, on held-out key frames of this one.

    The adapted weights are used unchanged or not at all, so `blend` is 1 or 0. `settings.steps` is
    the number of steps of the other adaptation. The remaining arguments are as in `adapt`.

    Raises ValueError if the key frames cannot be used; see `check_key_frames`.
    """
    examples = check_key_frames(keys, settings.side)
    _, held_out = hold_out(examples)
    device = next(network.parameters()).device
    scale = keys[0].hr.shape[0] // keys[0].lr.shape[0]
    with _limit_threads(settings.threads):
        cases = make_cases(keys, held_out, scale, settings.side, device)
        judge = Judge(network, cases, scale, torch.from_numpy(taps).to(device))
        verdict = judge.choose_blend(adapted, shares=(1.0,))

    used = verdict.blend > 0
    return Adapted(
        adapted if used else network,
        settings.steps,
        _round_db(verdict.held_out_db),
        _round_db(verdict.gain),
        verdict.blend,
        used=used,
        note="" if used else "weights adapted to another input do not improve the key frames here",
    )


def check_key_frames(keys: Sequence[KeyFrame], side: int = SIDE) -> list[Example]:
    """Return an example for each key frame that has a neighbour in its scene.

    Raises ValueError if there are fewer than LEAST_KEY_FRAMES examples, if the key frames are too
    small or differ in size, or if HR is not a whole multiple of LR.
    """
    examples = list_examples(keys)
    if len(examples) < LEAST_KEY_FRAMES:
        raise ValueError(
            f"found {len(examples)} key frames with a neighbour in their scene, expected at least "
            f"{LEAST_KEY_FRAMES}"
        )
    choose_side(keys[0].hr, side)

    shapes = {(key.hr.shape, key.lr.shape) for key in keys}
    scale = keys[0].hr.shape[0] // keys[0].lr.shape[0]
    for hr, lr in sorted(shapes):
        if (hr, lr) != (keys[0].hr.shape, keys[0].lr.shape) or hr[:2] != (
            lr[0] * scale,
            lr[1] * scale,
        ):
            raise ValueError(
                f"found a key frame of {hr[1]}x{hr[0]} for an LR frame of {lr[1]}x{lr[0]}; all "
                "key frames must have the same size, and all LR frames must be smaller by the "
                "same whole factor"
            )
    return examples


def time_step(
    network: CrossNetFast,
    keys: Sequence[KeyFrame],
    taps: Taps,
    *,
    threads: int | None = None,
    side: int = SIDE,
) -> float:
    """Return how many seconds a training step takes on this machine.

    `threads` and `side` are as in AdaptationSettings.

    Raises ValueError if the key frames cannot be used; see `check_key_frames`.
    """
    examples = check_key_frames(keys, side)
    crops = Crops(keys, examples, taps, side=side, still_share=STILL_SHARE)
    kernel = torch.from_numpy(taps).to(next(network.parameters()).device)
    with _limit_threads(threads):
        return measure_step_seconds(network, crops, kernel)


def count_steps(seconds: float, step_seconds: float, least: int = LEAST_STEPS) -> int:
    """Return how many training steps of `step_seconds` each fit into `seconds`.

    Part of the time is reserved for judging the result. The number is at most MOST_STEPS, and never
    less than `least`.
    """
    fitting = int(seconds / step_seconds) - JUDGING_STEPS
    return max(least, min(MOST_STEPS, fitting))


def _train(
    network: CrossNetFast,
    crops: Crops,
    judge: Judge,
    taps: Tensor,
    settings: AdaptationSettings,
    on_progress: OnProgress,
) -> Adapted:
    """Train, and return the result with the blend that is best on the held-out key frames."""
    steps = settings.steps
    training = Training(network, taps, steps=steps, seed=settings.seed)
    gain: float | None = None
    for step in range(steps):
        training.run_step(crops, step)
        done = step + 1
        if done < steps and done % max(1, steps // REPORTS) == 0:
            gain = judge.measure_gain(training.network)
        on_progress(Progress(done, steps, gain))

    verdict = judge.choose_blend(training.network)
    on_progress(Progress(steps, steps, _round_db(verdict.gain)))
    return _conclude(network, training, verdict, steps)


def _conclude(network: CrossNetFast, training: Training, verdict: Verdict, steps: int) -> Adapted:
    """Return the result, with the reason if the adapted weights are not used."""
    dropped = f"{training.dropped} of {steps} steps were dropped, because values were not finite"
    before, gain = _round_db(verdict.held_out_db), _round_db(verdict.gain)
    if verdict.blend:
        blended = blend_weights(network, training.network, verdict.blend)
        note = dropped if training.dropped else ""
        return Adapted(blended, steps, before, gain, verdict.blend, used=True, note=note)

    note = "the adapted weights do not improve the held-out key frames"
    if training.dropped:
        note += f"; {dropped}"
    return Adapted(network, steps, before, gain, 0.0, used=False, note=note)


def _round_db(value: float) -> float | None:
    """Return a PSNR or a gain in dB, rounded to 0.001, or None if it is not finite."""
    return round(value, 3) if math.isfinite(value) else None


@contextmanager
def _limit_threads(threads: int | None) -> Iterator[None]:
    """Set PyTorch's number of CPU threads within the context; None means all cores.

    The number affects how results are rounded.
    """
    before = torch.get_num_threads()
    torch.set_num_threads(threads or count_cores())
    try:
        yield
    finally:
        torch.set_num_threads(before)
