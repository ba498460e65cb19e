"""The training steps of an adaptation."""

from __future__ import annotations

import copy
import math
import time

import numpy as np
import torch
from torch import Tensor

from crossnetpp.adaptation.crops import Batch, Crops
from crossnetpp.losses import LossWeights, hybrid_loss
from crossnetpp.networks.fast import CrossNetFast

CROPS = 2  # per step
RATE = 2e-4
WARM_UP = 5  # steps in which the learning rate rises
LOSS = LossWeights(warping=0.3, warping_stage1=0.1, flow=0.0, squared=8.0)


class Training:
    """Trains a copy of a network for a fixed number of steps."""

    def __init__(self, base: CrossNetFast, taps: Tensor, *, steps: int, seed: int) -> None:
        self.network = copy.deepcopy(base).train().requires_grad_(True)
        self.dropped = 0
        """Number of steps that were dropped because a value was not finite."""
        self._steps = steps
        self._taps = taps
        self._rng = np.random.default_rng(seed)
        self._optimiser = torch.optim.Adam(self.network.parameters(), lr=RATE)

    def run_step(self, crops: Crops, step: int) -> None:
        """Draw a batch and update the weights, unless a value is not finite."""
        device = self._taps.device
        batch = crops.draw(self._rng, CROPS, device)
        for group in self._optimiser.param_groups:
            group["lr"] = RATE * find_rate_factor(step, self._steps)

        self._optimiser.zero_grad(set_to_none=True)
        if self._compute_gradients(batch):
            self._optimiser.step()
        else:
            self.dropped += 1

    def _compute_gradients(self, batch: Batch) -> bool:
        """Compute the gradients of a batch, and return whether all values are finite."""
        scale = self._taps.shape[-1] // 4
        prepared = [self.network.prepare(each, scale, self._taps) for each in batch.references]
        output = self.network.enhance(batch.lr, *prepared, weights=batch.weights)
        unknown = torch.full_like(batch.target[:, :2], float("nan"))
        loss = hybrid_loss(output, batch.target, unknown, LOSS)["total"]

        # With a flow that is not finite, the backward pass of a warp writes out of bounds
        numbers = (loss, output.sr, output.flow, output.flow_stage1)
        if not all(bool(torch.isfinite(each).all()) for each in numbers):
            return False
        loss.backward()  # type: ignore[no-untyped-call]
        norm = torch.nn.utils.clip_grad_norm_(self.network.parameters(), 1.0)
        return bool(torch.isfinite(norm))


def find_rate_factor(step: int, steps: int) -> float:
    """Return the learning rate of `step` as a share of RATE.

    The factor rises during the warm-up, then falls to 0.05 along a cosine.
    """
    warm = min(1.0, (step + 1) / WARM_UP)
    return warm * (0.05 + 0.95 * 0.5 * (1 + math.cos(math.pi * step / steps)))


def measure_step_seconds(base: CrossNetFast, crops: Crops, taps: Tensor) -> float:
    """Return how many seconds a training step takes on this machine, after a warm-up step."""
    training = Training(base, taps, steps=2, seed=0)
    training.run_step(crops, 0)
    start = time.perf_counter()
    training.run_step(crops, 1)
    return time.perf_counter() - start
