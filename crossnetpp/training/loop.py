"""The training loop: what a step is, when to look, what to keep.

Every step's samples, scale and degradation depend on the seed and the step's number alone, so a
resumed run goes on with the very numbers of an uninterrupted one.
"""

from __future__ import annotations

import copy
import math
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel
from torch.utils.data import DataLoader, Dataset, Subset

from crossnetpp.checkpoint import load_network, save_weights
from crossnetpp.data.degradation import as_recorded, degrade_tensor, subsample_chroma
from crossnetpp.data.mixture import Drawn
from crossnetpp.losses import LossWeights, hybrid_loss
from crossnetpp.networks.build import Network, build_network
from crossnetpp.networks.fast import CrossNetFast, FastOutput
from crossnetpp.training.config import ConfigError, TrainingConfig
from crossnetpp.training.journal import Journal, side_by_side
from crossnetpp.training.parallel import Processes
from crossnetpp.training.state import Progress, load_state, save_state
from crossnetpp.training.validation import Validation


def learning_rate(config: TrainingConfig, step: int) -> float:
    """Return the rate of step `step`: linear warm-up, then a cosine to 1 % of the peak."""
    warm = min(1.0, (step + 1) / max(1, config.warm_up))
    cosine = 0.5 * (1 + math.cos(math.pi * step / config.steps))
    return config.rate * warm * (0.01 + 0.99 * cosine)


def make_lr(config: TrainingConfig, target: Tensor, step: int) -> Tensor:
    """Return the 8-bit LR (in 0..1) of `target` N x 3 x H x W by the scale of this step."""
    # the samples draw from (seed, number): another stream
    rng = np.random.default_rng((config.seed, step, 1))
    scale = int(rng.choice(config.scales))
    if rng.random() < config.recorded:
        return _recorded(rng, target, scale)
    lr = degrade_tensor(target, scale)
    if rng.random() < config.chroma_subsampled:
        lr = subsample_chroma(lr)
    return lr.mul(255).round().clamp(0, 255).div(255)


def _recorded(rng: np.random.Generator, target: Tensor, scale: int) -> Tensor:
    pictures = target.mul(255).round().byte().permute(0, 2, 3, 1).cpu().numpy()
    lr = np.stack([as_recorded(rng, picture, scale) for picture in pictures])
    return torch.from_numpy(lr).permute(0, 3, 1, 2).to(target.device).float().div(255)


def _freeze(network: Network, parts: tuple[str, ...]) -> None:
    known = dict(network.named_children())
    for part in parts:
        if part not in known:
            raise ConfigError(f"found freeze: {part}, expected some of {', '.join(known)}")
        known[part].requires_grad_(False)


