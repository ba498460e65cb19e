"""Judge weights on key frames that were held out from training, and blend weights."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from crossnetpp.adaptation.crops import (
    ALIGNMENT,
    MULTIPLE,
    Batch,
    Window,
    move_slightly,
    to_planes,
)
from crossnetpp.adaptation.key_frames import Example, KeyFrame
from crossnetpp.networks.fast import CrossNetFast

WINDOWS = 2  # in total, over all held-out key frames
BLENDS = (1.0, 0.75, 0.5, 0.25)
LEAST_GAIN = 0.05  # dB that adapted weights must gain on the held-out key frames to be used
MOST_LOSS = 0.1  # dB that a single case may lose at most


class Case(NamedTuple):
    """A window of a held-out key frame, with the references to borrow from."""

    batch: Batch
    is_still: bool
    """Whether the reference is the target itself, slightly moved."""


class Verdict(NamedTuple):
    """The blend that is best on the held-out key frames."""

    blend: float
    """Share of the adapted weights; 0 if no blend is acceptable."""
    gain: float
    """Mean gain in dB of the blend over the original weights; if `blend` is 0, the gain of the
    fully adapted weights, which may be NaN."""
    held_out_db: float
    """Mean PSNR in dB of the original weights on the same cases as `gain`; may be NaN."""


def make_cases(
    keys: Sequence[KeyFrame],
    held_out: Sequence[Example],
    scale: int,
    side: int,
    device: torch.device,
) -> list[Case]:
    """Return the cases on which weights are judged; equal key frames give equal cases.

    Each window has at most `side` x `side` HR pixels and yields two or three cases: one with the
    nearest neighbour as the reference, one with both neighbours if there are two, and one with the
    target itself, slightly moved.
    """
    rng = np.random.default_rng(0)
    cases = []
    for example in held_out:
        target = keys[example.target]
        for window in choose_windows(target, WINDOWS // len(held_out), side):
            references = [window.cut(keys[i].hr) for i in example.neighbours]
            lr = to_planes([window.cut(target.lr, scale)]).to(device)
            truth = to_planes([window.cut(target.hr)]).to(device)

            for count in range(1, len(references) + 1):
                planes = tuple(to_planes([each]).to(device) for each in references[:count])
                weights = torch.tensor([example.weights[:count]], device=device)
                cases.append(Case(Batch(lr, planes, weights, truth), is_still=False))

            moved = to_planes([move_slightly(rng, target.hr, window)]).to(device)
            alone = torch.ones(1, 1, device=device)
            cases.append(Case(Batch(lr, (moved,), alone, truth), is_still=True))
    return cases


def choose_windows(key: KeyFrame, count: int, side: int) -> list[Window]:
    """Divide a key frame into non-overlapping windows, and return the `count` most detailed ones.

    Windows are at most `side` HR pixels wide and high.
    """
    height, width = (min(length, side) // MULTIPLE * MULTIPLE for length in key.hr.shape[:2])
    luma = to_planes([key.hr]).mean(1, keepdim=True)
    detail = (luma - F.avg_pool2d(luma, 9, stride=1, padding=4)).abs()
    cell = detail[0, 0].cpu().numpy()

    places = [
        Window(row, col, height, width)
        for row in _list_starts(key.hr.shape[0], height)
        for col in _list_starts(key.hr.shape[1], width)
    ]
    strength = {
        place: float(
            cell[
                place.row : place.row + height,
                place.col : place.col + width,
            ].mean()
        )
        for place in places
    }
    return sorted(places, key=lambda place: -strength[place])[:count]


def _list_starts(length: int, part: int) -> list[int]:
    """Return the start positions of non-overlapping parts of `part` pixels each.

    As many parts as fit are spread over `length` pixels.
    """
    count = length // part
    step = (length - part) / max(1, count - 1)
    return [int(step * i) // ALIGNMENT * ALIGNMENT for i in range(count)]


@torch.inference_mode()
def measure_psnr(network: CrossNetFast, case: Case, scale: int, taps: Tensor) -> float:
    """Enhance a case, round the result to 8 bits, and return its PSNR in dB, which may be NaN."""
    lr, references, weights, target = case.batch
    prepared = (network.prepare(reference, scale, taps) for reference in references)
    sr = network.enhance(lr, *prepared, weights=weights).sr
    error = (sr.clamp(0, 1).mul(255).round() / 255 - target).double().square().mean()
    return float(-10 * torch.log10(error + 1e-10))


def blend_weights(base: CrossNetFast, adapted: CrossNetFast, share: float) -> CrossNetFast:
    """Return a network with the weights base + share * (adapted - base).

    The weights are rounded to float16, as `save_weights` stores them.
    """
    blended = copy.deepcopy(base)
    with torch.no_grad():
        for name, tensor in blended.state_dict().items():
            tensor.lerp_(adapted.state_dict()[name], share).copy_(tensor.half().float())
    return blended.eval()


class Judge:
    """Compares adapted weights with the original weights on the same cases."""

    def __init__(self, base: CrossNetFast, cases: Sequence[Case], scale: int, taps: Tensor) -> None:
        self._base = base
        self._cases = list(cases)
        self._scale = scale
        self._taps = taps
        self._before = [measure_psnr(base, case, scale, taps) for case in cases]

    def measure_gain(self, network: CrossNetFast) -> float:
        """Return the mean gain in dB on the cases with neighbours as references.

        It may be NaN.
        """
        return self._average(self._measure_gains(network))

    def choose_blend(self, adapted: CrossNetFast, shares: Sequence[float] = BLENDS) -> Verdict:
        """Return the acceptable blend with the largest gain.

        A blend is acceptable if its mean gain is at least LEAST_GAIN and no case loses more than
        MOST_LOSS. `shares` are in descending order and begin with 1. The search ends once the gain
        falls below that of the best acceptable blend so far.
        """
        before = self._average(self._before)
        best = Verdict(0.0, float("nan"), before)
        for share in shares:
            gains = self._measure_gains(blend_weights(self._base, adapted, share))
            gain = self._average(gains)
            if best.blend and gain < best.gain:
                break
            safe = all(each >= -MOST_LOSS for each in gains)  # False for NaN
            if safe and gain >= (best.gain if best.blend else LEAST_GAIN):
                best = Verdict(share, gain, before)
            elif share == 1.0:
                best = Verdict(0.0, gain, before)
        return best

    def _measure_gains(self, network: CrossNetFast) -> list[float]:
        return [
            measure_psnr(network, case, self._scale, self._taps) - before
            for case, before in zip(self._cases, self._before, strict=True)
        ]

    def _average(self, values: list[float]) -> float:
        """Return the mean of `values` (one for each case, in dB) over the cases with neighbours."""
        far = [value for value, case in zip(values, self._cases, strict=True) if not case.is_still]
        return float(np.mean(far))
