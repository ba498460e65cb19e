"""Train `fast` on photographs, clips, light fields and stereo pairs.

python -m crossnetpp.train --data DATA --steps 6000 --out crossnetpp/weights/fast.safetensors
"""

from __future__ import annotations

import argparse
import logging
import math
import time
from pathlib import Path

import numpy as np
import torch
from torch.utils.data import DataLoader

from crossnetpp.checkpoint import load_network, save_weights
from crossnetpp.data.degradation import degrade_tensor, subsample_chroma
from crossnetpp.data.mixture import Mixture, MixtureSettings
from crossnetpp.data.photographs import Photographs
from crossnetpp.data.recordings import Clips, Views
from crossnetpp.data.sample import PairSource
from crossnetpp.fast import CrossNetFast
from crossnetpp.losses import LossWeights, hybrid_loss

log = logging.getLogger(__name__)
SCALES = (2, 4, 4, 4, 8, 8)
"""Drawn from for each step."""
CHROMA_SUBSAMPLED = 0.5
"""Share of steps whose LR went through 4:2:0, as nearly all recorded video did."""


def training_sources(data: Path) -> list[tuple[float, PairSource]]:
    """Return the weighted sources of the training split laid out as in the README."""
    photos = sorted(data.glob("photos/*.jpg"))
    held_out = {f"kodak_{number}.jpg" for number in range(21, 25)}
    light_field = sorted(data.glob("lightfields/lytro_flowers/view_*.png"))
    aloe = sorted(data.glob("stereo/aloe[LR].jpg"))
    return [
        (0.44, Photographs([p for p in photos if p.name not in held_out])),
        (0.26, Clips([data / "videos/crystal.mp4", data / "videos/elf.mp4"])),
        (0.20, Views([light_field])),
        # the same pair at four sizes: disparities from a few pixels to 60
        (0.10, Views([aloe] * 4, shrink=(0.25, 0.35, 0.5, 0.7))),
    ]


def learning_rate(step: int, steps: int, peak: float, first_step: int = 0) -> float:
    """Return the rate of a linear warm-up over 100 steps and a cosine to 1 % at the end."""
    warm = min(1.0, (step + 1 - first_step) / 100)
    return peak * warm * (0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * step / steps)))


def train(
    sources: list[tuple[float, PairSource]],
    settings: MixtureSettings,
    out: Path,
    *,
    peak_rate: float = 5e-4,
    start: Path | None = None,
    save_every: int = 250,
) -> list[float]:
    """Train, write weights to `out` every `save_every` steps, and return the loss of each step."""
    torch.manual_seed(settings.seed)
    model = CrossNetFast() if start is None else load_network(str(start)).train()
    model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    optimiser = torch.optim.AdamW(model.parameters(), lr=peak_rate, weight_decay=1e-4)
    loader = DataLoader(Mixture(sources, settings), batch_size=settings.batch, num_workers=1)
    rng = np.random.default_rng(settings.seed)
    losses: list[float] = []
    began = time.monotonic()
    for step, (target, reference, flow) in zip(
        range(settings.first_step, settings.steps), loader, strict=False
    ):
        scale = int(rng.choice(SCALES))
        lr = degrade_tensor(target, scale)
        if rng.random() < CHROMA_SUBSAMPLED:
            lr = subsample_chroma(lr)
        lr = lr.mul(255).round().clamp(0, 255).div(255)
        output = model(lr, reference)
        parts = hybrid_loss(output, target, flow, LossWeights())
        for group in optimiser.param_groups:
            group["lr"] = learning_rate(step, settings.steps, peak_rate, settings.first_step)
        optimiser.zero_grad(set_to_none=True)
        parts["total"].backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimiser.step()
        losses.append(parts["sr"].item())
        if (step + 1) % 50 == 0:
            base = float((output.lr_up - target).abs().mean())
            log.info(
                "step %d of %d, %.2f s a step, sr %.4f (LR_up %.4f), warping %.4f, flow %.2f",
                step + 1,
                settings.steps,
                (time.monotonic() - began) / (step + 1 - settings.first_step),
                float(np.mean(losses[-50:])),
                base,
                parts["warping"].item(),
                parts["flow"].item(),
            )
        if (step + 1) % save_every == 0 or step + 1 == settings.steps:
            save_weights(model, "fast", out)
    return losses


def main() -> None:
    """Read the command line and train."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--steps", type=int, default=6000)
    parser.add_argument("--size", type=int, default=160)
    parser.add_argument("--batch", type=int, default=4)
    parser.add_argument("--rate", type=float, default=5e-4)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--start", type=Path, help="weights to start from")
    parser.add_argument("--first-step", type=int, default=0)
    arguments = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    settings = MixtureSettings(
        size=arguments.size,
        steps=arguments.steps,
        batch=arguments.batch,
        seed=arguments.seed,
        first_step=arguments.first_step,
    )
    train(
        training_sources(arguments.data),
        settings,
        arguments.out,
        peak_rate=arguments.rate,
        start=arguments.start,
    )


if __name__ == "__main__":
    main()
