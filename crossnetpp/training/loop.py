"""The training loop: steps, validation and saving.

The samples, scale and degradation of a step depend only on the configuration and the step's
number, so a resumed run trains on exactly the same data as an uninterrupted run.
"""

from __future__ import annotations

import copy
import math
import time
from collections.abc import Iterator
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel
from torch.utils.data import Dataset

from crossnetpp.checkpoint import save_weights
from crossnetpp.data.degradation import degrade_tensor, simulate_recording, subsample_chroma
from crossnetpp.data.mixture import Sample
from crossnetpp.data.recorded_clips import RecordedBatch, RecordedClips
from crossnetpp.data.synthetic.generator import PairGenerator
from crossnetpp.losses import LossWeights, hybrid_loss
from crossnetpp.networks.build import Network, Output
from crossnetpp.networks.fast import FastOutput
from crossnetpp.networks.taps import make_box_taps
from crossnetpp.training.batches import SampleNumbers, load_batches
from crossnetpp.training.config import ConfigError, TrainingConfig
from crossnetpp.training.journal import Journal, Show, concatenate_pictures
from crossnetpp.training.parallel import ProcessGroup
from crossnetpp.training.precision import run_convolutions_in_bfloat16
from crossnetpp.training.prefetch import Prefetch
from crossnetpp.training.start import build_start, freeze_parts, may_leave_weights_unused
from crossnetpp.training.state import Progress, load_state, save_state
from crossnetpp.training.validation import Validation

_Terms = dict[str, Tensor]  # loss terms by name, detached
_Kind = Literal["recordings", "synthetic", "sources"]  # what a step trains on


def learning_rate(config: TrainingConfig, step: int) -> float:
    """Return the learning rate of `step`: linear warm-up, then cosine decay to 1 % of the peak.

    With the schedule `hold`, the rate stays at its peak after the warm-up.
    """
    warm = min(1.0, (step + 1) / max(1, config.warm_up))
    if config.schedule == "hold":
        return config.rate * warm
    cosine = 0.5 * (1 + math.cos(math.pi * step / config.steps))
    return config.rate * warm * (0.01 + 0.99 * cosine)


def degrade_batch(
    config: TrainingConfig, target: Tensor, step: int
) -> tuple[Tensor, Tensor | None]:
    """Return the LR of `target` (N x 3 x H x W) at a scale drawn for `step`, and the kernel's taps.

    The values are 8-bit levels scaled to 0..1. The taps are None for bicubic downscaling, and also
    for simulated recordings, because the network is not given their kernel.
    """
    # Samples use the seed (seed, number); the third element makes this a separate stream
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
    """Return `target` (N x 3 x H x W) as recorded by LR cameras, N x 3 x h x w in 0..1.

    Each picture is recorded by a different simulated camera.
    """
    pictures = target.mul(255).round().byte().permute(0, 2, 3, 1).cpu().numpy()
    lr = np.stack([simulate_recording(rng, picture, scale) for picture in pictures])
    return torch.from_numpy(lr).permute(0, 3, 1, 2).to(target.device).float().div(255)


class TrainingData(NamedTuple):
    """The data of a run."""

    samples: Dataset[Sample]
    """Samples of the sources, `steps * batch` in all."""
    validation: Validation | None = None
    recordings: RecordedClips | None = None
    """Recorded clips, on which a share of the steps trains."""
    synthetic: PairGenerator | None = None
    """Composed scenes, on which a share of the steps trains."""


