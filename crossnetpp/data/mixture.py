"""Training samples from a weighted mixture of sources; some samples have a faulty reference."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from crossnetpp.data.faults import break_reference, scale_light
from crossnetpp.data.sample import DataError, Pair, PairSource
from crossnetpp.landmarks import NO_MATCHES, LandmarkCache, Landmarks


class Sample(NamedTuple):
    """One sample or, after collation, a batch of N samples."""

    target: Tensor
    """[N x] 3 x H x W in 0..1."""
    reference: Tensor
    """[N x] 3 x H x W in 0..1."""
    flow: Tensor
    """[N x] 2 x H x W pixels, NaN where unknown."""
    landmarks: Landmarks
    """SIFT pairs, all of which are padding unless the mixture has a landmark cache."""


@dataclass(frozen=True)
class MixtureSettings:
    """Size and composition of a run's samples."""

    size: int = 160
    """Pixels along each side of a crop."""
    steps: int = 6000
    """Number of steps in the run."""
    batch: int = 4
    """Samples per step, summed over all processes."""
    fault_rate: float = 0.15
    """Share of samples whose reference has a fault."""
    relit_rate: float = 0.4
    """Share of samples whose target and reference are relit, both in the same way."""
    seed: int = 0
    curriculum: float = 0.5
    """Share of the run over which motion grows to its full range."""
    curriculum_start: float = 0.1
    """Motion in the first step, 0..1."""

    def __post_init__(self) -> None:
        """Check the settings. Raises DataError if a value is out of range."""
        for name in ("size", "steps", "batch"):
            _check_range(name, getattr(self, name), 1, float("inf"))
        for name in ("fault_rate", "relit_rate", "curriculum", "curriculum_start"):
            _check_range(name, getattr(self, name), 0, 1)

    @classmethod
    def from_mapping(cls, mapping: Mapping[str, object]) -> MixtureSettings:
        """Return the settings in a mapping that was read from YAML.

        Raises DataError if a name is unknown, or if a value has the wrong type or is out of range.
        """
        known = {field.name: type(field.default) for field in fields(cls)}
        for name, value in mapping.items():
            if name not in known:
                raise DataError(f"found the setting '{name}', expected one of {', '.join(known)}")
            fitting = (int, float) if known[name] is float else known[name]
            if isinstance(value, bool) or not isinstance(value, fitting):
                expected = "a whole number" if known[name] is int else "a number"
                raise DataError(f"found {name}: {value!r}, expected {expected}")
        return cls(**mapping)  # type: ignore[arg-type]

    def motion(self, sample: int) -> float:
        """Return the motion (0..1) that the curriculum allows in sample number `sample`."""
        done = sample / (self.batch * self.steps)
        widened = done / self.curriculum if self.curriculum else 1.0
        return min(1.0, self.curriculum_start + (1 - self.curriculum_start) * widened)


def _check_range(name: str, value: float, least: float, most: float) -> None:
    if not least <= value <= most:
        limits = f"{least:g} or more" if most == float("inf") else f"{least:g} to {most:g}"
        raise DataError(f"found {name}: {value}, expected {limits}")


class Mixture(Dataset[Sample]):
    """The samples of a run; sample k depends only on k, the sources and the settings.

    A resumed run therefore gets the same samples as an uninterrupted one, regardless of the number
    of workers and processes.
    """

    def __init__(
        self,
        sources: Sequence[tuple[float, PairSource]],
        settings: MixtureSettings,
        landmarks: LandmarkCache | None = None,
    ) -> None:
        """Mix `sources`, each of which is a weight and a source.

        With `landmarks`, every sample also has SIFT pairs. Raises DataError if no weight is
        positive.
        """
        weights = np.array([weight for weight, _ in sources])
        if not weights.sum() > 0:
            raise DataError("found no source with a weight above 0, expected at least one")
        self.sources = [source for _, source in sources]
        self.weights = weights / weights.sum()
        self.settings = settings
        self._landmarks = landmarks

    def __len__(self) -> int:
        """Return the number of samples in the whole run."""
        return self.settings.steps * self.settings.batch

    def __getitem__(self, number: int) -> Sample:
        """Return sample `number`. Raises IndexError if the run has no such sample."""
        if not 0 <= number < len(self):
            raise IndexError(f"found sample number {number}, expected 0 to {len(self) - 1}")
        return self._to_sample(self.make_pair(number))

    def make_pair(self, number: int) -> Pair:
        """Return sample `number` as a pair of pictures."""
        settings = self.settings
        rng = np.random.default_rng((settings.seed, number))
        motion = settings.motion(number)
        pair = self._draw(rng, motion)

        if rng.random() < settings.fault_rate:
            pair = break_reference(rng, pair, self._draw(rng, motion))

        if rng.random() < settings.relit_rate:
            # Relighting both in the same way imitates dark and bright scenes and coloured light
            gain = np.exp(rng.normal(0, 0.4)) * np.exp(rng.normal(0, 0.1, 3))
            pair = replace(
                pair,
                target=scale_light(pair.target, gain),
                reference=scale_light(pair.reference, gain),
            )
        return pair

    def _draw(self, rng: np.random.Generator, motion: float) -> Pair:
        source = self.sources[int(rng.choice(len(self.sources), p=self.weights))]
        return source.draw(rng, self.settings.size, motion)

    def _to_sample(self, pair: Pair) -> Sample:
        target, reference = (
            torch.from_numpy(image).permute(2, 0, 1).float().div(255)
            for image in (pair.target, pair.reference)
        )

        if pair.flow is None:
            size = self.settings.size
            flow = torch.full((2, size, size), float("nan"))
        else:
            flow = torch.from_numpy(pair.flow).permute(2, 0, 1)

        matches = NO_MATCHES
        if self._landmarks is not None:
            matches = self._landmarks.find_matches(pair.target, pair.reference)
        return Sample(target, reference, flow, matches.pad())
