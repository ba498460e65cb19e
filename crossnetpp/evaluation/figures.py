"""Measure every method on every case of a scene, and average the measurements."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np

from crossnetpp.evaluation.methods import Enhanced, Method
from crossnetpp.evaluation.scenes import Case, Material, Picture, Scene, as_image
from crossnetpp.evaluation.temporal import estimate_motion, measure_warping_error
from crossnetpp.evaluation.vmaf_runs import VmafRuns
from crossnetpp.metrics import Quality, measure_quality, psnr

TRUTH = "truth"


class Figures(NamedTuple):
    """The quality of one method's result for one case."""

    quality: Quality
    warped: float | None
    """PSNR in dB (RGB) of the warped reference; None if the method warps none."""


class Measured(NamedTuple):
    """The figures of all methods on one case."""

    condition: str
    frame: int
    figures: dict[str, Figures]


class ShownCase(NamedTuple):
    """A case on the contact sheet, with the result of every method."""

    case: Case
    pictures: dict[str, Picture]


@dataclass(frozen=True)
class SceneResult:
    """The measurements of all methods on one scene."""

    group: str
    name: str
    split: str
    scale: int
    measured: list[Measured] = field(default_factory=list)
    warping_errors: dict[str, list[float]] = field(default_factory=dict)
    """Method or `truth` -> error of each pair of successive frames, in 8-bit levels."""
    shown: list[ShownCase] = field(default_factory=list)
    vmaf: dict[str, list[float]] = field(default_factory=dict)
    """Method -> VMAF of each frame that has a measured neighbour; empty if not measured."""
    preparing: dict[str, float] = field(default_factory=dict)
    """Method -> CPU seconds that its preparation for the recordings took."""
    prepared: dict[str, list[str]] = field(default_factory=dict)
    """Method -> remarks about its preparation for each recording, if any."""
    seconds: dict[str, list[float]] = field(default_factory=dict)
    """Method -> CPU seconds for each case; other programs hardly affect CPU time."""
    kernels: list[bool] = field(default_factory=list)
    """For each recording, whether a kernel other than the bicubic kernel was measured."""

    @property
    def is_clip(self) -> bool:
        """Whether all conditions are distances to a reference in frames."""
        return all(m.condition.isdigit() for m in self.measured)

    @property
    def title(self) -> str:
        """The scene's unique name, which is valid as a file name."""
        return f"{self.group}_{self.name}_x{self.scale}"

    @property
    def conditions(self) -> list[str]:
        """The conditions, sorted if all are distances, else in the order of their first cases."""
        found = list(dict.fromkeys(m.condition for m in self.measured))
        return sorted(found, key=int) if self.is_clip else found

    def select(self, condition: str) -> list[Measured]:
        """Return the measurements with this condition."""
        return [m for m in self.measured if m.condition == condition]


def measure_scene(
    scene: Scene, methods: list[Method], advance: Callable[[], None], ffmpeg: str | None = None
) -> SceneResult:
    """Run `methods` on every case of `scene`, and call `advance` after each case.

    The VMAF of successive frames of clips is also measured if `ffmpeg`, the path of the program, is
    given. Raises VmafError if the program fails.
    """
    result = SceneResult(scene.group, scene.name, scene.split, scene.scale)
    material: Material | None = None
    before: tuple[Case, dict[str, Picture]] | None = None
    with ExitStack() as stack:
        runs = None
        if ffmpeg is not None and scene.in_order:
            runs = stack.enter_context(VmafRuns(ffmpeg))
        for case in scene.cases:
            if case.material is not material:
                material = case.material
                _prepare_methods(result, methods, material)

            answers = {method.name: _enhance(result, method, case) for method in methods}
            figures = {
                name: _measure_picture(answer, case.truth) for name, answer in answers.items()
            }
            result.measured.append(Measured(case.condition, case.frame, figures))

            pictures = {name: answer.sr for name, answer in answers.items()}
            if runs is not None:
                runs.add(case.frame, pictures, case.truth)
            if scene.in_order:
                if before is not None and before[0].frame + 1 == case.frame:
                    _add_warping_errors(result.warping_errors, before, (case, pictures))
                before = (case, pictures)
            if case.shown:
                result.shown.append(ShownCase(case, pictures))
            advance()
        if runs is not None:
            result.vmaf.update(runs.finish())
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
    """Return the PSNR gain (RGB, dB) of `method` over the method `over` for each matching case.

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
    """Return the mean quality of `method` over the measured cases."""
    values = np.array([m.figures[method].quality for m in measured])
    return Quality(*(float(v) for v in values.mean(axis=0)))


def average_warped_psnr(measured: list[Measured], method: str) -> float | None:
    """Return the mean PSNR in dB of the warped reference, or None if `method` warps nothing."""
    values = [w for m in measured if (w := m.figures[method].warped) is not None]
    return float(np.mean(values)) if values else None


def _prepare_methods(result: SceneResult, methods: list[Method], material: Material) -> None:
    """Prepare the methods for a recording, and record how long each of them took."""
    if material.moments:
        result.kernels.append(material.taps is not None)
    for method in methods:
        start = time.process_time()
        notable = method.prepare(material, material.taps)
        if notable:
            result.prepared.setdefault(method.name, []).append(notable)
        seconds = time.process_time() - start
        result.preparing[method.name] = result.preparing.get(method.name, 0.0) + seconds


def _enhance(result: SceneResult, method: Method, case: Case) -> Enhanced:
    """Return a method's result for a case, and record how long it took."""
    start = time.process_time()
    answer = method.enhance(case.lr, case.references, case.material.taps)
    result.seconds.setdefault(method.name, []).append(time.process_time() - start)
    return answer


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
    """Append the warping error of each method and of the truth between two successive frames.

    Nothing is appended if no pixel is visible in both frames.
    """
    motion = estimate_motion(before[0].truth, now[0].truth)
    if not motion.seen.any():
        return
    pairs = {TRUTH: (before[0].truth, now[0].truth)}
    pairs |= {name: (before[1][name], picture) for name, picture in now[1].items()}
    for name, (first, second) in pairs.items():
        errors.setdefault(name, []).append(measure_warping_error(first, second, motion))
