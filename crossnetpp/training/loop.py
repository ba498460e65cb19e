"""The training loop: steps, validation and saving.

The samples, scale and degradation of a step depend only on the seed and the step's number, so a
resumed run continues with exactly the numbers of an uninterrupted one.
"""

from __future__ import annotations

import copy
import math
import time
from collections.abc import Iterator
from contextlib import nullcontext
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel
from torch.utils.data import DataLoader, Dataset, Subset

from crossnetpp.checkpoint import WeightsError, load_network, save_weights
from crossnetpp.data.degradation import degrade_tensor, simulate_recording, subsample_chroma
from crossnetpp.data.mixture import Sample
from crossnetpp.data.recorded_clips import RecordedBatch, RecordedClips
from crossnetpp.data.synthetic.generator import PairGenerator
from crossnetpp.losses import LossWeights, hybrid_loss
from crossnetpp.networks.build import Network, build_network
from crossnetpp.networks.fast import CrossNetFast, FastOutput
from crossnetpp.networks.presets import PRESETS
from crossnetpp.networks.taps import make_box_taps
from crossnetpp.training.config import ConfigError, TrainingConfig
from crossnetpp.training.journal import Journal, Show, concatenate_pictures
from crossnetpp.training.parallel import ProcessGroup
from crossnetpp.training.precision import run_convolutions_in_bfloat16
from crossnetpp.training.state import Progress, load_state, save_state
from crossnetpp.training.validation import Validation

_Terms = dict[str, Tensor]  # loss terms by name, detached


def learning_rate(config: TrainingConfig, step: int) -> float:
    """Return the learning rate of `step`: linear warm-up, then a cosine to 1 % of the peak.

    With the schedule `hold`, the rate stays at its peak.
    """
    warm = min(1.0, (step + 1) / max(1, config.warm_up))
    if config.schedule == "hold":
        return config.rate * warm
    cosine = 0.5 * (1 + math.cos(math.pi * step / config.steps))
    return config.rate * warm * (0.01 + 0.99 * cosine)


def degrade_batch(
    config: TrainingConfig, target: Tensor, step: int
) -> tuple[Tensor, Tensor | None]:
    """Return the LR of `target` (N x 3 x H x W), at a scale that is drawn for `step`, and its taps.

    The values are 8-bit levels, scaled to 0..1. The taps are None for bicubic reduction, and for
    recordings whose kernel the network has to cope with.
    """
    # Samples draw from (seed, number); the third number makes this a separate stream
    rng = np.random.default_rng((config.seed, step, 1))
    scale = int(rng.choice(config.scales))
    if rng.random() < config.recorded:
        return _simulate_recordings(rng, target, scale), None

    chroma_subsampled = rng.random() < config.chroma_subsampled
    by_area = rng.random() < config.area
    lr = degrade_tensor(target, scale, "area" if by_area else "bicubic")
    if chroma_subsampled:
        lr = subsample_chroma(lr)
    taps = torch.from_numpy(make_box_taps(scale)).to(lr.device) if by_area else None
    return lr.mul(255).round().clamp(0, 255).div(255), taps


def _simulate_recordings(rng: np.random.Generator, target: Tensor, scale: int) -> Tensor:
    """Return the LR (in 0..1) of `target` (N x 3 x H x W), each picture with its own camera."""
    pictures = target.mul(255).round().byte().permute(0, 2, 3, 1).cpu().numpy()
    lr = np.stack([simulate_recording(rng, picture, scale) for picture in pictures])
    return torch.from_numpy(lr).permute(0, 3, 1, 2).to(target.device).float().div(255)


def build_start(config: TrainingConfig) -> Network:
    """Return the network with which a run begins; parts that its weights lack are random.

    Raises ConfigError if the weights to start from cannot be used.
    """
    if not config.start:
        return build_network(config.preset, config.network)
    try:
        loaded = load_network(config.start)
    except WeightsError as error:
        raise ConfigError(f"found start: {config.start}, expected weights: {error}") from error
    if not isinstance(loaded.config, type(PRESETS[config.preset])):
        raise ConfigError(
            f"found start: {config.start}, expected weights for the network '{config.preset}'"
        )
    if not config.network or not isinstance(loaded, CrossNetFast):
        return loaded

    network = build_network(config.preset, asdict(loaded.config) | config.network)
    assert isinstance(network, CrossNetFast)
    try:
        _copy_weights(loaded, network)
    except RuntimeError as error:
        options = ", ".join(f"{name}: {value}" for name, value in config.network.items())
        raise ConfigError(
            f"found start: {config.start}, expected weights that fit `network` ({options}); "
            "the options that these weights already have cannot be changed"
        ) from error
    return network


def _copy_weights(source: CrossNetFast, target: CrossNetFast) -> None:
    """Copy all weights to a network that may have further parts.

    Raises RuntimeError if a part that both have differs.
    """
    same = {k: v for k, v in source.state_dict().items() if not k.startswith("fusion.")}
    target.load_state_dict(target.state_dict() | same)
    if target.config.chroma and not source.config.chroma:
        target.fusion.copy_without_chroma(source.fusion)
    else:
        target.fusion.load_state_dict(source.fusion.state_dict())


