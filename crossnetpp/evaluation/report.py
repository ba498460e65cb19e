"""The record of an evaluation: results.json and cases.jsonl."""

from __future__ import annotations

import os
import platform
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

from crossnetpp.evaluation.figures import Measured, SceneResult, mean_quality, mean_warped
from crossnetpp.evaluation.methods import About
from crossnetpp.evaluation.protocol import BORDERS, Sampling
from crossnetpp.evaluation.summary import Row

DEGRADATION = "antialiased bicubic reduction (a = -0.5), lossless, 8 bit"
TEMPORAL = (
    "output t-1 warped onto t by the flow of the ground truth (DIS), mean absolute difference in "
    "8-bit levels over the places seen in both"
)


@dataclass(frozen=True)
class Report:
    """A finished evaluation."""

    command: str
    machine: dict[str, Any]
    sampling: Sampling
    methods: dict[str, About]
    skipped: dict[str, str]
    """Method -> why it was left out."""
    results: list[SceneResult]
    summary: list[Row]


def machine(device: str) -> dict[str, Any]:
    """Return what the evaluation runs on and the versions that matter."""
    # the name is not told by platform on Linux
    about = Path("/proc/cpuinfo")
    lines = about.read_text().splitlines() if about.is_file() else []
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return {
        "processor": names[0] if names else platform.processor(),
        "cores": os.cpu_count(),
        "device": device,
        "python": platform.python_version(),
        "versions": {n: version(n) for n in ("torch", "numpy", "opencv-python-headless")},
    }


def record(report: Report) -> dict[str, Any]:
    """Return results.json: the summary, and means of every scene, condition and method."""
    return {
        "command": report.command,
        "machine": report.machine,
        "protocol": {
            "degradation": DEGRADATION,
            "borders": BORDERS,
            "warping_error": TEMPORAL,
            "means": "of per-image values; PSNR in dB, SSIM with data range 1, Y is BT.601 luma",
            **asdict(report.sampling),
        },
        "methods": {name: about._asdict() for name, about in report.methods.items()},
        "skipped": report.skipped,
        "summary": [
            {
                "what": row.what,
                "least": row.least,
                "figures": {name: _rounded(value) for name, value in row.figures.items()},
                "met": {name: row.met(name) for name in row.figures},
            }
            for row in report.summary
        ],
        "scenes": [_scene(result, list(report.methods)) for result in report.results],
    }


def cases(results: list[SceneResult]) -> Iterator[dict[str, Any]]:
    """Yield the lines of cases.jsonl: one for each picture, all methods."""
    for result in results:
        for m in result.measured:
            figures = {
                name: {**_quality(f.quality), "warped": _rounded(f.warped)}
                for name, f in m.figures.items()
            }
            where = {"scene": result.title, "condition": m.condition, "frame": m.frame}
            yield {**where, "methods": figures}


def _scene(result: SceneResult, methods: list[str]) -> dict[str, Any]:
    return {
        "group": result.group,
        "scene": result.name,
        "split": result.split,
        "scale": result.scale,
        "images": len(result.measured),
        "methods": _means(result.measured, methods),
        "conditions": {c: _means(result.of(c), methods) for c in result.conditions},
        "warping_error": {
            name: _rounded(float(np.mean(errors))) for name, errors in result.warping_errors.items()
        },
    }


def _means(measured: list[Measured], methods: list[str]) -> dict[str, Any]:
    base = [m.figures["bicubic"].quality.psnr for m in measured]
    means = {}
    for name in methods:
        gained = [m.figures[name].quality.psnr - b for m, b in zip(measured, base, strict=True)]
        means[name] = {
            **_quality(mean_quality(measured, name)),
            "gain": _rounded(float(np.mean(gained))),
            "worst_gain": _rounded(min(gained)),
            "warped": _rounded(mean_warped(measured, name)),
        }
    return means


def _quality(quality: Any) -> dict[str, Any]:
    return {name: _rounded(value) for name, value in quality._asdict().items()}


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 4)
