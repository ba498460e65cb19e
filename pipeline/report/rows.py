"""Measures the frames of a finished run against its input, references and ground truth."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple

import numpy as np

from pipeline.measuring.vmaf import LEAST_SIDE, Vmaf, find_program
from pipeline.pairing.fit import prepare_reference
from pipeline.pairing.given import list_given_frames
from pipeline.pairing.upsample import upsample
from pipeline.pixels import Picture, to_8_bit
from pipeline.recording import Source, open_frames
from pipeline.report import without_truth
from pipeline.report.matching import match_output, match_truth, open_matching
from pipeline.schema.clip import LightField, Recording
from pipeline.schema.plan import Plan
from pipeline.schema.reference_map import ReferenceChoice
from pipeline.schema.settings import GridSettings

MOST_FRAMES = 240  # frames that are measured; those of longer clips are spread evenly
MOST_PAIRS = 12  # frames measured by optical flow, which is slower than all other figures


@dataclass(frozen=True)
class Row:
    """Figures of one frame, in dB, 8-bit levels and seconds; None where not measured."""

    number: int
    seconds: float
    choice: ReferenceChoice
    borrowed: float
    """Mean difference from plain up-sampling, 8-bit levels."""
    consistency: float
    """PSNR in dB of the result, reduced again, against the input."""
    psnr: float | None = None
    ssim: float | None = None
    bicubic_psnr: float | None = None
    bicubic_ssim: float | None = None
    vmaf: float | None = None
    bicubic_vmaf: float | None = None
    agreement: float | None = None
    bicubic_agreement: float | None = None
    temporal: float | None = None
    bicubic_temporal: float | None = None

    @property
    def name(self) -> str:
        """Return the name of the frame or view in the page."""
        view = self.choice.views
        if view is None:
            return f"Frame {self.number}"
        later = f", moment {view.moment}" if view.moment else ""
        return f"View ({view.row}, {view.col}){later}"

    @property
    def figure(self) -> float:
        """Return the figure that ranks frames: PSNR, or consistency without a ground truth."""
        return self.consistency if self.psnr is None else self.psnr


@dataclass(frozen=True)
class FramePictures:
    """One frame in all versions: uint8 H x W x 3 RGB, and the input h x w x 3."""

    lr: Picture
    bicubic: Picture
    result: Picture
    reference: Picture | None
    original: Picture | None


class FinishedRun:
    """The open recordings of a finished run: input, reference, output and ground truth.

    A context manager, which closes them.
    """

    def __init__(
        self,
        plan: Plan,
        output: Path,
        ground_truth: str | None,
        grid_settings: GridSettings | None = None,
    ) -> None:
        self.plan = plan
        self.result = open_matching(plan, str(output))
        self._times = match_output(plan, self.result, output)
        self.truth = open_matching(plan, ground_truth, grid_settings) if ground_truth else None
        self._partners = (
            match_truth(plan, self.result, self._times, self.truth) if self.truth else None
        )

        self._stack = ExitStack()
        self._lr = self._open(plan.input)
        self._reference = self._open(plan.reference.clip)
        # the second pass of a light field deletes the first one, its reference
        reference = plan.reference.clip
        self._has_reference = not isinstance(reference, LightField) or Path(reference.path).exists()
        self._sr = self._open(self.result)
        self._original = self._open(self.truth) if self.truth else None

    def _open(self, clip: Recording) -> Source:
        return self._stack.enter_context(closing(open_frames(clip, cache=2)))

    def __enter__(self) -> FinishedRun:
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def read_pictures(self, number: int, *, reference: bool = True) -> FramePictures:
        """Return one frame in all versions, as 8-bit pixels."""
        choice = self.plan.reference_map[number]
        lr = self._lr.get(choice.pts)

        fitted = None
        if reference and self._has_reference and choice.ref_pts is not None:
            placed = self.plan.reference
            fitted = prepare_reference(
                self._reference.get(choice.ref_pts),
                lr,
                self.plan.height,
                self.plan.width,
                affine=placed.affine,
                match_colour=placed.match_colour,
            )

        original = None
        if self._original is not None and self._partners is not None:
            original = self._original.get(self._partners[number])

        return FramePictures(
            lr=to_8_bit(lr),
            bicubic=to_8_bit(upsample(lr, self.plan.height, self.plan.width)),
            result=to_8_bit(self._sr.get(self._times[number])),
            reference=None if fitted is None else to_8_bit(fitted),
            original=None if original is None else to_8_bit(original),
        )


class _VmafPair(NamedTuple):
    """Running measurements of the result and of bicubic up-sampling."""

    result: Vmaf
    bicubic: Vmaf


def spread_evenly(total: int, most: int) -> list[int]:
    """Return at most `most` of the numbers 0..total-1, evenly spread, with both ends."""
    if total <= most:
        return list(range(total))
    return sorted({round(i * (total - 1) / (most - 1)) for i in range(most)})


def measure_rows(
    finished: FinishedRun, report: Callable[[int, int], None] = lambda done, total: None
) -> list[Row]:
    """Return the figures of the measured frames; calls `report(done, total)` after each."""
    numbers = spread_evenly(len(finished.plan.reference_map), MOST_FRAMES)
    closely = {numbers[i] for i in spread_evenly(len(numbers), MOST_PAIRS)}

    rows = []
    with _start_vmaf(finished, numbers) as vmaf:
        for row in _iterate_rows(finished, numbers, closely, vmaf):
            rows.append(row)
            report(len(rows), len(numbers))
        if vmaf is None:
            return rows
        result, bicubic = (each.scores() for each in vmaf)

    return [
        replace(row, vmaf=ours, bicubic_vmaf=plain)
        for row, ours, plain in zip(rows, result, bicubic, strict=True)
    ]


@contextmanager
def _start_vmaf(finished: FinishedRun, numbers: list[int]) -> Iterator[_VmafPair | None]:
    """Yield running measurements of VMAF, or None if it cannot be measured.

    VMAF includes motion, so it needs every frame of a clip.
    """
    plan = finished.plan
    ffmpeg = find_program() if finished.truth is not None else None
    whole = len(numbers) == len(plan.reference_map) and not isinstance(plan.input, LightField)
    if ffmpeg is None or not whole or min(plan.height, plan.width) < LEAST_SIDE:
        yield None
        return

    settings = (ffmpeg, plan.height, plan.width, finished.result.colour.used_matrix)
    with Vmaf(*settings) as result, Vmaf(*settings) as bicubic:
        yield _VmafPair(result, bicubic)


def _iterate_rows(
    finished: FinishedRun, numbers: list[int], closely: set[int], vmaf: _VmafPair | None
) -> Iterator[Row]:
    """Yield the figures of each frame, those of `closely` with optical flow."""
    last_number: int | None = None
    last: FramePictures | None = None
    for number in numbers:
        before = None
        # the previous view of a light field is not the previous moment
        if number in closely and number > 0 and not isinstance(finished.plan.input, LightField):
            before = last
            if last_number != number - 1:
                before = finished.read_pictures(number - 1, reference=False)

        pictures = finished.read_pictures(number, reference=number in closely)
        if vmaf is not None and pictures.original is not None:
            vmaf.result.add(pictures.result, pictures.original)
            vmaf.bicubic.add(pictures.bicubic, pictures.original)
        yield _measure_row(finished, number, pictures, before)

        last_number = number
        last = pictures


def _measure_row(
    finished: FinishedRun, number: int, pictures: FramePictures, before: FramePictures | None
) -> Row:
    """Return the figures of one frame; `before` is the frame before it, None to skip motion."""
    plan = finished.plan
    choice = plan.reference_map[number]

    figures: dict[str, float | None] = {}
    if pictures.original is not None:
        figures |= _measure_against_truth(pictures, pictures.original)
    if pictures.reference is not None:
        figures |= _measure_agreement(pictures, pictures.reference)
    if before is not None and choice.pts not in plan.cuts:
        figures |= _measure_temporal_errors(before, pictures)

    return Row(
        number=number,
        seconds=plan.input.seconds(choice.pts),
        choice=choice,
        borrowed=float(without_truth.measure_borrowing(pictures.result, pictures.bicubic).mean()),
        consistency=without_truth.measure_consistency(pictures.result, pictures.lr, plan.scale),
        **figures,
    )


def _measure_against_truth(pictures: FramePictures, original: Picture) -> dict[str, float | None]:
    from crossnetpp.metrics import measure_quality  # imports torch

    result = measure_quality(pictures.result, original)
    bicubic = measure_quality(pictures.bicubic, original)
    return {
        "psnr": result.psnr,
        "ssim": result.ssim,
        "bicubic_psnr": bicubic.psnr,
        "bicubic_ssim": bicubic.ssim,
    }


def _measure_agreement(pictures: FramePictures, reference: Picture) -> dict[str, float | None]:
    warped = without_truth.warp_reference(reference, pictures.bicubic)
    return {
        "agreement": without_truth.measure_agreement(pictures.result, warped),
        "bicubic_agreement": without_truth.measure_agreement(pictures.bicubic, warped),
    }


def _measure_temporal_errors(before: FramePictures, now: FramePictures) -> dict[str, float | None]:
    motion = without_truth.estimate_input_motion(before.bicubic, now.bicubic)
    if not motion.seen.any():
        return {}
    return {
        "temporal": without_truth.measure_temporal_error(before.result, now.result, motion),
        "bicubic_temporal": without_truth.measure_temporal_error(
            before.bicubic, now.bicubic, motion
        ),
    }


def mean_figure(rows: list[Row], name: str) -> float | None:
    """Return the mean of one figure over the rows that have it, or None if no row has it."""
    found = [value for row in rows if (value := getattr(row, name)) is not None]
    return float(np.mean(found)) if found else None


def drop_given(rows: list[Row], plan: Plan) -> list[Row]:
    """Return the rows without frames that the reference provides, or all rows if none is left."""
    given = list_given_frames(plan)
    return [row for row in rows if row.number not in given] or rows


def choose_exhibits(rows: list[Row], plan: Plan) -> dict[int, list[str]]:
    """Return the numbers of the frames to show, with the reasons, most interesting first."""
    candidates = sorted(drop_given(rows, plan), key=lambda row: (row.figure, row.number))
    picks = {
        "median": candidates[len(candidates) // 2],
        "most borrowed": max(candidates, key=lambda row: (row.borrowed, -row.number)),
        "worst": candidates[0],
        "best": candidates[-1],
    }

    found: dict[int, list[str]] = {}
    for why, row in picks.items():
        found.setdefault(row.number, []).append(why)
    return found