def _freeze_parts(network: Network, parts: tuple[str, ...]) -> None:
    """Exclude `parts` of the network from training. Raises ConfigError if a name is unknown."""
    known = dict(network.named_children())
    for part in parts:
        if part not in known:
            raise ConfigError(f"found freeze: {part}, expected some of {', '.join(known)}")
        known[part].requires_grad_(False)


def may_leave_weights_unused(network: Network) -> bool:
    """Return whether some steps may not use all weights that are trained.

    The votes of `fast` count only for steps with several references, and some options of the
    published network leave flow heads unused.
    """
    if isinstance(network, CrossNetFast):
        return any(weight.requires_grad for weight in network.votes.parameters())
    return True


class Trainer:
    """A training run, as one of its processes executes it."""

    def __init__(
        self,
        config: TrainingConfig,
        samples: Dataset[Sample],
        validation: Validation | None,
        out: Path,
        process: ProcessGroup,
        recordings: RecordedClips | None = None,
        synthetic: PairGenerator | None = None,
    ) -> None:
        """Build or load the network, and restore the state beside `out` if there is one.

        `samples` holds `steps * batch` samples; weights go to `out`. Shares of the steps use
        `recordings` and `synthetic` instead, as the configuration states. Raises ConfigError if
        `freeze` names no part of the network, the weights to start from cannot be used, or the
        state belongs to another configuration.
        """
        self.config = config
        self.out = out
        self.process = process
        self._samples = samples
        self._validation = validation
        self._recordings = recordings
        self._synthetic = synthetic
        self._state = out.with_suffix(".state")

        # Network
        torch.manual_seed(config.seed)
        network = build_start(config)
        # NHWC is the layout of the convolution kernels on both CPU and tensor cores
        network.to(process.device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.network: Network = network.train()
        _freeze_parts(self.network, config.freeze)
        self.average: Network = copy.deepcopy(network).eval().requires_grad_(False)
        if config.precision == "bf16":
            run_convolutions_in_bfloat16(self.network)

        # Optimiser and state
        self.optimiser = torch.optim.AdamW(
            (p for p in self.network.parameters() if p.requires_grad),
            lr=config.rate,
            weight_decay=config.weight_decay,
        )
        digest = config.digest()
        resumed = load_state(self._state, digest, self.network, self.average, self.optimiser)
        self.progress = resumed or Progress(digest=digest)

    def run(self, *, stop_after: int | None = None, show: Show | None = None) -> list[float]:
        """Train to the end, or to step `stop_after`, and return the loss of each step.

        `show` receives the progress of the leading process, which otherwise draws a bar.
        """
        config = self.config
        first = self.progress.step
        last = min(config.steps, stop_after or config.steps)
        losses: list[Tensor] = []

        forward: nn.Module = self.network
        if self.process.count > 1:
            find_unused = may_leave_weights_unused(self.network)
            forward = DistributedDataParallel(self.network, find_unused_parameters=find_unused)

        started = time.monotonic()
        seconds_before = self.progress.seconds
        # another process would drop lines that the leading one has written
        journal = Journal(self.out, first, config.steps, show) if self.process.leads else None
        with journal or nullcontext():
            samples = self._batches(first, last)
            for step in range(first, last):
                match self._choose_kind(step):
                    case "recordings":
                        terms, output = self._step_on_recordings(forward, step)
                    case "synthetic":
                        terms, output = self._step_on_synthetic(forward, step)
                    case _:
                        terms, output = self._step_on_samples(forward, next(samples), step)
                losses.append(terms["total"])

                done = step + 1
                self.progress = replace(
                    self.progress,
                    step=done,
                    samples=done * config.batch,
                    seconds=seconds_before + time.monotonic() - started,
                )
                if journal is None:
                    continue

                journal.advance(done, terms)
                if done % config.log_every == 0:
                    journal.report_means(done, {"rate": learning_rate(config, step)})
                if done % config.validation.every == 0 or done == config.steps:
                    self._validate(journal, output)
                if done % config.save_every == 0 or done == last:
                    self._save()
        return [float(loss) for loss in losses]

    def _batches(self, first: int, last: int) -> Iterator[Sample]:
        """Return an iterator over this process's share of the samples of each step.

        Raises ConfigError if the processes cannot share a batch equally.
        """
        size = self.config.batch
        share, rest = divmod(size, self.process.count)
        if rest:
            raise ConfigError(
                f"found a batch of {size} for {self.process.count} processes, "
                "expected a multiple of their number; try another batch"
            )
        offset = self.process.rank * share
        steps = [step for step in range(first, last) if self._choose_kind(step) == "sources"]
        mine = [step * size + offset + i for step in steps for i in range(share)]
        loader = DataLoader(
            Subset(self._samples, mine), batch_size=share, num_workers=self.config.workers
        )
        return iter(loader)

    def _choose_kind(self, step: int) -> Literal["recordings", "synthetic", "sources"]:
        """Return what `step` trains on."""
        recordings, synthetic = self.config.recordings, self.config.synthetic
        recorded = recordings.share if recordings and self._recordings else 0.0
        composed = synthetic.share if synthetic and self._synthetic else 0.0
        if not recorded and not composed:
            return "sources"

        drawn = np.random.default_rng((self.config.seed, step, 2)).random()
        if drawn < recorded:
            return "recordings"
        return "synthetic" if drawn < recorded + composed else "sources"

    def _step_on_recordings(self, forward: nn.Module, step: int) -> tuple[_Terms, FastOutput]:
        """Run a step on recorded clips; return its loss terms and the network's output."""
        assert self._recordings is not None
        share = self.config.batch // self.process.count
        rng = np.random.default_rng((self.config.seed, step, 3, self.process.rank))
        batch = self._recordings.draw(rng, share, self.config.size).to(self.process.device)
        unknown = torch.full_like(batch.target[:, :2], float("nan"))
        return self._step_on_batch(forward, batch, unknown, step)

    def _step_on_synthetic(self, forward: nn.Module, step: int) -> tuple[_Terms, FastOutput]:
        """Run a step on composed scenes; return its loss terms and the network's output."""
        assert self._synthetic is not None
        share = self.config.batch // self.process.count
        seed = (self.config.seed, step, 4, self.process.rank)
        samples, flow = self._synthetic.draw(seed, share, self.config.size)
        return self._step_on_batch(forward, samples, flow, step)

    def _step_on_batch(
        self, forward: nn.Module, batch: RecordedBatch, flow: Tensor, step: int
    ) -> tuple[_Terms, FastOutput]:
        """Run a step on samples with their kernel, references and weights.

        `flow` is the flow to the first reference, NaN where unknown.
        """
        weights = LossWeights(**self.config.loss.model_dump() | {"landmark": 0.0})
        output = forward(batch.lr, *batch.references, weights=batch.weights, taps=batch.taps)
        terms = hybrid_loss(output, batch.target, flow, weights)
        return self._update(terms, step), output

    def _step_on_samples(self, forward: nn.Module, batch: Sample, step: int) -> tuple[_Terms, Any]:
        """Run a step on samples of the sources; return its loss terms and the network's output."""
        config = self.config
        device = self.process.device
        target, reference, flow = (
            tensor.to(device, non_blocking=True)
            for tensor in (batch.target, batch.reference, batch.flow)
        )
        weights = LossWeights(**config.loss.model_dump())
        landmarks = batch.landmarks if weights.landmark else None
        lr, taps = degrade_batch(config, target, step)

        output = forward(lr, reference) if taps is None else forward(lr, reference, taps=taps)
        terms = hybrid_loss(output, target, flow, weights, landmarks)
        return self._update(terms, step), output

    def _update(self, terms: dict[str, Tensor], step: int) -> _Terms:
        """Update the weights and their average from the loss terms; return the terms' values."""
        config = self.config
        for group in self.optimiser.param_groups:
            group["lr"] = learning_rate(config, step)
        self.optimiser.zero_grad(set_to_none=True)
        terms["total"].backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(self.network.parameters(), config.clip_gradient)
        self.optimiser.step()
        self._update_average(step)

        # They stay on the device until they are reported, so that no step waits for it
        return {name: self.process.mean(term.detach()) for name, term in terms.items()}

    @torch.no_grad()
    def _update_average(self, step: int) -> None:
        """Move the average towards the weights, faster in the first steps."""
        decay = min(self.config.average, (1 + step) / (10 + step))
        for mean, now in zip(self.average.parameters(), self.network.parameters(), strict=True):
            mean.lerp_(now, 1 - decay)

    def _validate(self, journal: Journal, output: Any) -> None:
        """Validate the averaged weights, and save them if they are the best so far."""
        if self._validation is None:
            return

        result = self._validation.measure(self.average, self.process.device)
        step = self.progress.step
        figures = {"gain": result.gain, "worst": result.worst, "warped": result.warped}
        journal.report(step, {f"val/{name}": value for name, value in figures.items()})
        journal.add_picture(step, "val", concatenate_pictures(list(result.pictures.values())))
        if isinstance(output, FastOutput):
            pictures = [output.lr_up[0], output.sr[0], output.warped[0]]
            journal.add_picture(step, "training", concatenate_pictures(pictures))

        if result.gain > self.progress.best:
            self.progress = replace(self.progress, best=result.gain)
            save_weights(self.average, self.config.preset, self.out)

    def _save(self) -> None:
        """Save the state, and also the averaged weights if there is no validation."""
        save_state(self._state, self.progress, self.network, self.average, self.optimiser)
        if self._validation is None:
            save_weights(self.average, self.config.preset, self.out)
