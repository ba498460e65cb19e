"""Measure every method on every case of a scene, and average the measurements."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np

from crossnetpp.data.degradation import degrade
from crossnetpp.evaluation.methods import Enhanced, Method
from crossnetpp.evaluation.scenes import Case, Picture, Scene, as_image
from crossnetpp.evaluation.temporal import estimate_motion, measure_warping_error
from crossnetpp.metrics import Quality, measure_quality, psnr

TRUTH = "truth"


class Figures(NamedTuple):
    """The quality that one method reaches on one picture."""

    quality: Quality
    warped: float | None
    """PSNR in dB (RGB) of the warped reference."""


class Measured(NamedTuple):
    """The figures of all methods on one case."""

    condition: str
    frame: int
    figures: dict[str, Figures]


class ShownCase(NamedTuple):
    """A case to show on the contact sheet, with every method's picture."""

    case: Case
    pictures: dict[str, Picture]


@dataclass(frozen=True)
class SceneResult:
    """Measurements of one scene."""

    group: str
    name: str
    split: str
    scale: int
    measured: list[Measured] = field(default_factory=list)
    warping_errors: dict[str, list[float]] = field(default_factory=dict)
    """Method, or `truth` -> error between each two successive frames, in 8-bit levels."""
    shown: list[ShownCase] = field(default_factory=list)

    @property
    def title(self) -> str:
        """Unique name of the scene, usable as a file name."""
        return f"{self.group}_{self.name}_x{self.scale}"

    @property
    def conditions(self) -> list[str]:
        """Conditions in the order of their first cases, or sorted if all are distances."""
        found = list(dict.fromkeys(m.condition for m in self.measured))
        return sorted(found, key=int) if all(c.isdigit() for c in found) else found

    def select(self, condition: str) -> list[Measured]:
        """Return the measurements under one condition."""
        return [m for m in self.measured if m.condition == condition]


def measure_scene(scene: Scene, methods: list[Method], advance: Callable[[], None]) -> SceneResult:
    """Run `methods` on every case of `scene`, and call `advance` after each case."""
    result = SceneResult(scene.group, scene.name, scene.split, scene.scale)
    before: tuple[Case, dict[str, Picture]] | None = None
    for case in scene.cases:
        lr = degrade(case.truth, scene.scale)
        answers = {method.name: method.enhance(lr, case.reference) for method in methods}
        figures = {name: _measure_picture(answer, case.truth) for name, answer in answers.items()}
        result.measured.append(Measured(case.condition, case.frame, figures))

        pictures = {name: answer.sr for name, answer in answers.items()}
        if scene.in_order:
            if before is not None and before[0].frame + 1 == case.frame:
                _add_warping_errors(result.warping_errors, before, (case, pictures))
            before = (case, pictures)
        if case.shown:
            result.shown.append(ShownCase(case, pictures))
        advance()
    return result


def collect_gains(
    results: Iterable[SceneResult],
    method: str,
    *,
    over: str = "bicubic",
    group: str | None = None,
    name: str | None = None,
    scale: int | None = None,
    condition: str | None = None,
) -> list[float]:
    """Return the PSNR gains (RGB, dB) of `method` over the method `over`, one per matching case.

    `group`, `name`, `scale` and `condition` select cases; None matches all.
    """
    return [
        m.figures[method].quality.psnr - m.figures[over].quality.psnr
        for r in results
        if group in (None, r.group) and name in (None, r.name) and scale in (None, r.scale)
        for m in r.measured
        if condition in (None, m.condition) and {method, over} <= m.figures.keys()
    ]


def average_quality(measured: list[Measured], method: str) -> Quality:
    """Return the mean quality of `method` over the measured pictures."""
    values = np.array([m.figures[method].quality for m in measured])
    return Quality(*(float(v) for v in values.mean(axis=0)))


def average_warped_psnr(measured: list[Measured], method: str) -> float | None:
    """Return the mean PSNR in dB of the warped reference, or None if `method` warps nothing."""
    values = [w for m in measured if (w := m.figures[method].warped) is not None]
    return float(np.mean(values)) if values else None


def _measure_picture(answer: Enhanced, truth: Picture) -> Figures:
    warped = None
    if answer.warped is not None:
        warped = psnr(as_image(answer.warped), as_image(truth))
    return Figures(measure_quality(answer.sr, truth), warped)


def _add_warping_errors(
    errors: dict[str, list[float]],
    before: tuple[Case, dict[str, Picture]],
    now: tuple[Case, dict[str, Picture]],
) -> None:
    """Append the warping error of each method, and of the truth, between two frames."""
    motion = estimate_motion(before[0].truth, now[0].truth)
    if not motion.seen.any():
        return
    pairs = {TRUTH: (before[0].truth, now[0].truth)}
    pairs |= {name: (before[1][name], picture) for name, picture in now[1].items()}
    for name, (first, second) in pairs.items():
        errors.setdefault(name, []).append(measure_warping_error(first, second, motion))
