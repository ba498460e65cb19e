"""Measure a result against its ground truth, with frames matched by presentation time."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import numpy as np
from pydantic import Field

from pipeline.errors import PairingError
from pipeline.measuring.bicubic import open_upsampling
from pipeline.measuring.means import BicubicQuality, mean_bicubic, mean_psnr, mean_ssim
from pipeline.media.pictures.numbered import check_comparable
from pipeline.media.read.frames import Frame, read_frames
from pipeline.media.read.probe import probe, scan
from pipeline.pixels import match_deeper
from pipeline.progress import SILENT, Reporter
from pipeline.schema.clip import Clip, Stills, VideoClip
from pipeline.schema.model import Model
from pipeline.schema.plan import Plan

TOLERANCE = Fraction(1, 1000)  # seconds; Matroska rounds times to milliseconds


class WorstFrame(Model):
    """The frame with the lowest PSNR (dB)."""

    frame: int
    """Number of the frame in the result, from 0."""
    psnr: float


class Evaluation(Model):
    """Means over the compared frames: PSNR in dB, and SSIM with data range 1.

    `psnr` and `ssim` are for RGB, `psnr_y` and `ssim_y` for BT.601 luma.
    """

    frames: int
    psnr: float
    ssim: float
    psnr_y: float
    ssim_y: float
    worst: WorstFrame
    vmaf: float | None = None
    """Mean VMAF (0 to 100), or None unless --vmaf is set."""
    left_out: int = Field(default=0, exclude=True)
    """Number of frames excluded from the means, because the reference provides them."""
    bicubic: BicubicQuality | None = Field(default=None, exclude=True)
    """Quality of bicubic up-sampling; None without a plan, or if its input cannot be read."""


@dataclass(frozen=True)
class FrameQuality:
    """The quality of one frame of the result; PSNR is in dB."""

    frame: int
    pts: int
    psnr: float
    ssim: float
    psnr_y: float
    ssim_y: float
    bicubic: BicubicQuality | None = None
    """The quality of bicubic up-sampling; None without a plan, or if its input cannot be read."""


def _clock(clip: Clip, other: Clip) -> Callable[[Frame], Fraction]:
    """Return a function that maps a frame of `clip` to its time in seconds.

    Stills that are compared with a video have their own times, if known, or else times at the
    video's frame rate.
    """
    if isinstance(clip, Stills) and isinstance(other, VideoClip):
        if times := clip.times:
            return lambda frame: Fraction(times[frame.pts])
        rate = other.frame_rate or clip.frame_rate or Fraction(25)
        return lambda frame: frame.pts / rate
    return lambda frame: frame.pts * clip.time_base


@dataclass(frozen=True)
class FramePair:
    """A frame of the result and its ground truth, each uint8 or uint16 H x W x 3 RGB."""

    frame: int
    pts: int
    made: np.ndarray
    truth: np.ndarray


def read_pairs(sr: str, ground_truth: str) -> Iterator[FramePair]:
    """Yield each frame of `sr` with the frame of `ground_truth` at the same time.

    The result may cover only a part of the ground truth (--start, --end). Raises PairingError if
    the sizes differ or a frame of the result has no partner, and InputError if the result is a
    folder of EXR or rotated pictures, which cannot be compared.
    """
    check_comparable(Path(sr), "an evaluation")
    result = probe(sr)
    truth = probe(ground_truth)
    if (result.width, result.height) != (truth.width, truth.height):
        raise PairingError(
            f"the result is {result.width}x{result.height}, but the ground truth is "
            f"{truth.width}x{truth.height}; expected the same size; "
            "pass the original from which the input was made"
        )

    result_time = _clock(result, truth)
    truth_time = _clock(truth, result)

    partners = read_frames(truth)
    partner, following = next(partners, None), next(partners, None)
    before: Fraction | None = None
    for number, frame in enumerate(read_frames(result)):
        at = result_time(frame)

        # take the nearest frame; if two have the same time, pair the second with the second one of
        # the result at that time
        while partner is not None and following is not None:
            farther = abs(truth_time(following) - at) - abs(truth_time(partner) - at)
            if farther > 0 or (farther == 0 and at != before):
                break
            partner, following = following, next(partners, None)
            if farther == 0:
                break
        before = at

        if partner is None or abs(truth_time(partner) - at) > TOLERANCE:
            raise PairingError(
                f"{ground_truth} has no frame at {float(at):.3f} s; expected one for every "
                f"frame of {sr}; pass an original with the same timestamps"
            )
        yield FramePair(number, frame.pts, frame.rgb, partner.rgb)


def measure_frames(
    sr: str,
    ground_truth: str,
    *,
    skip: frozenset[int] = frozenset(),
    plan: Plan | None = None,
) -> Iterator[FrameQuality]:
    """Yield the quality of each frame of `sr` whose number is not in `skip`.

    With the `plan` of `sr`, the quality of bicubic up-sampling is included if the input can be
    read. Raises the same errors as `read_pairs`.
    """
    from crossnetpp.metrics import measure_quality  # imports torch

    with open_upsampling(plan) as upsampling:
        for pair in read_pairs(sr, ground_truth):
            if pair.frame in skip:
                continue

            measured = measure_quality(*match_deeper(pair.made, pair.truth))
            enlarged = upsampling.get(pair.frame)
            bicubic = None
            if enlarged is not None:
                plain = measure_quality(*match_deeper(enlarged, pair.truth))
                bicubic = BicubicQuality(psnr=plain.psnr, ssim=plain.ssim)
            yield FrameQuality(pair.frame, pair.pts, *measured, bicubic=bicubic)


def measure_vmaf(
    sr: str | Path,
    ground_truth: str | Path,
    *,
    skip: frozenset[int] = frozenset(),
    progress: Reporter = SILENT,
) -> float:
    """Return the mean VMAF of the frames of `sr` whose numbers are not in `skip`.

    VMAF takes motion into account, so the frames in `skip` are measured, too, but not averaged.
    Raises InputError if no program that measures VMAF is found or the frames are too small for it,
    StageError if the program fails, and the same errors as `read_pairs`.
    """
    from pipeline.measuring import vmaf

    clip = probe(str(sr))
    matrix = clip.colour.used_matrix
    with vmaf.Vmaf(vmaf.require_program(), clip.height, clip.width, matrix) as running:
        with progress.step("measuring VMAF", len(scan(clip, distinct=False).pts)) as count:
            for done, pair in enumerate(read_pairs(str(sr), str(ground_truth)), start=1):
                running.add(pair.made, pair.truth)
                count(done)
        scores = running.scores()

    counted = [score for number, score in enumerate(scores) if number not in skip]
    return round(float(np.mean(counted)), 3)


def summarise_frames(frames: list[FrameQuality], *, left_out: int = 0) -> Evaluation:
    """Return the means and the worst frame. Raises PairingError if the list is empty."""
    if not frames:
        raise PairingError(
            "there is no frame to compare, because the reference provides all of them; "
            "leave --plan out, or pass a longer result"
        )

    worst = min(frames, key=lambda f: f.psnr)
    return Evaluation(
        frames=len(frames),
        psnr=mean_psnr([f.psnr for f in frames]),
        ssim=mean_ssim([f.ssim for f in frames]),
        psnr_y=mean_psnr([f.psnr_y for f in frames]),
        ssim_y=mean_ssim([f.ssim_y for f in frames]),
        worst=WorstFrame(frame=worst.frame, psnr=round(worst.psnr, 4)),
        left_out=left_out,
        bicubic=mean_bicubic([f.bicubic for f in frames]),
    )


def evaluate(
    sr: str | Path,
    ground_truth: str | Path,
    *,
    skip: frozenset[int] = frozenset(),
    plan: Plan | None = None,
    progress: Reporter = SILENT,
) -> Evaluation:
    """Return the quality of the recording at `sr` against the one at `ground_truth`.

    Frames whose numbers are in `skip` are excluded. With the `plan` of `sr`, bicubic up-sampling is
    also measured if the input can be read. Raises PairingError if no frame is left, and the same
    errors as `read_pairs`.
    """
    check_comparable(Path(sr), "an evaluation")
    total = len(scan(probe(str(sr)), distinct=False).pts) - len(skip)
    frames = []
    with progress.step("measuring", total) as count:
        for measured in measure_frames(str(sr), str(ground_truth), skip=skip, plan=plan):
            frames.append(measured)
            count(len(frames))
    return summarise_frames(frames, left_out=len(skip))
