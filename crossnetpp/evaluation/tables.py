"""The human-readable tables of an evaluation: results.md."""

from __future__ import annotations

import numpy as np

from crossnetpp.data.recorder import CAPTURES, KEY_FRAME_EVERY
from crossnetpp.evaluation.data_folder import Sampling
from crossnetpp.evaluation.figures import (
    TRUTH,
    Measured,
    SceneResult,
    average_quality,
    average_warped_psnr,
    collect_gains,
)
from crossnetpp.evaluation.leads import render_leads
from crossnetpp.evaluation.markdown import render_table
from crossnetpp.evaluation.report import (
    BORDERS,
    DEGRADATION,
    TEMPORAL,
    VMAF,
    Report,
    describe_capture,
)

GROUP_TITLES = {
    "lightfield": "Light field: view (i, i) from view (0, 0)",
    "clips": f"Clips: a key frame every {KEY_FRAME_EVERY} frames, by distance to the nearest one",
    "distances": "Clips: by distance from the reference in frames",
    "stereo": "Stereo",
    "street": "Street walk: each photograph from the one before",
    "faults": "References that do not help",
    **{
        name: f"Recordings, {name}: both key frames around a frame, by distance to the nearest one"
        for name in CAPTURES
    },
}


def render_markdown(report: Report) -> str:
    """Return the content of results.md."""
    methods = list(report.methods)
    parts = ["# Evaluation", f"    {report.command}"]
    if report.summary:
        parts += ["## Summary", _render_summary(report)]
    parts += ["## Mean gain over bicubic, dB", _render_groups(report.results, methods)]
    for baseline in dict.fromkeys(("classical", report.against)):
        if baseline in methods and len(methods) > 2:
            parts += [f"## Above `{baseline}`", render_leads(report.results, methods, baseline)]

    for group, title in GROUP_TITLES.items():
        results = [r for r in report.results if r.group == group]
        if results:
            parts += [f"## {title}", _render_conditions(results, methods)]

    parts += ["## Quality by scene", _render_quality(report.results, methods)]
    if any(r.warping_errors for r in report.results):
        parts += ["## Temporal consistency", _render_temporal(report.results, methods)]
    if any(r.vmaf for r in report.results):
        parts += ["## VMAF", _render_vmaf(report.results, methods)]
    parts += ["## Cost", _render_cost(report.results, methods)]
    parts += ["## How it was measured", _render_notes(report)]
    return "\n\n".join(parts) + "\n"


def _render_summary(report: Report) -> str:
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
    return render_table(["dB", "at least", *methods], rows)


def _render_groups(results: list[SceneResult], methods: list[str]) -> str:
    rows = []
    for group, scale in dict.fromkeys((r.group, r.scale) for r in results):
        gains = {name: collect_gains(results, name, group=group, scale=scale) for name in methods}
        cells = [f"{np.mean(gains[name]):+.2f}" for name in methods[1:]]
        rows.append([f"{group} x{scale}", str(len(gains["bicubic"])), *cells])
    return render_table(["group", "images", *methods[1:]], rows)


def _render_conditions(results: list[SceneResult], methods: list[str]) -> str:
    rows = []
    for result in results:
        scene = f"{result.name} ({result.split}) x{result.scale}"
        rows.append([f"**{scene}**", *_format_gains(result.measured, methods)])
        rows += [[c, *_format_gains(result.select(c), methods)] for c in result.conditions]
    head = ["", "images", "bicubic, dB", *(f"{name}, gain (worst)" for name in methods[1:])]
    return render_table(head, rows)


def _format_gains(measured: list[Measured], methods: list[str]) -> list[str]:
    """Return the cells of a row: number of images, PSNR of bicubic, and mean (worst) gains."""
    bicubic = np.array([m.figures["bicubic"].quality.psnr for m in measured])
    cells = [str(len(measured)), f"{bicubic.mean():.2f}"]
    for name in methods[1:]:
        gains = np.array([m.figures[name].quality.psnr for m in measured]) - bicubic
        cells.append(f"{gains.mean():+.2f} ({gains.min():+.2f})")
    return cells


def _render_quality(results: list[SceneResult], methods: list[str]) -> str:
    rows = []
    for result in results:
        for name in methods:
            q = average_quality(result.measured, name)
            warped = average_warped_psnr(result.measured, name)
            rows.append(
                [
                    f"{result.group} {result.name} x{result.scale}" if name == methods[0] else "",
                    name,
                    f"{q.psnr:.2f}",
                    f"{q.ssim:.4f}",
                    f"{q.psnr_y:.2f}",
                    f"{q.ssim_y:.4f}",
                    "-" if warped is None else f"{warped:.2f}",
                ]
            )
    head = ["scene", "method", "PSNR", "SSIM", "PSNR Y", "SSIM Y", "PSNR of warped reference"]
    return render_table(head, rows)


