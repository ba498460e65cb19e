"""The preset `fast`: CrossNet++ for machines without a data-centre GPU.

Its parts are cheaper forms of the paper's parts. Stage 1 finds large motion from coarse to fine by
correlating features of a shared encoder, and warps the reference. Stage 2 encodes the warped
reference and finds the remaining motion. Each pixel can follow the stage that explains LR better.
A Lucas-Kanade step and a variational refinement, both with learned per-pixel weights, and a
refinement on the LR grid then bring the flow to sub-pixel accuracy. All flows are combined, so the
reference is resampled only once. For matching, LR_up is compared with the "unsharp" reference,
which is blurred to the sharpness of LR_up. The reference minus its unsharp version is its detail,
and

    SR = LR_up + confidence * warped detail + correction * (warped unsharp - LR_up) + residual.

Several references are aligned one by one, and weighed against each other before a single fusion.
Only the first one, which should be the nearest, is searched for motion twice.

A number at the end of a name is a divisor of the output size: `flow8`, for example, is at 1/8.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn

from crossnetpp.networks.arbitration import arbitrate_flows
from crossnetpp.networks.fast_alignment import Balance, Encoder, Refinement, Stage1, Stage2
from crossnetpp.networks.fast_fusion import Candidate, Fusion, Votes, mix_candidates
from crossnetpp.networks.lr_refinement import reduce_flow, simulate_with_gradient, solve_lr_step
from crossnetpp.networks.lucas_kanade import rgb_to_luma
from crossnetpp.networks.presets import FastConfig
from crossnetpp.networks.resample import blur_like_lr, reduce_antialiased, upsample_bicubic
from crossnetpp.networks.variational import SHIFT_SOLVER, Solver, solve_variational_step
from crossnetpp.networks.warp import upscale_flow, warp

# Side of the square in which the errors of flows are compared, in LR pixels
ARBITRATED_LR_PIXELS = 8

# At larger scales, the flow varies too much within an LR pixel for a refinement on the LR grid
LARGEST_LR_STEP_SCALE = 4


class FastOutput(NamedTuple):
    """Output of CrossNetFast; every image is N x 3 x H x W, not clamped to 0..1.

    With several references, `warped_stage1`, `flow_stage1` and `flow` belong to the first one.
    """

    sr: Tensor
    lr_up: Tensor
    """LR upsampled bicubically."""
    warped: Tensor
    """Reference warped by the final flow; for several references, their weighted mean."""
    warped_stage1: Tensor
    """Unsharp reference warped by the flow of stage 1."""
    flow_stage1: Tensor
    """Flow of stage 1, N x 2 x H x W pixels."""
    flow: Tensor
    """Final flow, N x 2 x H x W pixels."""
    confidence: Tensor
    """N x 1 x H x W in 0..1: share of the reference's detail (with `chroma`, of the detail's luma)
    that is borrowed."""


class Prepared(NamedTuple):
    """What is computed from the reference alone, shared by all frames that borrow from it."""

    ref: Tensor
    """N x 3 x H x W in 0..1."""
    luma: Tensor
    """Luma of `ref`, N x 1 x H x W."""
    unsharp: Tensor
    """`ref` blurred to the sharpness of LR_up, N x 3 x H x W."""
    features: tuple[Tensor, ...]
    """Features of `unsharp` at 1/4, 1/8, 1/16 and 1/32 size."""
    scale: int
    """Ratio of output size to LR size."""
    taps: Tensor | None = None
    """The kernel that reduced HR to LR, as in `taps.py`; None means antialiased bicubic."""


class CrossNetFast(nn.Module):
    """A network that enhances each LR frame with one or more references.

    The same weights are used at x2, x4 and x8.
    """

    multiple = 32

    def __init__(self, config: FastConfig | None = None) -> None:
        super().__init__()
        # Exporters replace the solver with one that suits their compilers
        self.solver: Solver = SHIFT_SOLVER
        self.config = config = config or FastConfig()
        self.encoder = Encoder()
        self.stage1 = Stage1()
        self.stage2 = Stage2() if config.stages == 2 else None
        self.refinement = Refinement(config.windows)
        self.refinements = config.refinements
        self.balance = Balance()
        self.settlings = config.settlings
        self.lr_steps = config.lr_steps
        self.votes = Votes(config.votes)
        self.fusion = Fusion(config.width, config.blocks, chroma=config.chroma)

    def prepare(self, ref: Tensor, scale: int, taps: Tensor | None = None) -> Prepared:
        """Return what can be computed from the reference `ref` (N x 3 x H x W in 0..1) alone.

        H and W must be multiples of 32. `taps` is the kernel that reduced HR to LR, laid out as in
        `taps.py`; None means antialiased bicubic downscaling.
        """
        unsharp = blur_like_lr(ref, scale, taps)
        return Prepared(ref, rgb_to_luma(ref), unsharp, self.encoder(unsharp), scale, taps)

    def enhance(self, lr: Tensor, *prepared: Prepared, weights: Tensor | None = None) -> FastOutput:
        """Enhance the frames `lr` (N x 3 x h x w in 0..1) with K prepared references each.

        `weights` (N x K, 0 or more) are the references' prior weights, which apply before the
        pictures are compared: 1 for the nearest reference, less for farther ones, 0 for a missing
        one. None means 1 for all.
        """
        found = self._enhance(lr, prepared, weights)
        first = found.first
        flow1 = upscale_flow(first.flow8, 8)
        warped1 = warp(prepared[0].unsharp, flow1) if first.warped1 is None else first.warped1
        return FastOutput(
            found.sr, found.lr_up, found.warped, warped1, flow1, first.flow, found.confidence
        )

    def compute_sr(self, lr: Tensor, *prepared: Prepared, weights: Tensor | None = None) -> Tensor:
        """Return only the `sr` that `enhance` would return, which takes less time."""
        return self._enhance(lr, prepared, weights).sr

    def _enhance(
        self, lr: Tensor, prepared: tuple[Prepared, ...], weights: Tensor | None
    ) -> _Enhanced:
        """Return the enhanced frames, and how the first references were aligned."""
        scale = prepared[0].scale
        lr_up = upsample_bicubic(lr, scale)
        f_lr = self.encoder(lr_up)

        lr_luma = rgb_to_luma(lr)
        # The nearest reference counts most, so only its motion is searched for twice
        aligned = [
            self._align(lr_luma, lr_up, f_lr, each, search_twice=k == 0)
            for k, each in enumerate(prepared)
        ]
        candidates = [each.candidate for each in aligned]
        chosen = candidates[0]
        if len(candidates) > 1:
            shares = self.votes(f_lr[0], candidates, weights, scale)
            chosen = mix_candidates(candidates, shares)

        maps = self.fusion(lr_up, chosen.difference, chosen.detail)
        sr = maps.apply(lr_up, chosen)
        return _Enhanced(sr, lr_up, chosen.warped, maps.confidence[:, :1], aligned[0])

    def _align(
        self,
        lr_luma: Tensor,
        lr_up: Tensor,
        f_lr: tuple[Tensor, ...],
        prepared: Prepared,
        *,
        search_twice: bool,
    ) -> _Aligned:
        """Return a prepared reference aligned with the LR frames, and the flows that align it.

        The second search is left out if `search_twice` is False, or if the network has none.
        """
        ref, ref_luma, unsharp, f_ref, scale, taps = prepared
        target = _upsample_to_half_size(lr_luma, scale)
        with torch.no_grad():
            reduced = reduce_antialiased(ref_luma, scale, taps)

        # Large motion, then residual motion
        flow8 = self.stage1(f_lr, f_ref)
        warped1 = None
        stage2 = self.stage2 if search_twice else None
        if stage2 is None:
            flow2 = upscale_flow(flow8, 4)
        else:
            warped1 = warp(unsharp, upscale_flow(flow8, 8))
            flow2 = stage2(self.encoder, f_lr, warped1, flow8)
        if self.config.arbitration:
            flows = (flow2,) if stage2 is None else (upscale_flow(flow8, 4), flow2)
            reduced2 = _upsample_to_half_size(reduced, scale)
            window = ARBITRATED_LR_PIXELS * scale // 2 + 1  # odd, in pixels at half the output size
            flow2 = arbitrate_flows(target, reduced2, flows, window)

        # Sub-pixel refinement
        for _ in range(self.refinements):
            with torch.no_grad():
                simulated = _simulate_lr(ref_luma, upscale_flow(flow2, 2), scale, taps)
                warped = _upsample_to_half_size(simulated, scale)
            flow2 = flow2 + self.refinement(f_lr[0], target, warped)
        flow = self._refine(f_lr[0], lr_luma, flow2, reduced, prepared)

        # Bicubic, because a bilinear half-pixel shift would remove the detail to be borrowed
        warped = warp(ref, flow, mode="bicubic")
        warped_unsharp = blur_like_lr(warped, scale, taps)
        candidate = Candidate(warped - warped_unsharp, warped_unsharp - lr_up, warped)
        return _Aligned(candidate, flow8, warped1, flow)

    def _refine(
        self, f4: Tensor, lr_luma: Tensor, flow2: Tensor, reduced: Tensor, prepared: Prepared
    ) -> Tensor:
        """Return the final flow (N x 2 x H x W), refined from `flow2` (N x 2 x H/2 x W/2).

        `f4` contains the features of LR_up at 1/4 size, and `reduced` is the luma of the reference
        at the size of LR.

        The variational refinement works at twice the size of LR, because LR has no finer detail,
        but at no more than half the output size.
        """
        ref_luma, scale, taps = prepared.luma, prepared.scale, prepared.taps
        to_output = max(2, scale // 2)
        flow = reduce_flow(flow2, to_output // 2)
        target = _upsample_to_refinement(lr_luma, scale)
        weights = None
        with torch.no_grad():
            unsharp = _upsample_to_refinement(reduced, scale)

        for turn in range(self.settlings):
            with torch.no_grad():
                if turn + 1 < self.settlings:
                    warped = warp(unsharp, flow, mode="bicubic")
                else:
                    # The last iteration reduces to the LR grid, so that both have the same aliasing
                    warped = _simulate_lr(ref_luma, upscale_flow(flow, to_output), scale, taps)
                    warped = _upsample_to_refinement(warped, scale)
            if weights is None:
                weights = self.balance(f4, target, warped, flow, 4 // to_output)
            flow = flow + solve_variational_step(target, warped, flow, weights, self.solver)

        for _ in range(self.lr_steps if scale <= LARGEST_LR_STEP_SCALE else 0):
            flow = self._step_on_lr_grid(lr_luma, flow, prepared)
        return upscale_flow(flow, to_output)

    def _step_on_lr_grid(self, lr_luma: Tensor, flow: Tensor, prepared: Prepared) -> Tensor:
        """Return `flow` (N x 2, as large as LR or twice as large) after a step on the LR grid."""
        scale = prepared.scale
        to_lr = flow.shape[-1] // lr_luma.shape[-1]
        flow_lr = reduce_flow(flow, to_lr)
        with torch.no_grad():
            full = upscale_flow(flow, scale // to_lr)
            simulated = simulate_with_gradient(
                prepared.luma, full, scale, prepared.taps, self.solver
            )

        smoothing = self.config.lr_smoothing
        step = solve_lr_step(lr_luma, simulated, flow_lr, smoothing, self.solver)
        return flow + (upscale_flow(step, to_lr) if to_lr > 1 else step)

    def forward(
        self,
        lr: Tensor,
        *refs: Tensor,
        weights: Tensor | None = None,
        taps: Tensor | None = None,
    ) -> FastOutput:
        """Enhance `lr` (N x 3 x h x w) with K references (N x 3 x H x W), all in 0..1.

        H and W must be multiples of 32. For `weights` see `enhance`, and for `taps` see `prepare`.
        """
        scale = refs[0].shape[-1] // lr.shape[-1]
        prepared = (self.prepare(ref, scale, taps) for ref in refs)
        return self.enhance(lr, *prepared, weights=weights)


class _Aligned(NamedTuple):
    """A reference aligned with a frame, and the flows that align it."""

    candidate: Candidate
    flow8: Tensor
    """Flow of stage 1, N x 2 x H/8 x W/8 in pixels at that resolution."""
    warped1: Tensor | None
    """Unsharp reference warped by the flow of stage 1; None without a second stage."""
    flow: Tensor
    """Final flow, N x 2 x H x W pixels."""


class _Enhanced(NamedTuple):
    """Enhanced frames; the first four fields have the same meaning as in FastOutput."""

    sr: Tensor
    lr_up: Tensor
    warped: Tensor
    confidence: Tensor
    first: _Aligned
    """The frames' first references, aligned."""


def _simulate_lr(ref_luma: Tensor, flow: Tensor, scale: int, taps: Tensor | None) -> Tensor:
    """Return the LR luma (N x 1 x h x w) of the reference warped by `flow`."""
    return reduce_antialiased(warp(ref_luma, flow, mode="bicubic"), scale, taps)


def _upsample_to_refinement(lr: Tensor, scale: int) -> Tensor:
    """Return `lr` (N x 1 x h x w) at twice its size, or unchanged if `scale` is 2."""
    return upsample_bicubic(lr, 2) if scale > 2 else lr


def _upsample_to_half_size(lr: Tensor, scale: int) -> Tensor:
    """Return `lr` (N x C x h x w) at half the output size."""
    return lr if scale == 2 else upsample_bicubic(lr, scale // 2)