class Trainer:
    """A training run in one of its processes."""

    def __init__(
        self,
        config: TrainingConfig,
        data: TrainingData,
        out: Path,
        process: ProcessGroup,
    ) -> None:
        """Build or load the network, and restore the state beside `out` if there is one.

        Weights are written to `out`. Raises ConfigError if `freeze` names an unknown part of the
        network, if the weights to start from cannot be used, or if the state belongs to another
        configuration.
        """
        self.config = config
        self.out = out
        self.process = process
        self._samples = data.samples
        self._validation = data.validation
        self._recordings = data.recordings
        self._synthetic = data.synthetic
        self._state = out.with_suffix(".state")

        # Network
        torch.manual_seed(config.seed)
        network = build_start(config)
        # Convolutions are fastest in NHWC layout, both on CPUs and on tensor cores
        network.to(process.device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.network: Network = network.train()
        freeze_parts(self.network, config.freeze)
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
        if not out.is_file():
            # Otherwise, only weights better than those that have been deleted would be saved
            self.progress = replace(self.progress, best=Progress.best)

    def run(
        self,
        *,
        stop_after: int | None = None,
        deadline: float | None = None,
        show: Show | None = None,
    ) -> list[float]:
        """Train to the end, or to step `stop_after`, and return the loss of each step of this call.

        A run in one process also saves its state and stops at the time `deadline` (by
        time.monotonic). `show` receives the leading process's progress, and replaces the progress
        bar.

        Raises ValueError for a deadline with several processes, ConfigError if the processes cannot
        share a batch equally or if training diverges, and DataError if a sample cannot be made.
        """
        if deadline is not None and self.process.count > 1:
            raise ValueError(
                f"found a deadline for {self.process.count} processes, expected one process; "
                "try stop_after instead"
            )
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
        # Only the leading process logs; a second journal would remove lines of the first
        journal = Journal(self.out, first, config.steps, show) if self.process.leads else None
        with journal or nullcontext(), self._draw_recordings_ahead(first, last) as recorded:
            samples = self._batches(first, last)
            for step in range(first, last):
                match self._choose_kind(step):
                    case "recordings":
                        terms, output = self._step_on_recordings(forward, recorded.get_next(), step)
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
                ends = done == last or (deadline is not None and time.monotonic() >= deadline)
                if done % config.save_every == 0 or ends:
                    self._save()
                if ends:
                    break
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
        numbers = SampleNumbers(
            self._find_steps("sources", first, last), size, self.process.rank * share, share
        )
        return load_batches(self._samples, numbers, self.config.workers)

    def _find_steps(self, kind: _Kind, first: int, last: int) -> Iterator[int]:
        """Return an iterator over the steps in first..last - 1 that train on `kind`."""
        return (step for step in range(first, last) if self._choose_kind(step) == kind)

    def _draw_recordings_ahead(self, first: int, last: int) -> Prefetch[RecordedBatch]:
        """Return the samples of the steps that use recordings, drawn in advance in a thread."""

        def draw(step: int) -> RecordedBatch:
            assert self._recordings is not None
            share = self.config.batch // self.process.count
            rng = np.random.default_rng((self.config.seed, step, 3, self.process.rank))
            return self._recordings.draw(rng, share, self.config.size)

        return Prefetch(draw, self._find_steps("recordings", first, last))

    def _choose_kind(self, step: int) -> _Kind:
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

    def _step_on_recordings(
        self, forward: nn.Module, samples: RecordedBatch, step: int
    ) -> tuple[_Terms, FastOutput]:
        """Run a step on recorded clips; return its loss terms and the network's output."""
        batch = samples.to(self.process.device)
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
        """Run a step on `batch`; return its loss terms and the network's output.

        `flow` is the flow to the first reference (N x 2 x H x W pixels), NaN where unknown.
        """
        weights = LossWeights(**self.config.loss.model_dump() | {"landmark": 0.0})
        output = forward(batch.lr, *batch.references, weights=batch.weights, taps=batch.taps)
        terms = hybrid_loss(output, batch.target, flow, weights)
        return self._update(terms, output, step), output

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
        return self._update(terms, output, step), output

    def _update(self, terms: dict[str, Tensor], output: Output, step: int) -> _Terms:
        """Update the weights and their average from the loss terms.

        Return the terms, detached and averaged over all processes. Raises ConfigError if training
        has diverged.
        """
        config = self.config
        # On a CPU, the backward pass of a warp by a flow that is not finite writes out of bounds.
        # On a GPU, it does not, and a check in every step would wait for the device.
        if self.process.device.type == "cpu":
            self._check_finite(terms["total"], output.sr, output.flow, output.flow_stage1)
        for group in self.optimiser.param_groups:
            group["lr"] = learning_rate(config, step)
        self.optimiser.zero_grad(set_to_none=True)
        terms["total"].backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(self.network.parameters(), config.clip_gradient)
        self.optimiser.step()
        self._update_average(step)

        # The values stay on the device until they are reported, so that no step waits for them
        return {name: self.process.mean(term.detach()) for name, term in terms.items()}

    @torch.no_grad()
    def _update_average(self, step: int) -> None:
        """Move the average towards the current weights, by more in the first steps."""
        decay = min(self.config.average, (1 + step) / (10 + step))
        for mean, now in zip(self.average.parameters(), self.network.parameters(), strict=True):
            mean.lerp_(now, 1 - decay)

    def _check_finite(self, *values: Tensor) -> None:
        """Raise ConfigError, because training has diverged, if a value is not finite."""
        if not all(bool(torch.isfinite(each).all()) for each in values):
            raise ConfigError(
                f"found values that are not finite after step {self.progress.step}, expected the "
                "loss to fall; try a lower rate"
            )

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
        """Save the state and, if there is no validation, the averaged weights.

        Raises ConfigError if training has diverged.
        """
        self._check_finite(*self.network.parameters())
        save_state(self._state, self.progress, self.network, self.average, self.optimiser)
        if self._validation is None:
            save_weights(self.average, self.config.preset, self.out)
