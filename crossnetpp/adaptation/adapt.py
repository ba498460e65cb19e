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
LEAST_STEPS = 10  # fewer change too little to be worth the time
MOST_STEPS = 160  # more bring hardly anything
SIDE = 256  # HR pixels along each side of a crop
PIXELS_PER_STEP = CROPS * SIDE**2
JUDGING_STEPS = 15  # steps that take as long as judging the result
REPORTS = 4  # times that the gain is measured while training
STILL_SHARE = 0.35  # of the batches, in which a reference is the target itself, moved a little


@dataclass(frozen=True)
class AdaptationSettings:
    """Settings of an adaptation; each can change the bits of the adapted weights."""

    steps: int
    """Training steps; see `count_steps`."""
    seed: int = 0
    threads: int | None = None
    """CPU threads; None = all cores."""
    side: int = SIDE
    """Most HR pixels along each side of a crop."""


@dataclass(frozen=True)
class Progress:
    """The progress of an adaptation."""

    step: int
    steps: int
    gain_db: float | None
    """The latest gain in dB on the held-out key frames, which may be NaN; None if it is unknown."""


@dataclass(frozen=True)
class Adapted:
    """The result of an adaptation."""

    network: CrossNetFast
    """The network with the weights to use; those before adaptation unless `used`."""
    steps: int
    held_out_db: float | None
    """PSNR in dB of the held-out key frames with the weights before adaptation; None if it is not
    finite or was not measured."""
    held_out_gain_db: float | None
    """Gain in dB on the held-out key frames over the weights before adaptation; None if it is not
    finite or was not measured."""
    blend: float
    """Share of the adapted weights in the weights to use; 0 if they are not used."""
    used: bool
    note: str = ""
    """Why adapted weights are not used, or what else was notable."""


OnProgress = Callable[[Progress], None]


def adapt(
    network: CrossNetFast,
    keys: Sequence[KeyFrame],
    taps: Taps,
    settings: AdaptationSettings,
    on_progress: OnProgress = lambda _: None,
) -> Adapted:
    """Train a copy of `network` on pairs of neighbouring key frames, and judge it on others.

    `keys` are in ascending order of position; all have the same LR size and the same HR size.
    `taps` is the kernel that reduced HR to LR. The same arguments give the same bits on the same
    CPU. If memory runs out, the weights before adaptation are returned.

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
            note = f"found too little memory to train: {reason}"
            return Adapted(network, 0, None, None, 0.0, used=False, note=note)


def try_adapted(
    network: CrossNetFast,
    adapted: CrossNetFast,
    keys: Sequence[KeyFrame],
    taps: Taps,
    settings: AdaptationSettings,
) -> Adapted:
    """Judge weights that were adapted to another recording on held-out key frames of this one.

    They are used as they are, or not at all, so `blend` is 1 or 0. The other arguments are those of
    `adapt`; `settings.steps` is the number of steps of the adaptation to the other recording.

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
        note="" if used else "those of another input do not win on a key frame of this one",
    )


def check_key_frames(keys: Sequence[KeyFrame], side: int = SIDE) -> list[Example]:
    """Return an example for each key frame with a neighbour in its scene.

    Raises ValueError if there are fewer than LEAST_KEY_FRAMES examples, or if the key frames are
    too small or differ in size.
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
                f"found key frames of {hr[1]}x{hr[0]} for LR frames of {lr[1]}x{lr[0]}, expected "
                "the same sizes throughout, and HR a whole multiple of LR"
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
    """Return how many training steps fit into `seconds`, along with judging their result.

    The number is at least `least`, and otherwise at most MOST_STEPS.
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
    """Train, and return the result with the blend that serves the held-out key frames best."""
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
    dropped = f"dropped {training.dropped} of {steps} steps, as their numbers were not finite"
    before, gain = _round_db(verdict.held_out_db), _round_db(verdict.gain)
    if verdict.blend:
        blended = blend_weights(network, training.network, verdict.blend)
        note = dropped if training.dropped else ""
        return Adapted(blended, steps, before, gain, verdict.blend, used=True, note=note)

    note = "the adapted weights do not win on a key frame that was held out"
    if training.dropped:
        note += f"; {dropped}"
    return Adapted(network, steps, before, gain, 0.0, used=False, note=note)


def _round_db(value: float) -> float | None:
    """Return a PSNR or a gain in dB, rounded to 0.001, or None if it is not finite."""
    return round(value, 3) if math.isfinite(value) else None


@contextmanager
def _limit_threads(threads: int | None) -> Iterator[None]:
    """Set PyTorch's number of CPU threads, on which some last bits depend, inside the context."""
    before = torch.get_num_threads()
    torch.set_num_threads(threads or count_cores())
    try:
        yield
    finally:
        torch.set_num_threads(before)
