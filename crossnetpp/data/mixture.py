"""Batches: sources mixed by weight, with faults in the reference that must not be borrowed."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import IterableDataset

from crossnetpp.data.sample import Pair, PairSource

Drawn = tuple[Tensor, Tensor, Tensor]
"""Target and reference (3 x H x W in 0..1) and flow (2 x H x W pixels, NaN = unknown)."""


@dataclass(frozen=True)
class MixtureSettings:
    """What a training run draws from its sources."""

    size: int = 160
    steps: int = 6000
    """Length of the run: the curriculum widens motion over its first half."""
    batch: int = 4
    fault_rate: float = 0.15
    seed: int = 0
    first_step: int = 0
    """Where a continued run takes the curriculum up."""


def _change_light(
    rng: np.random.Generator, image: NDArray[np.uint8], spread: float
) -> NDArray[np.uint8]:
    gain = np.exp(rng.normal(0, spread)) * np.exp(rng.normal(0, spread / 4, 3))
    return np.asarray(np.clip(image * gain, 0, 255), dtype=np.uint8)


def break_reference(rng: np.random.Generator, pair: Pair, other: Pair) -> Pair:
    """Return `pair` with a reference as it may come: unrelated, relit, unsharp or hidden."""
    fault = rng.integers(4)
    reference = pair.reference
    if fault == 0:
        return replace(pair, reference=other.reference, flow=None)
    if fault == 1:
        reference = _change_light(rng, reference, 0.3)
    elif fault == 2:
        blurred = cv2.GaussianBlur(reference, (0, 0), float(rng.uniform(0.7, 3)))
        reference = np.asarray(blurred, dtype=np.uint8)
    else:
        size = reference.shape[0]
        row, col = (int(v) for v in rng.integers(0, size // 2, 2))
        side = int(rng.integers(size // 6, size // 2))
        reference = reference.copy()
        reference[row : row + side, col : col + side] = other.reference[
            row : row + side, col : col + side
        ]
        return replace(pair, reference=reference, flow=None)
    return replace(pair, reference=reference)


class Mixture(IterableDataset[Drawn]):
    """Draw single samples for ever; seeded, so that a run can be repeated."""

    def __init__(self, sources: list[tuple[float, PairSource]], settings: MixtureSettings) -> None:
        self.sources = [source for _, source in sources]
        weights = np.array([weight for weight, _ in sources])
        self.weights = weights / weights.sum()
        self.settings = settings

    def _draw(self, rng: np.random.Generator, motion: float) -> Pair:
        source = self.sources[int(rng.choice(len(self.sources), p=self.weights))]
        return source.draw(rng, self.settings.size, motion)

    def __iter__(self) -> Iterator[Drawn]:
        settings = self.settings
        worker = torch.utils.data.get_worker_info()
        number, workers = (worker.id, worker.num_workers) if worker else (0, 1)
        rng = np.random.default_rng((settings.seed, number))
        step = 0
        while True:
            done = settings.first_step / settings.steps
            done += step * workers / (settings.batch * settings.steps)
            motion = min(1.0, 0.1 + 1.8 * done)
            pair = self._draw(rng, motion)
            if rng.random() < settings.fault_rate:
                pair = break_reference(rng, pair, self._draw(rng, motion))
            if rng.random() < 0.4:
                seed = int(rng.integers(1 << 30))
                # both alike: dark and bright scenes, coloured light
                pair = replace(
                    pair,
                    target=_change_light(np.random.default_rng(seed), pair.target, 0.4),
                    reference=_change_light(np.random.default_rng(seed), pair.reference, 0.4),
                )
            step += 1
            yield self._tensors(pair)

    def _tensors(self, pair: Pair) -> Drawn:
        target, reference = (
            torch.from_numpy(image).permute(2, 0, 1).float().div(255)
            for image in (pair.target, pair.reference)
        )
        size = self.settings.size
        flow = (
            torch.full((2, size, size), float("nan"))
            if pair.flow is None
            else torch.from_numpy(pair.flow).permute(2, 0, 1)
        )
        return target, reference, flow
