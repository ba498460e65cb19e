"""Measure how much better a method could be that knew the truth.

    python -m jobs.quality.limits --data DATA [--groups sensor recorded] [--model fast] [--stride 3]

DATA is the folder of `python -m crossnetpp.evaluate`. Per clip of the test split, the table shows
the mean PSNR over frames 3 and 7 of every STRIDE-th interval between two key frames:

* bicubic, and the network (`model`);
* the best choice for every block of 8x8 pixels between bicubic, bicubic plus the detail of either
  reference, and bicubic plus the mean of both, where the network has aligned the references
  (`choice`). No network knows which choice is best, so the network's own result can only approach
  this figure, except where it corrects more than the detail;
* the same choice, where OpenCV's flow has aligned the references with the truth itself instead of
  LR (`aligned`).

The figures are written to jobs/results/limits.json.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from crossnetpp.capture.variants import choose_weights
from crossnetpp.classical.optical_flow import estimate_flow
from crossnetpp.evaluation.data_folder import DataFolder, Sampling
from crossnetpp.evaluation.groups import load_scenes
from crossnetpp.evaluation.markdown import render_table
from crossnetpp.evaluation.methods import to_planes, weigh
from crossnetpp.evaluation.scenes import Case, Picture, Scene, as_image
from crossnetpp.networks.blocks import pad_planes
from crossnetpp.networks.fast import CrossNetFast
from crossnetpp.networks.resample import blur_like_lr, upsample_bicubic
from crossnetpp.networks.warp import warp
from jobs.bad_input import report_bad_input
from jobs.machine import write_result
from jobs.quality.flow import load_fast

BLOCK = 8
POSITIONS = (3, 7)
COLUMNS = ("bicubic", "model", "choice", "aligned")


def choose_blocks(truth: Tensor, candidates: Sequence[Tensor], block: int = BLOCK) -> float:
    """Return the mean squared error if each block is copied from the candidate nearest to `truth`.

    All images are 1 x 3 x H x W. Blocks at the right and at the bottom may be smaller.
    """
    errors = torch.stack([(each - truth).square().mean(dim=1) for each in candidates])
    height, width = errors.shape[-2:]
    padded = F.pad(errors, (0, -width % block, 0, -height % block))
    sums = F.avg_pool2d(padded, block) * block**2
    return float(sums.amin(dim=0).sum() / (height * width))


@torch.inference_mode()
def measure_case(case: Case, network: CrossNetFast) -> dict[str, float]:
    """Return the mean squared errors of a frame (0..1), keyed by COLUMNS."""
    scale, taps = case.material.scale, case.material.taps
    kernel = None if taps is None else torch.from_numpy(taps)
    height, width = case.truth.shape[:2]
    truth = to_planes(case.truth)
    lr_up = upsample_bicubic(to_planes(case.lr), scale)

    lr = pad_planes(to_planes(case.lr), network.multiple // scale)
    prepared = []
    for reference in case.references:
        planes = pad_planes(to_planes(reference.picture), network.multiple)
        prepared.append(network.prepare(planes, scale, kernel))
    weights = torch.from_numpy(weigh(case.references))[None]
    result = network.enhance(lr, *prepared, weights=weights).sr[..., :height, :width].clamp(0, 1)

    def list_candidates(references: Sequence[Tensor]) -> list[Tensor]:
        """Return bicubic, and bicubic plus the detail of each aligned reference and of all."""
        details = [each - blur_like_lr(each, scale, kernel) for each in references]
        return [lr_up, *(lr_up + each for each in details), lr_up + torch.stack(details).mean(0)]

    found = [network.enhance(lr, each).warped[..., :height, :width] for each in prepared]
    aligned = [align_with_truth(case.truth, each.picture) for each in case.references]
    return {
        "bicubic": choose_blocks(truth, [lr_up.clamp(0, 1)]),
        "model": choose_blocks(truth, [result]),
        "choice": choose_blocks(truth, list_candidates(found)),
        "aligned": choose_blocks(truth, list_candidates(aligned)),
    }


def align_with_truth(truth: Picture, reference: Picture) -> Tensor:
    """Return `reference` (1 x 3 x H x W in 0..1), warped by its flow to the HR `truth`."""
    found = estimate_flow(as_image(truth), as_image(reference), finest=0)
    flow = torch.from_numpy(found).permute(2, 0, 1)[None]
    return warp(to_planes(reference), flow, mode="bicubic")


def measure_scene(scene: Scene, model: str) -> dict[str, Any]:
    """Return a scene's name, its number of frames, and the mean PSNR in dB for COLUMNS."""
    fits_db = scene.cases[0].material.capture.fits_db
    network = load_fast(choose_weights(model, fits_db))
    errors = [measure_case(case, network) for case in scene.cases]
    psnr = {
        name: round(float(np.mean([-10 * np.log10(each[name]) for each in errors])), 2)
        for name in COLUMNS
    }
    return {"group": scene.group, "scene": scene.name, "frames": len(errors), **psnr}


def render_figures(rows: Sequence[dict[str, Any]]) -> str:
    """Return the figures as a Markdown table."""
    header = ["group", "clip", *COLUMNS]
    cells = [
        [row["group"], row["scene"], *(f"{row[name]:.2f}" for name in COLUMNS)] for row in rows
    ]
    return render_table(header, cells)


@report_bad_input()
def main() -> None:
    """Measure the test clips, and write the figures."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--groups", nargs="+", default=["sensor", "recorded"], metavar="GROUP")
    parser.add_argument("--model", default="fast")
    parser.add_argument("--stride", type=int, default=3, metavar="N", help="default 3")
    parser.add_argument("--scenes", nargs="+", default=["test"], metavar="NAME")
    chosen = parser.parse_args()

    sampling = replace(
        Sampling(), stride=chosen.stride, positions=POSITIONS, scenes=tuple(chosen.scenes)
    )
    rows = []
    for scene in load_scenes(DataFolder(chosen.data), chosen.groups, sampling):
        rows.append(measure_scene(scene, chosen.model))
        sys.stdout.write(f"{rows[-1]}\n")

    write_result("limits", {"model": chosen.model, "block": BLOCK, "rows": rows})
    sys.stdout.write(render_figures(rows) + "\n")


if __name__ == "__main__":
    main()
