"""The machine-readable record of an evaluation: results.json and cases.jsonl."""

from __future__ import annotations

import os
import platform
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from importlib.metadata import version
from typing import Any

import numpy as np

from crossnetpp.data.recorder import CAPTURES, Capture, Encoder
from crossnetpp.evaluation.data_folder import Sampling
from crossnetpp.evaluation.figures import (
    Measured,
    SceneResult,
    average_quality,
    average_warped_psnr,
)
from crossnetpp.evaluation.methods import MethodInfo
from crossnetpp.evaluation.summary import Row
from crossnetpp.machine import processor_name

DEGRADATION = "antialiased bicubic downscaling (a = -0.5), lossless, 8 bit"
BORDERS = (
    "The truth and the reference are cropped at the bottom and right to multiples of the scale. "
    "For networks, pictures are padded by replication to the multiple that the network requires, "
    "and the padding is cropped from the output. All pixels count, including the borders. The "
    "outermost columns of frog and monster are black; they count as well, so every gain on these "
    "clips includes the edge between the black columns and the picture."
)
VMAF = "Netflix's vmaf_v0.6.1, averaged over the frames with a measured neighbour"
TEMPORAL = (
    "mean absolute difference between output t and output t-1 warped by the flow of the ground "
    "truth (DIS), in 8-bit levels, over the pixels visible in both"
)


@dataclass(frozen=True)
class Report:
    """A finished evaluation."""

    command: str
    machine: dict[str, Any]
    sampling: Sampling
    methods: dict[str, MethodInfo]
    skipped: dict[str, str]
    """Method -> why it was left out."""
    results: list[SceneResult]
    summary: list[Row]
    against: str | None = None
    """The method with which the others are compared, in addition to `bicubic` and `classical`."""


def describe_machine(device: str) -> dict[str, Any]:
    """Return the hardware and the package versions that affect the results."""
    return {
        "processor": processor_name() or platform.processor(),
        "cores": os.cpu_count(),
        "device": device,
        "python": platform.python_version(),
        "versions": {n: version(n) for n in ("torch", "numpy", "opencv-python-headless")},
    }


def make_record(report: Report) -> dict[str, Any]:
    """Return the content of results.json.

    It includes the summary, and the means for every scene, condition and method.
    """
    return {
        "command": report.command,
        "machine": report.machine,
        "protocol": {
            "degradation": DEGRADATION,
            "captures": {
                name: describe_capture(CAPTURES[name])
                for name in dict.fromkeys(result.group for result in report.results)
                if name in CAPTURES
            },
            "borders": BORDERS,
            "warping_error": TEMPORAL,
            "vmaf": VMAF,
            "means": "of per-image values; PSNR in dB, SSIM with data range 1, Y is BT.601 luma",
            **asdict(report.sampling),
        },
        "methods": {name: about._asdict() for name, about in report.methods.items()},
        "skipped": report.skipped,
        "summary": [
            {
                "what": row.what,
                "least": row.least,
                "figures": {name: _round(value) for name, value in row.figures.items()},
                "met": {name: row.met(name) for name in row.figures},
            }
            for row in report.summary
        ],
        "scenes": [_make_scene_record(result, list(report.methods)) for result in report.results],
    }


def iterate_case_records(results: list[SceneResult]) -> Iterator[dict[str, Any]]:
    """Yield the lines of cases.jsonl: one for each case, with the figures of all methods."""
    for result in results:
        for m in result.measured:
            figures = {
                name: {**_make_quality_record(f.quality), "warped": _round(f.warped)}
                for name, f in m.figures.items()
            }
            where = {"scene": result.title, "condition": m.condition, "frame": m.frame}
            yield {**where, "methods": figures}


def describe_capture(capture: Capture) -> str:
    """Return a description of how `capture` records LR and key frames."""
    words = {"bicubic": "antialiased bicubic downscaling (a = -0.5)", "area": "pixel means"}
    lr = words[capture.kernel]
    if capture.noise:
        lr += f", noise of sigma {capture.noise:g}"
    lr += _describe_encoder(capture.encoder)
    keys = f"noise of sigma {capture.key_noise:g}" if capture.key_noise else ""
    keys += _describe_encoder(capture.key_encoder)
    return f"{lr}; key frames {keys.removeprefix(', ')}"


def _describe_encoder(encoder: Encoder | None) -> str:
    if encoder is None:
        return ", lossless, 8 bit"
    return f", {encoder.codec} at {encoder.crf:g}, 4:2:0"


def _make_scene_record(result: SceneResult, methods: list[str]) -> dict[str, Any]:
    return {
        "group": result.group,
        "scene": result.name,
        "split": result.split,
        "scale": result.scale,
        "images": len(result.measured),
        "methods": _average_methods(result.measured, methods),
        "conditions": {c: _average_methods(result.select(c), methods) for c in result.conditions},
        "warping_error": {
            name: _round(float(np.mean(errors))) for name, errors in result.warping_errors.items()
        },
        "vmaf": {name: _round(float(np.mean(scores))) for name, scores in result.vmaf.items()},
        "measured_kernels": sum(result.kernels),
        "prepared": result.prepared,
        "cpu_seconds": {
            name: {
                "preparing": _round(result.preparing.get(name, 0.0)),
                "a_picture": _round(float(np.mean(seconds))),
            }
            for name, seconds in result.seconds.items()
        },
    }


def _average_methods(measured: list[Measured], methods: list[str]) -> dict[str, Any]:
    bicubic = [m.figures["bicubic"].quality.psnr for m in measured]
    means = {}
    for name in methods:
        gains = [m.figures[name].quality.psnr - b for m, b in zip(measured, bicubic, strict=True)]
        means[name] = {
            **_make_quality_record(average_quality(measured, name)),
            "gain": _round(float(np.mean(gains))),
            "worst_gain": _round(min(gains)),
            "warped": _round(average_warped_psnr(measured, name)),
        }
    return means


def _make_quality_record(quality: Any) -> dict[str, Any]:
    return {name: _round(value) for name, value in quality._asdict().items()}


def _round(value: float | None) -> float | None:
    return None if value is None else round(value, 4)
