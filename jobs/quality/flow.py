"""Measure the accuracy of the optical flow that networks find between LR and a reference.

    python -m jobs.quality.flow --data DATA [--models fast fast-recorded ...] [--old FILE]

DATA contains `stereo` and `photos/kodak_2[1-4].jpg`. The stereo pairs motorcycle and cones have
measured disparities, and scenes rendered from the photographs have exact flow. LR is the target
downscaled by 2, 4 and 8 (antialiased bicubic, lossless). The figures are end-point errors in HR
pixels over all pixels whose flow is known and leads to a visible point of the reference.

A model is a preset, a variant or a safetensors file. Every model's flow is measured after stage 1
(`:stage1`) and at the end. For the first model, two further flows show what its parts achieve: the
flow chosen from both searches (`:stage2`), without the sub-pixel refinements that follow, and the
flow of the same network with the refinements but without the second search (`:no-stage2`). `dis` is
the flow of the classical method.

The figures are written to jobs/results/flow.json, and a table is printed.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from numpy.typing import NDArray

from crossnetpp.checkpoint import WeightsError, load_network
from crossnetpp.classical.borrow import blur, upsample
from crossnetpp.classical.optical_flow import Flow, estimate_flow
from crossnetpp.data.degradation import degrade
from crossnetpp.evaluation.markdown import render_table
from crossnetpp.evaluation.methods import to_planes
from crossnetpp.evaluation.scenes import Picture, as_image
from crossnetpp.networks.blocks import pad_planes
from crossnetpp.networks.fast import CrossNetFast
from crossnetpp.networks.presets import PRESETS, VARIANTS
from deploy.export.stored import weights_sha256
from jobs.bad_input import report_bad_input
from jobs.machine import write_result
from jobs.quality.flow_scenes import SEED, FlowScene, load_scenes

SCALES = (2, 4, 8)
LIMITS = (1, 3)  # pixels; a pixel with a larger error is an outlier

Errors = NDArray[np.float32]  # end-point errors in pixels


@dataclass(frozen=True)
class Method:
    """A function that finds one or more flows, and their names."""

    names: tuple[str, ...]
    """The names of the flows, in the order in which `find_flows` returns them."""
    find_flows: Callable[[Picture, Picture], tuple[Flow, ...]]
    """A function that maps LR (h x w x 3) and a reference (H x W x 3) to flows (H x W x 2)."""


def find_dis_flow(lr: Picture, reference: Picture) -> tuple[Flow, ...]:
    """Return a tuple of one flow (H x W x 2): the one that the classical method finds."""
    scale = reference.shape[0] // lr.shape[0]
    lr_up = upsample(as_image(lr), scale)
    unsharp = blur(as_image(reference), scale, None)
    return (estimate_flow(lr_up, unsharp, finest=scale.bit_length() - 2),)


class NetworkFlow:
    """A function that returns the final flow of a network, and its flow after stage 1."""

    def __init__(self, network: CrossNetFast) -> None:
        self._network = network

    @torch.inference_mode()
    def __call__(self, lr: Picture, reference: Picture) -> tuple[Flow, ...]:
        """Return the final flow and the flow after stage 1, both H x W x 2 in HR pixels."""
        height, width = reference.shape[:2]
        multiple = self._network.multiple
        planes = pad_planes(to_planes(lr), multiple * lr.shape[0] // height)
        output = self._network(planes, pad_planes(to_planes(reference), multiple))
        return tuple(
            flow[0, :, :height, :width].permute(1, 2, 0).numpy()
            for flow in (output.flow, output.flow_stage1)
        )


def name_models(models: Sequence[str], old: Path | None = None) -> dict[str, str]:
    """Return a map from names to models; a file's name is its stem, and `old` is named "old".

    Raises WeightsError if two models would have the same name.
    """
    named: dict[str, str] = {}
    for model in models:
        name = model if model in PRESETS or model in VARIANTS else Path(model).stem
        if name in named or name in ("dis", "old"):
            raise WeightsError(
                f"the model {model} would have the same name as another flow, {name}; rename the "
                "file"
            )
        named[name] = model
    return named if old is None else {**named, "old": str(old)}


def load_methods(named: dict[str, str]) -> list[Method]:
    """Return the classical method, and the methods for each model; `named` maps names to models.

    Raises WeightsError if a model cannot be loaded or is not a form of `fast`.
    """
    methods = [Method(("dis",), find_dis_flow)]
    for number, (name, model) in enumerate(named.items()):
        methods.append(Method((name, f"{name}:stage1"), NetworkFlow(load_fast(model))))
        if number == 0:
            methods += load_parts(name, model)
    return methods


def load_parts(name: str, model: str) -> list[Method]:
    """Return methods that use only some parts of a network, or none if it has a single stage."""
    searches, single = load_fast(model), load_fast(model)
    if searches.stage2 is None:
        return []
    searches.refinements = searches.settlings = searches.lr_steps = 0
    single.stage2 = None
    return [
        Method((f"{name}:stage2",), take_first(NetworkFlow(searches))),
        Method((f"{name}:no-stage2",), take_first(NetworkFlow(single))),
    ]


def take_first(
    find_flows: Callable[[Picture, Picture], tuple[Flow, ...]],
) -> Callable[[Picture, Picture], tuple[Flow, ...]]:
    """Return a function that returns only the first of the flows that `find_flows` finds."""
    return lambda lr, reference: find_flows(lr, reference)[:1]


def load_fast(model: str) -> CrossNetFast:
    """Return the network of `model`. Raises WeightsError if it is not a form of `fast`."""
    network = load_network(model)
    if not isinstance(network, CrossNetFast):
        raise WeightsError(
            f"{model} contains the published network, which is not a form of fast; try --models "
            "fast"
        )
    return network


def measure_errors(flow: Flow, truth: Flow) -> Errors:
    """Return the end-point errors (P) of `flow` at the P pixels where `truth` is not NaN.

    Both flows are H x W x 2, in pixels.
    """
    known = np.isfinite(truth).all(axis=-1)
    return np.asarray(np.linalg.norm(flow[known] - truth[known], axis=-1), np.float32)


def summarise_errors(errors: Errors) -> dict[str, float]:
    """Return the mean and the median in pixels, and the shares of outliers in percent."""
    return {
        "mean": round(float(errors.mean(dtype=np.float64)), 3),
        "median": round(float(np.median(errors)), 3),
        **{f"above_{limit}": round(100 * float((errors > limit).mean()), 2) for limit in LIMITS},
    }


def measure_scene(
    scene: FlowScene, methods: Iterable[Method], scales: Sequence[int] = SCALES
) -> Iterator[dict[str, Any]]:
    """Yield figures over all pixels of a scene's pairs, for each scale and each flow."""
    for scale in scales:
        errors: dict[str, list[Errors]] = {}
        for pair in scene.pairs:
            lr = degrade(pair.target, scale)
            for method in methods:
                flows = method.find_flows(lr, pair.reference)
                for name, flow in zip(method.names, flows, strict=True):
                    errors.setdefault(name, []).append(measure_errors(flow, pair.flow))
        for name, each in errors.items():
            figures = summarise_errors(np.concatenate(each))
            yield {"scene": scene.name, "scale": scale, "method": name, **figures}


