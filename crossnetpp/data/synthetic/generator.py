"""Compose batches of training samples on a device, from pictures in its memory."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from crossnetpp.data.recorded_clips import RecordedBatch
from crossnetpp.data.sample import DataError, read_rgb
from crossnetpp.data.synthetic.captures import record_pictures
from crossnetpp.data.synthetic.covers import draw_covers
from crossnetpp.data.synthetic.faults import break_references, relight
from crossnetpp.data.synthetic.motion import draw_motion
from crossnetpp.data.synthetic.sampling import draw_smooth_fields
from crossnetpp.data.synthetic.scene import (
    Surface,
    find_flow,
    render_reference,
    render_target,
)
from crossnetpp.networks.priors import weigh_references

TEXTURE_MARGIN = 64  # pixels around a crop that motion can reveal; textures are mirrored beyond it
MOST_KNOTS = 7  # along each side of a smooth bending field; the fewest is 2
BENT_SHARE = 0.5  # share of the scenes whose surfaces bend
BLURRED_SHARE = 0.12  # share of the batches with motion blur
RELIT_SHARE = 0.4  # share of the scenes that are relit
MISSING_SHARE = 0.25  # share of the two-reference samples in which one reference is missing
SHRINK = (1.0, 0.6)  # factors by which every picture is scaled


@dataclass(frozen=True)
class GeneratorSettings:
    """What the samples show, and how they are degraded."""

    layers: tuple[int, int] = (1, 8)
    """Minimum and maximum number of surfaces in a scene."""
    reach: float = 64.0
    """Largest motion between target and reference in most scenes, in pixels."""
    scales: tuple[int, ...] = (2, 4, 4, 4, 8, 8)
    """Scales, of which each batch draws one."""
    recorded: float = 0.4
    """Share of the batches whose LR is noisy and compressed."""
    chroma_subsampled: float = 0.4
    """Share of the remaining batches whose LR has 4:2:0 chroma."""
    fault_rate: float = 0.2
    """Share of the references with a fault."""
    single_rate: float = 0.4
    """Share of the batches with one reference; the others have two."""


class SyntheticBatch(NamedTuple):
    """Samples with known flow."""

    samples: RecordedBatch
    flow: Tensor
    """Flow from the target to the first reference, N x 2 x H x W pixels; NaN where unknown."""


class PairGenerator:
    """Composes batches from pictures in a device's memory."""

    def __init__(
        self, pictures: Sequence[Tensor], settings: GeneratorSettings, device: torch.device
    ) -> None:
        """Copy `pictures` (uint8 3 x H x W) to `device`, each at the sizes that SHRINK lists."""
        self.settings = settings
        self.device = device
        self._pictures = [
            _shrink(picture.to(device), factor) for picture in pictures for factor in SHRINK
        ]

    @classmethod
    def from_files(
        cls, paths: Sequence[Path], settings: GeneratorSettings, device: torch.device
    ) -> PairGenerator:
        """Create a generator from picture files. Raises DataError if a file cannot be read."""
        pictures = [torch.from_numpy(read_rgb(path)).permute(2, 0, 1) for path in paths]
        return cls(pictures, settings, device)

    def draw(self, seed: tuple[int, ...], batch: int, size: int) -> SyntheticBatch:
        """Return `batch` samples of `size` x `size` pixels.

        The same `seed` gives the same samples. Raises DataError if every picture has a side shorter
        than (`size` + 128) / 2 pixels.
        """
        settings = self.settings
        rng = np.random.default_rng(seed)
        random = torch.Generator(self.device).manual_seed(int(rng.integers(2**62)))

        # The target is at time 0, the first reference is after it, and the second before it
        count = 1 if rng.random() < settings.single_rate else 2
        times = [1.0, -float(rng.uniform(1, 2))][:count]
        layers = int(rng.integers(settings.layers[0], settings.layers[1] + 1))
        scene = self._draw_scene(rng, random, batch, size, layers, times)

        target, references, flows = self._render(rng, scene, times, size)
        target, *references = relight(rng, [target, *references], RELIT_SHARE)
        broken = [
            break_references(rng, random, _round(reference), flow, settings.fault_rate)
            for reference, flow in zip(references, flows, strict=True)
        ]

        scale = int(rng.choice(settings.scales))
        lr, taps = record_pictures(
            rng,
            random,
            _round(target),
            scale,
            recorded=settings.recorded,
            chroma_subsampled=settings.chroma_subsampled,
        )
        weights = self._draw_weights(rng, batch, times)
        samples = RecordedBatch(
            lr, _round(target), tuple(_round(each) for each, _ in broken), weights, taps
        )
        # A missing reference has no flow to learn
        flow = torch.where(weights[:, :1, None, None] > 0, broken[0][1], float("nan"))
        return SyntheticBatch(samples, flow)

    def _draw_scene(
        self,
        rng: np.random.Generator,
        random: torch.Generator,
        batch: int,
        size: int,
        layers: int,
        times: list[float],
    ) -> _Scene:
        """Return `batch` scenes: their surfaces, and homographies between time 0 and `times`."""
        side = size + 2 * TEXTURE_MARGIN
        motions = [draw_motion(rng, layers, size, self.settings.reach) for _ in range(batch)]
        ahead = [np.stack([m.find_homographies(time) for m in motions]) for time in times]

        # A scene's textures are undistorted at time 0 (the target), 1 (the first reference) or 0.5
        own_times = rng.choice((0.0, 1.0, 0.5), batch)
        to_texture = np.stack(
            [m.find_homographies(float(t)) for m, t in zip(motions, own_times, strict=True)]
        )

        surfaces = []
        bent = rng.random(batch) < BENT_SHARE
        for layer in range(layers):
            amplitudes = torch.from_numpy(rng.uniform(0, 5, batch) * bent).float().to(self.device)
            knots = int(rng.integers(2, MOST_KNOTS + 1))
            surfaces.append(
                Surface(
                    texture=self._draw_textures(rng, batch, side),
                    cover=draw_covers(rng, random, batch, side) if layer else None,
                    to_texture=self._to_device(to_texture[:, layer]),
                    bending=draw_smooth_fields(random, amplitudes, knots, size),
                )
            )
        return _Scene(
            surfaces,
            [[self._to_device(h[:, layer]) for layer in range(layers)] for h in ahead],
            [
                [self._to_device(np.linalg.inv(h[:, layer])) for layer in range(layers)]
                for h in ahead
            ],
        )

    def _render(
        self, rng: np.random.Generator, scene: _Scene, times: list[float], size: int
    ) -> tuple[Tensor, list[Tensor], list[Tensor]]:
        """Return the target, the references, and the flow from the target to each reference."""
        surfaces = scene.surfaces
        view = render_target(surfaces, 0.0, scene.ahead[0])
        target = view.image
        if rng.random() < BLURRED_SHARE:
            shift = float(rng.uniform(0.02, 0.1))
            around = [render_target(surfaces, s, scene.ahead[0]).image for s in (-shift, shift)]
            target = torch.stack((target, *around)).mean(0)

        references = [render_reference(surfaces, back, size).image for back in scene.back]
        flows = [
            find_flow(surfaces, view.front, ahead, back)
            for ahead, back in zip(scene.ahead, scene.back, strict=True)
        ]
        return target, references, flows

    def _draw_textures(self, rng: np.random.Generator, batch: int, side: int) -> Tensor:
        """Return randomly turned crops of the pictures, `batch` x 3 x side x side in 0..1.

        If all pictures are smaller, crops are as large as possible and extended by mirroring.
        Raises DataError if every picture has a side shorter than half of `side`.
        """
        fitting = [p for p in self._pictures if min(p.shape[1:]) >= side]
        fitting = fitting or [p for p in self._pictures if min(p.shape[1:]) >= side // 2]
        if not fitting:
            raise DataError(
                f"found no picture of at least {side // 2}x{side // 2}; try smaller crops"
            )

        crops = []
        for _ in range(batch):
            picture = fitting[int(rng.integers(len(fitting)))]
            height, width = picture.shape[1:]
            rows, cols = min(side, height), min(side, width)
            row = int(rng.integers(0, height - rows + 1))
            col = int(rng.integers(0, width - cols + 1))
            crop = picture[:, row : row + rows, col : col + cols].float().div(255)[None]
            if (rows, cols) != (side, side):
                crop = F.pad(crop, (0, side - cols, 0, side - rows), mode="reflect")
            crop = torch.rot90(crop, int(rng.integers(4)), (2, 3))
            crops.append(crop.flip(3) if rng.random() < 0.5 else crop)
        return torch.cat(crops)

    def _draw_weights(self, rng: np.random.Generator, batch: int, times: list[float]) -> Tensor:
        """Return the prior weights of the references, N x K; a missing reference has weight 0."""
        frames = float(rng.uniform(1, 8))  # distance of the first reference
        weights = np.tile(weigh_references([frames * abs(time) for time in times]), (batch, 1))
        if len(times) > 1:
            missing = rng.random(batch) < MISSING_SHARE
            which = rng.integers(len(times), size=batch)
            weights[missing, which[missing]] = 0
        return torch.from_numpy(weights).to(self.device)

    def _to_device(self, matrices: np.ndarray) -> Tensor:
        return torch.from_numpy(np.ascontiguousarray(matrices)).to(self.device)


class _Scene(NamedTuple):
    """N scenes, and how their surfaces move."""

    surfaces: list[Surface]
    ahead: list[list[Tensor]]
    """For each reference and surface, N homographies from positions at time 0 to the reference."""
    back: list[list[Tensor]]
    """The inverses of the homographies in `ahead`."""


def _shrink(picture: Tensor, factor: float) -> Tensor:
    """Return `picture` (uint8 3 x H x W) with its sides scaled by `factor`."""
    if factor == 1:
        return picture
    size = [round(length * factor) for length in picture.shape[1:]]
    small = F.interpolate(picture[None].float(), size, mode="area")
    return small[0].round().byte()


def _round(image: Tensor) -> Tensor:
    """Return `image` (0..1) rounded to 8-bit levels."""
    return image.mul(255).round().clamp(0, 255).div(255)
