"""The infer stage: run the network on a batch of decoded frames and their references."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import cv2
import numpy as np

from crossnetpp.networks.taps import Taps
from deploy.mirroring import enhance_mirrored
from deploy.protocol import Engine, Weights, run_engine
from pipeline.errors import StageError
from pipeline.execution.consistency import find_lr_error, keep_confirmed
from pipeline.execution.flow_mix import has_coarse_chroma, mix_frame
from pipeline.execution.fusion import fuse_results
from pipeline.execution.guard import remove_ghosts, remove_noise
from pipeline.execution.resize import fit_result
from pipeline.execution.task import Batch, Enhanced, ReferenceGroup
from pipeline.pairing.capture import make_taps
from pipeline.pairing.upsample import upsample
from pipeline.pixels import Pixels, as_pixels
from pipeline.schema.clip import LightField
from pipeline.schema.plan import Plan

Enhance = Callable[[Plan, Engine, Batch], Enhanced]


def enhance_batch(plan: Plan, engine: Engine, batch: Batch) -> Enhanced:
    """Return a batch's output frames, which have the size of the output.

    Frames with references are enhanced, frames that the reference provides are kept, and all others
    are up-sampled bicubically. Frames that were decoded as enlarged planes are returned unchanged.

    Ghosts, noise and unconfirmed detail are removed at the network's scale, before the frames are
    resized. At that scale, an LR pixel covers a whole number of pixels, so a frame can be reduced
    exactly and compared with the LR frame. At the output's scale, an LR pixel may cover 1.5 pixels,
    or only one, which leaves nothing to compare. Only detail is resized, so a frame without
    borrowed detail equals the bicubic up-sampling of its LR frame at every size.
    """
    if plan.planes:
        return Enhanced(batch.task, batch.pts, list(batch.lr), batch.concealed, batch.last)
    frames = dict(batch.given)
    kernel = make_taps(plan.capture)
    error = find_lr_error(plan)

    for group in batch.groups:
        lr = batch.lr if len(group.frames) == len(batch.pts) else batch.lr[group.frames]
        if isinstance(plan.input, LightField):
            frames |= zip(group.frames, _fuse_views(plan, engine, lr, group, kernel), strict=True)
        else:
            sr = _run_engine(plan, engine, lr, group.refs, group.weights, kernel)
            frames |= zip(group.frames, sr, strict=True)
        if plan.mixes_flow:
            for number, i in enumerate(group.frames):
                refs = [ref[number] for ref in group.refs]
                frames[i] = mix_frame(
                    *(frames[i], lr[number], refs, group.weights[number], kernel),
                    luma_only=has_coarse_chroma(plan.input),
                    again=plan.averages_mirrored,
                )
        if error is not None:
            frames |= {
                i: keep_confirmed(frames[i], batch.lr[i], kernel, error) for i in group.frames
            }
        frames |= {i: remove_ghosts(frames[i], batch.lr[i]) for i in group.frames}

    for i, noise in batch.noise.items():
        frames[i] = remove_noise(frames[i], upsample(batch.lr[i], *plan.network_size), noise)

    if plan.is_resized:
        size = plan.height, plan.width
        frames = {i: fit_result(frame, batch.lr[i], *size) for i, frame in frames.items()}

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


def _fuse_views(
    plan: Plan, engine: Engine, lr: Pixels, group: ReferenceGroup, kernel: Taps | None
) -> Iterator[Pixels]:
    """Yield the SR frames of a light field's group, each fused from one result per reference.

    From each viewpoint, other parts of the scene are hidden, so the network uses each reference
    alone, and the results are fused. For a clip, the network weighs the references itself.
    """
    results = [_run_engine(plan, engine, lr, [ref], None, kernel) for ref in group.refs]
    for number, weights in enumerate(group.weights):
        yield fuse_results(lr[number], [result[number] for result in results], weights)


def _run_engine(
    plan: Plan,
    engine: Engine,
    lr: Pixels,
    refs: list[Pixels],
    weights: Weights | None,
    kernel: Taps | None,
) -> Pixels:
    """Return the engine's SR frames (M x H x W x 3).

    Raises StageError if they differ from the references in shape or data type.
    """
    run = enhance_mirrored if plan.averages_mirrored else run_engine
    sr = run(engine, lr, refs, weights, kernel)
    if sr.shape != refs[0].shape or sr.dtype != refs[0].dtype:
        raise StageError(
            f"engine {engine.info.name} returned {sr.dtype} {sr.shape}, "
            f"expected {refs[0].dtype} {refs[0].shape}; try another --engine"
        )
    return sr
