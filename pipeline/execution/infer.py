"""The infer stage: run the network on a batch of decoded frames and their references."""

from __future__ import annotations

from collections.abc import Callable

import cv2
import numpy as np

from deploy.protocol import Engine
from pipeline.errors import StageError
from pipeline.execution.fusion import fuse_results
from pipeline.execution.guard import remove_noise
from pipeline.execution.task import Batch, Enhanced
from pipeline.pairing.upsample import upsample
from pipeline.pixels import Pixels, as_pixels
from pipeline.schema.plan import Plan

Enhance = Callable[[Plan, Engine, Batch], Enhanced]


def enhance_batch(plan: Plan, engine: Engine, batch: Batch) -> Enhanced:
    """Run the network on the paired frames of a batch; others are given or up-sampled plainly."""
    frames = dict(batch.given)

    if batch.ref is not None:
        lr = batch.lr if len(batch.paired) == len(batch.pts) else batch.lr[batch.paired]
        frames |= zip(batch.paired, _run_engine(engine, lr, batch.ref), strict=True)
    frames |= _fuse_references(engine, batch, frames)

    for i, noise in batch.noise.items():
        frames[i] = remove_noise(frames[i], upsample(batch.lr[i], plan.height, plan.width), noise)

    for i in range(len(batch.pts)):
        if i not in frames:
            frames[i] = upsample(batch.lr[i], plan.height, plan.width)

    for i, alpha in batch.alpha.items():
        large = cv2.resize(alpha, (plan.width, plan.height), interpolation=cv2.INTER_CUBIC)
        frames[i] = as_pixels(np.dstack([frames[i], large]))

    return Enhanced(
        task=batch.task,
        pts=batch.pts,
        frames=[frames[i] for i in range(len(batch.pts))],
        concealed=batch.concealed,
        last=batch.last,
    )


def _run_engine(engine: Engine, lr: Pixels, ref: Pixels) -> Pixels:
    """Return the engine's SR frames; raise StageError if their shape or data type is wrong."""
    sr = engine.enhance(lr, ref)
    if sr.shape != ref.shape or sr.dtype != ref.dtype:
        raise StageError(
            f"engine {engine.info.name} returned {sr.dtype} {sr.shape}, "
            f"expected {ref.dtype} {ref.shape}"
        )
    return sr


def _fuse_references(engine: Engine, batch: Batch, frames: dict[int, Pixels]) -> dict[int, Pixels]:
    """Return the frames with several references, each fused from one result per reference.

    `frames` holds the results for the first reference of each frame.
    """
    results = {i: [frames[i]] for i in batch.also}

    # each call of the engine handles the n-th further reference of all frames that have one
    deepest = max((len(references) for references in batch.also.values()), default=0)
    for depth in range(deepest):
        deep = [i for i, references in batch.also.items() if len(references) > depth]
        references = as_pixels(np.stack([batch.also[i][depth] for i in deep]))
        for i, sr in zip(deep, _run_engine(engine, batch.lr[deep], references), strict=True):
            results[i].append(sr)

    return {i: fuse_results(batch.lr[i], several, batch.steps[i]) for i, several in results.items()}