def describe_scene(scene: FlowScene) -> dict[str, Any]:
    """Return a scene's name, its numbers of pairs and measured pixels, and its mean motion (px)."""
    known = [pair.flow[np.isfinite(pair.flow).all(axis=-1)] for pair in scene.pairs]
    motion = np.linalg.norm(np.concatenate(known), axis=-1)
    return {
        "scene": scene.name,
        "pairs": len(scene.pairs),
        "pixels": len(motion),
        "mean_motion": round(float(motion.mean(dtype=np.float64)), 1),
    }


def render_figures(rows: Iterable[dict[str, Any]]) -> str:
    """Return the figures as a Markdown table."""
    head = ["scene", "scale", "flow", "mean", "median"]
    head += [f"above {limit} px" for limit in LIMITS]
    return render_table(
        head,
        (
            [
                row["scene"],
                f"x{row['scale']}",
                row["method"],
                f"{row['mean']:.2f}",
                f"{row['median']:.2f}",
                *(f"{row[f'above_{limit}']:.1f} %" for limit in LIMITS),
            ]
            for row in rows
        ),
    )


@report_bad_input()
def main() -> None:
    """Measure all flows, and write the figures."""
    parser = argparse.ArgumentParser(
        prog="python -m jobs.quality.flow",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--data", type=Path, required=True, help="folder that contains the data")
    parser.add_argument(
        "--models",
        nargs="+",
        default=["fast", "fast-recorded"],
        metavar="MODEL",
        help="models to measure (default: fast fast-recorded)",
    )
    parser.add_argument("--old", type=Path, metavar="FILE", help="safetensors file of old weights")
    arguments = parser.parse_args()

    # one thread, because the results of DIS depend on the number of threads
    cv2.setNumThreads(1)
    # errors only, because OpenCV warns about unknown tags in TIFF files
    cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_ERROR)
    named = name_models(arguments.models, arguments.old)
    methods = load_methods(named)
    scenes = load_scenes(arguments.data)

    rows: list[dict[str, Any]] = []
    for scene in scenes:
        sys.stderr.write(f"{scene.name}\n")
        rows += measure_scene(scene, methods)
    sys.stdout.write(f"{render_figures(rows)}\n")
    settings = {
        "seed": SEED,
        "weights": {name: weights_sha256(model) for name, model in named.items()},
        "scenes": [describe_scene(scene) for scene in scenes],
    }
    write_result("flow", {**settings, "figures": rows})


if __name__ == "__main__":
    main()