class Trainer:
    """One run in one of its processes; raises ConfigError for a state that is not this run's."""

    def __init__(
        self,
        config: TrainingConfig,
        samples: Dataset[Drawn],
        validation: Validation | None,
        out: Path,
        process: Processes,
    ) -> None:
        """`samples` holds `steps * batch` samples; weights go to `out`, the state beside it."""
        self.config, self.out, self.process = config, out, process
        self._samples, self._validation = samples, validation
        self._state = out.with_suffix(".state")
        torch.manual_seed(config.seed)
        network = (
            load_network(config.start)
            if config.start
            else build_network(config.preset, config.network)
        )
        # NHWC is the layout the convolution kernels of both CPU and tensor cores work in
        network.to(process.device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.network: Network = network.train()
        _freeze(self.network, config.freeze)
        self.average: Network = copy.deepcopy(network).eval().requires_grad_(False)
        self.optimiser = torch.optim.AdamW(
            (p for p in self.network.parameters() if p.requires_grad),
            lr=config.rate,
            weight_decay=config.weight_decay,
        )
        digest = config.digest()
        resumed = load_state(self._state, digest, self.network, self.average, self.optimiser)
        self.progress = resumed or Progress(digest=digest)
        self._scaler = torch.amp.GradScaler(
            device=process.device.type,
            init_scale=self.progress.loss_scale,
            enabled=config.amp and process.device.type == "cuda",
        )

    def run(self, *, stop_after: int | None = None) -> list[float]:
        """Train to the end, or `stop_after` steps from the run's start; return each step's loss."""
        config, first = self.config, self.progress.step
        last = min(config.steps, stop_after or config.steps)
        losses: list[float] = []
        forward: nn.Module = self.network
        if self.process.count > 1:
            # options of the published network leave some of its flow heads without a use
            spare = not isinstance(self.network, CrossNetFast)
            forward = DistributedDataParallel(self.network, find_unused_parameters=spare)
        began, before = time.monotonic(), self.progress.seconds
        with Journal(self.out, first, config.steps) as journal:
            for step, drawn in zip(range(first, last), self._batches(first, last), strict=True):
                parts, output = self._step(forward, drawn, step)
                losses.append(parts["total"])
                done = step + 1
                self.progress = replace(
                    self.progress,
                    step=done,
                    samples=done * config.batch,
                    seconds=before + time.monotonic() - began,
                    loss_scale=self._scaler.get_scale(),
                )
                if not self.process.leads:
                    continue
                journal.advance(done, parts)
                if done % config.log_every == 0:
                    journal.report_means(done, {"rate": learning_rate(config, step)})
                if done % config.validation.every == 0 or done == config.steps:
                    self._judge(journal, output)
                if done % config.save_every == 0 or done == last:
                    self._save()
        return losses

    def _batches(self, first: int, last: int) -> Iterator[Drawn]:
        """Yield this process's share of the samples of each step."""
        share, rest = divmod(self.config.batch, self.process.count)
        if rest:
            raise ValueError(f"a batch of {self.config.batch} for {self.process.count} processes")
        size, offset = self.config.batch, self.process.rank * share
        mine = [step * size + offset + i for step in range(first, last) for i in range(share)]
        loader = DataLoader(
            Subset(self._samples, mine), batch_size=share, num_workers=self.config.workers
        )
        return iter(loader)

    def _step(self, forward: nn.Module, drawn: Drawn, step: int) -> tuple[dict[str, float], Any]:
        config, device = self.config, self.process.device
        target, reference, flow = (
            tensor.to(device, non_blocking=True)
            for tensor in (drawn.target, drawn.reference, drawn.flow)
        )
        weights = LossWeights(**config.loss.model_dump())
        landmarks = drawn.landmarks if weights.landmark else None
        lr = make_lr(config, target, step)
        with torch.autocast(device.type, torch.float16, enabled=self._scaler.is_enabled()):
            output = forward(lr, reference)
            parts = hybrid_loss(output, target, flow, weights, landmarks)
        for group in self.optimiser.param_groups:
            group["lr"] = learning_rate(config, step)
        self.optimiser.zero_grad(set_to_none=True)
        self._scaler.scale(parts["total"]).backward()  # type: ignore[no-untyped-call]
        self._scaler.unscale_(self.optimiser)
        torch.nn.utils.clip_grad_norm_(self.network.parameters(), config.clip_gradient)
        self._scaler.step(self.optimiser)
        self._scaler.update()
        self._follow(step)
        return {
            name: float(self.process.mean(part.detach())) for name, part in parts.items()
        }, output

    @torch.no_grad()
    def _follow(self, step: int) -> None:
        """Move the average towards the weights; faster at first, when the average is still old."""
        decay = min(self.config.average, (1 + step) / (10 + step))
        for mean, now in zip(self.average.parameters(), self.network.parameters(), strict=True):
            mean.lerp_(now, 1 - decay)

    def _judge(self, journal: Journal, output: Any) -> None:
        """Validate the averaged weights and ship them if they are the best so far."""
        if self._validation is None:
            return
        judged = self._validation.judge(self.average, self.process.device)
        figures = {"gain": judged.gain, "worst": judged.worst, "warped": judged.warped}
        journal.report(self.progress.step, {f"val/{name}": v for name, v in figures.items()})
        journal.picture(self.progress.step, "val", side_by_side(list(judged.pictures.values())))
        if isinstance(output, FastOutput):
            shown = [output.lr_up[0], output.sr[0], output.warped[0]]
            journal.picture(self.progress.step, "training", side_by_side(shown))
        if judged.gain > self.progress.best:
            self.progress = replace(self.progress, best=judged.gain)
            save_weights(self.average, self.config.preset, self.out)

    def _save(self) -> None:
        save_state(self._state, self.progress, self.network, self.average, self.optimiser)
        if self._validation is None:
            save_weights(self.average, self.config.preset, self.out)
