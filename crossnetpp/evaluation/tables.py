"""results.md: the tables people read."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from crossnetpp.evaluation.figures import (
    TRUTH,
    Measured,
    SceneResult,
    gains,
    mean_quality,
    mean_warped,
)
from crossnetpp.evaluation.protocol import BORDERS, KEY_FRAME_EVERY
from crossnetpp.evaluation.report import DEGRADATION, TEMPORAL, Report

GROUPS = {
    "lightfield": "Light field: view (i, i) from view (0, 0)",
    "clips": f"Clips: a key frame every {KEY_FRAME_EVERY} frames, by frames to the nearest one",
    "distances": "Clips: by frames after the reference",
    "stereo": "Stereo",
    "street": "Street walk: each photograph from the one before",
    "faults": "References that do not help",
}


def markdown(report: Report) -> str:
    """Return the whole page."""
    methods = list(report.methods)
    parts = ["# Evaluation", f"    {report.command}"]
    if report.summary:
        parts += ["## Summary", _summary(report)]
    parts += ["## Mean gain over bicubic, dB", _groups(report.results, methods)]
    for group, title in GROUPS.items():
        of_group = [r for r in report.results if r.group == group]
        if of_group:
            parts += [f"## {title}", _conditions(of_group, methods)]
    parts += ["## Quality by scene", _quality(report.results, methods)]
    if any(r.warping_errors for r in report.results):
        parts += ["## Temporal consistency", _temporal(report.results, methods)]
    parts += ["## How it was measured", _how(report)]
    return "\n\n".join(parts) + "\n"


def _summary(report: Report) -> str:
    methods = [name for name in report.methods if name != "bicubic"]
    rows = []
    for row in report.summary:
        cells = [
            f"{row.figures[name]:+.2f} {'met' if row.met(name) else 'MISSED'}"
            if name in row.figures
            else "-"
            for name in methods
        ]
        rows.append([row.what, f"{row.least:+.2f}", *cells])
    return _table(["dB", "at least", *methods], rows)


def _groups(results: list[SceneResult], methods: list[str]) -> str:
    rows = []
    for group, scale in dict.fromkeys((r.group, r.scale) for r in results):
        values = {name: gains(results, name, group=group, scale=scale) for name in methods}
        cells = [f"{np.mean(values[name]):+.2f}" for name in methods[1:]]
        rows.append([f"{group} x{scale}", str(len(values["bicubic"])), *cells])
    return _table(["group", "images", *methods[1:]], rows)


def _conditions(results: list[SceneResult], methods: list[str]) -> str:
    rows = []
    for result in results:
        scene = f"{result.name} ({result.split}) x{result.scale}"
        rows.append([f"**{scene}**", *_gains(result.measured, methods)])
        rows += [[c, *_gains(result.of(c), methods)] for c in result.conditions]
    head = ["", "images", "bicubic, dB", *(f"{name}, gain (worst)" for name in methods[1:])]
    return _table(head, rows)


def _gains(measured: list[Measured], methods: list[str]) -> list[str]:
    base = np.array([m.figures["bicubic"].quality.psnr for m in measured])
    cells = [str(len(measured)), f"{base.mean():.2f}"]
    for name in methods[1:]:
        gained = np.array([m.figures[name].quality.psnr for m in measured]) - base
        cells.append(f"{gained.mean():+.2f} ({gained.min():+.2f})")
    return cells


def _quality(results: list[SceneResult], methods: list[str]) -> str:
    rows = []
    for result in results:
        for name in methods:
            q = mean_quality(result.measured, name)
            warped = mean_warped(result.measured, name)
            rows.append(
                [
                    f"{result.group} {result.name} x{result.scale}" if name == methods[0] else "",
                    name,
                    *(f"{q.psnr:.2f}", f"{q.ssim:.4f}", f"{q.psnr_y:.2f}", f"{q.ssim_y:.4f}"),
                    "-" if warped is None else f"{warped:.2f}",
                ]
            )
    head = ["scene", "method", "PSNR", "SSIM", "PSNR Y", "SSIM Y", "PSNR of warped reference"]
    return _table(head, rows)


def _temporal(results: list[SceneResult], methods: list[str]) -> str:
    rows = []
    for result in results:
        errors = result.warping_errors
        if not errors:
            continue
        own = float(np.mean(errors[TRUTH]))
        cells = []
        for name in methods:
            error = float(np.mean(errors[name]))
            cells.append(f"{error:.3f} ({error / max(own, 1e-9):.2f})")
        rows.append([result.name, str(len(errors[TRUTH])), f"{own:.3f}", *cells])
    return f"{_capital(TEMPORAL)}; in brackets as a share of the ground truth's own.\n\n" + _table(
        ["clip", "pairs", TRUTH, *methods], rows
    )


def _how(report: Report) -> str:
    sampling = report.sampling
    lines = [
        f"Degradation: {DEGRADATION}, the same for all methods.",
        BORDERS,
        "Means are of per-image values; PSNR and SSIM on 0..1, RGB and BT.601 luma (Y); "
        "a given key frame is never part of a mean.",
        f"Clips: stride {sampling.stride}, which is every frame of one interval between key frames "
        f"in {sampling.stride}; distances from {sampling.starts} references, faults with "
        f"{sampling.faults} frames of each clip and each of the light field's views.",
        "Machine: " + ", ".join(f"{k} {v}" for k, v in report.machine.items() if k != "versions"),
        "Versions: " + ", ".join(f"{k} {v}" for k, v in report.machine["versions"].items()),
    ]
    for name, about in report.methods.items():
        weights = f"; weights {about.weights}, sha256 {about.sha256}" if about.weights else ""
        size = f", {about.parameters:,} parameters" if about.parameters else ""
        lines.append(f"`{name}`: {about.what}{size}{weights}")
    lines += [f"`{name}` was left out: {why}" for name, why in report.skipped.items()]
    return "\n".join(f"* {line}" for line in lines)


def _capital(text: str) -> str:
    return text[0].upper() + text[1:]


def _table(head: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    head = list(head)
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)
