"""Validation on held-out pairs (drawn once), which selects the best weights."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from crossnetpp.data.degradation import degrade_tensor
from crossnetpp.data.recorded_clips import RecordedBatch, RecordedClips
from crossnetpp.data.sample import PairSource
from crossnetpp.networks.build import Network, Output
from crossnetpp.networks.fast import CrossNetFast, FastOutput
from crossnetpp.networks.taps import make_bicubic_taps
from crossnetpp.training.config import ValidationConfig

SEED = 2021


@dataclass(frozen=True)
class ValidationResult:
    """Quality of a network on the held-out pairs."""

    gain: float
    """Mean PSNR gain over LR_up in dB (RGB)."""
    worst: float
    """Smallest gain of any case in dB."""
    warped: float
    """Mean PSNR of the warped reference in dB."""
    pictures: dict[str, Tensor]
    """LR_up, SR, warped reference and ground truth of the first case, each 3 x H x W."""


def _compute_psnr(image: Tensor, truth: Tensor) -> float:
    """Return the PSNR in dB of `image` rounded to 8 bits, as in the final output."""
    error = (image.clamp(0, 1).mul(255).round() - truth.mul(255)).square().mean()
    return float(10 * torch.log10(255**2 / error.clamp(min=1e-8)))


class Validation:
    """Fixed pairs and recorded samples on which networks are evaluated."""

    def __init__(
        self,
        config: ValidationConfig,
        sources: list[tuple[float, PairSource]],
        recordings: RecordedClips | None = None,
    ) -> None:
        """Draw `config.pairs` pairs from `sources`, and as many samples from `recordings`.

        `sources` may be empty, or `recordings` None, but not both.
        """
        self._config = config
        weights = np.array([weight for weight, _ in sources])
        rng = np.random.default_rng(SEED)
        self._pairs: list[tuple[Tensor, Tensor]] = []
        for _ in range(config.pairs if sources else 0):
            source = sources[int(rng.choice(len(sources), p=weights / weights.sum()))][1]
            pair = source.draw(rng, config.size, 1.0)
            self._pairs.append((_to_tensor(pair.target), _to_tensor(pair.reference)))
        self._recorded: list[RecordedBatch] = []
        if recordings is not None:
            self._recorded = [recordings.draw(rng, 1, config.size) for _ in range(config.pairs)]

    def _cases(self) -> Iterator[RecordedBatch]:
        """Yield every pair at every scale, and every recorded sample."""
        for target, reference in self._pairs:
            for scale in self._config.scales:
                lr = degrade_tensor(target, scale).mul(255).round().clamp(0, 255).div(255)
                taps = torch.from_numpy(make_bicubic_taps(scale))
                yield RecordedBatch(lr, target, (reference,), torch.ones(1, 1), taps)
        yield from self._recorded

    @torch.no_grad()
    def measure(self, network: Network, device: torch.device) -> ValidationResult:
        """Return the quality of `network`, measured in evaluation mode.

        Afterwards, the network's previous mode is restored.
        """
        was_training = network.training
        network.eval()

        gains = []
        warped = []
        pictures: dict[str, Tensor] = {}
        for case in self._cases():
            lr, target, references, weights, taps = case.to(device)
            if isinstance(network, CrossNetFast):
                output: Output = network(lr, *references, weights=weights, taps=taps)
            else:
                output = network(lr, references[0])
            aligned = output.warped if isinstance(output, FastOutput) else output.warped_stage1
            gains.append(_compute_psnr(output.sr, target) - _compute_psnr(output.lr_up, target))
            warped.append(_compute_psnr(aligned, target))
            if not pictures:
                images = {"lr_up": output.lr_up, "sr": output.sr, "warped": aligned, "hr": target}
                pictures = {name: image[0] for name, image in images.items()}

        network.train(was_training)
        return ValidationResult(float(np.mean(gains)), min(gains), float(np.mean(warped)), pictures)


def _to_tensor(image: np.ndarray) -> Tensor:
    """Return a uint8 picture (H x W x 3) as a float32 tensor, 1 x 3 x H x W in 0..1."""
    return torch.from_numpy(np.ascontiguousarray(image)).permute(2, 0, 1)[None].float().div(255)