def _render_temporal(results: list[SceneResult], methods: list[str]) -> str:
    rows = []
    for result in results:
        errors = result.warping_errors
        if not errors:
            continue
        truth = float(np.mean(errors[TRUTH]))
        cells = []
        for name in methods:
            error = float(np.mean(errors[name]))
            cells.append(f"{error:.3f} ({error / max(truth, 1e-9):.2f})")
        rows.append([result.name, str(len(errors[TRUTH])), f"{truth:.3f}", *cells])

    caption = f"{_capitalise(TEMPORAL)}; in brackets, the ratio to the ground truth's own error."
    return f"{caption}\n\n" + render_table(["clip", "pairs", TRUTH, *methods], rows)


def _render_vmaf(results: list[SceneResult], methods: list[str]) -> str:
    rows = []
    for result in results:
        if result.vmaf:
            scores = [f"{np.mean(result.vmaf[name]):.2f}" for name in methods]
            count = len(result.vmaf[methods[0]])
            rows.append([f"{result.group} {result.name} x{result.scale}", str(count), *scores])
    return render_table(["scene", "frames", *methods], rows)


def _render_cost(results: list[SceneResult], methods: list[str]) -> str:
    rows = []
    for result in results:
        cells = []
        for name in methods[1:]:
            cell = f"{np.median(result.seconds[name]):.2f}"
            # If the preparation took less than a second, nothing was trained
            preparing = result.preparing.get(name, 0.0)
            cells.append(f"{cell} (+{preparing:.0f} once)" if preparing > 1 else cell)
        rows.append([f"{result.group} {result.name} x{result.scale}", *cells])
    return render_table(["CPU seconds per picture", *methods[1:]], rows)


def _render_notes(report: Report) -> str:
    sampling = report.sampling
    lines = [
        f"Degradation: {DEGRADATION}, the same for all methods.",
        *(
            f"Recordings `{name}`: {describe_capture(capture)}."
            for name, capture in CAPTURES.items()
            if any(result.group == name for result in report.results)
        ),
        *_render_kernels(report.results),
        *_render_prepared(report.results),
        BORDERS,
        f"VMAF: {VMAF}.",
        "Means are averages of per-image values. PSNR and SSIM are computed on values in 0..1, for "
        "RGB and for BT.601 luma (Y). Key frames themselves are not measured.",
        f"Clips: every frame of {_describe_stride(sampling)} between key frames; recordings: "
        f"{_describe_positions(sampling)} of the first {sampling.frames} frames; distances from "
        f"{_count(sampling.starts, 'reference')} in each clip; faults with "
        f"{_count(sampling.faults, 'frame')} of each clip and each of the light field's views.",
        "Machine: " + ", ".join(f"{k} {v}" for k, v in report.machine.items() if k != "versions"),
        "Versions: " + ", ".join(f"{k} {v}" for k, v in report.machine["versions"].items()),
    ]
    for name, about in report.methods.items():
        weights = f"; weights {about.weights}, sha256 {about.sha256}" if about.weights else ""
        size = f", {about.parameters:,} parameters" if about.parameters else ""
        lines.append(f"`{name}`: {about.what}{size}{weights}")
    lines += [f"`{name}` was left out: {reason}" for name, reason in report.skipped.items()]
    return "\n".join(f"* {line}" for line in lines)


def _render_kernels(results: list[SceneResult]) -> list[str]:
    found = [kernel for result in results for kernel in result.kernels]
    if not found:
        return []
    return [
        f"A kernel other than the bicubic kernel was measured in {sum(found)} of "
        f"{_count(len(found), 'recording')} with instants that are known at both resolutions."
    ]


def _render_prepared(results: list[SceneResult]) -> list[str]:
    lines = []
    for result in results:
        for name, notes in result.prepared.items():
            scene = f"{result.group} {result.name} x{result.scale}"
            lines.append(f"`{name}`, {scene}: {'; '.join(dict.fromkeys(notes))}.")
    return lines


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'s' * (number != 1)}"


def _describe_stride(sampling: Sampling) -> str:
    if sampling.stride == 1:
        return "all intervals"
    return f"one in {sampling.stride} intervals (stride {sampling.stride})"


def _describe_positions(sampling: Sampling) -> str:
    if not sampling.positions:
        return "the same intervals"
    numbers = ", ".join(map(str, sampling.positions))
    return f"frames {numbers} of the same intervals"


def _capitalise(text: str) -> str:
    return text[0].upper() + text[1:]
