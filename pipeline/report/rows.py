"""One pass over an output beside what it was made from: a row of figures for each frame."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from pipeline.measuring.vmaf import LEAST_SIDE, Vmaf, find_program
from pipeline.pairing.fit import prepare_reference
from pipeline.pairing.given import given_frames
from pipeline.pairing.upsample import upsample
from pipeline.pixels import Picture, to_8_bit
from pipeline.recording import Source, open_frames
from pipeline.report import without_truth
from pipeline.report.matching import match_output, match_truth, open_matching
from pipeline.schema.clip import LightField, Recording
from pipeline.schema.plan import Plan
from pipeline.schema.reference_map import ReferenceChoice
from pipeline.schema.settings import GridSettings

MOST_FRAMES = 240
"""Frames measured; of longer clips as many, evenly spread."""
MOST_PAIRS = 12
"""Frames measured by optical flow, which takes longer than all the rest."""


@dataclass(frozen=True)
class Row:
    """Figures of one frame; dB, 8-bit levels, seconds. None = not measured."""

    number: int
    seconds: float
    choice: ReferenceChoice
    borrowed: float
    """Mean difference from plain up-sampling, 8-bit levels."""
    consistency: float
    """PSNR of the result reduced again, against the input."""
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
        """Return what the frame is called."""
        view = self.choice.views
        if view is None:
            return f"Frame {self.number}"
        later = f", moment {view.moment}" if view.moment else ""
        return f"View ({view.row}, {view.col}){later}"

    @property
    def figure(self) -> float:
        """Return what frames are ranked by: PSNR, or consistency without ground truth."""
        return self.consistency if self.psnr is None else self.psnr


@dataclass(frozen=True)
class FramePictures:
    """One frame as everybody has it: uint8 H x W x 3 RGB, the input h x w x 3."""

    lr: Picture
    bicubic: Picture
    result: Picture
    reference: Picture | None
    original: Picture | None


class FinishedRun:
    """The recordings of a finished run, opened; a context manager."""

    def __init__(
        self,
        plan: Plan,
        output: Path,
        ground_truth: str | None,
        asked: GridSettings | None = None,
    ) -> None:
        self.plan = plan
        self.result = open_matching(plan, str(output))
        self._times = match_output(plan, self.result, output)
        self.truth = open_matching(plan, ground_truth, asked) if ground_truth else None
        self._partners = (
            match_truth(plan, self.result, self._times, self.truth) if self.truth else None
        )
        self._stack = ExitStack()
        self._lr = self._open(plan.input)
        self._reference = self._open(plan.reference.clip)
        # the first pass of a light field, the reference of the second, is not kept
        self._kept = (
            not isinstance(plan.reference.clip, LightField)
            or Path(plan.reference.clip.path).exists()
        )
        self._sr = self._open(self.result)
        self._original = self._open(self.truth) if self.truth else None

    def _open(self, clip: Recording) -> Source:
        return self._stack.enter_context(closing(open_frames(clip, cache=2)))

    def __enter__(self) -> FinishedRun:
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def read_pictures(self, number: int, *, reference: bool = True) -> FramePictures:
        """Return one frame of everything, 8 bit."""
        choice = self.plan.reference_map[number]
        lr = self._lr.get(choice.pts)
        fitted = None
        if reference and self._kept and choice.ref_pts is not None:
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


def spread_evenly(total: int, most: int) -> list[int]:
    """Return at most `most` of 0..total-1, evenly spread, first and last among them."""
    if total <= most:
        return list(range(total))
    return sorted({round(i * (total - 1) / (most - 1)) for i in range(most)})


def measure_rows(
    material: FinishedRun, report: Callable[[int, int], None] = lambda done, total: None
) -> list[Row]:
    """Return the figures of the measured frames; `report` hears (done, total)."""
    total = len(material.plan.reference_map)
    numbers = spread_evenly(total, MOST_FRAMES)
    closely = {numbers[i] for i in spread_evenly(len(numbers), MOST_PAIRS)}
    rows = []
    with _start_vmaf(material, numbers) as measuring:
        for done, row in enumerate(_iterate_rows(material, numbers, closely, measuring)):
            rows.append(row)
            report(done + 1, len(numbers))
        if measuring is None:
            return rows
        ours, plain = (each.scores() for each in measuring)
    return [
        replace(row, vmaf=a, bicubic_vmaf=b) for row, a, b in zip(rows, ours, plain, strict=True)
    ]


@contextmanager
def _start_vmaf(material: FinishedRun, numbers: list[int]) -> Iterator[tuple[Vmaf, Vmaf] | None]:
    """Begin to measure VMAF of the result and of bicubic; None where it cannot be, or means little.

    It looks at motion, so all frames of a clip have to be there.
    """
    plan, ffmpeg = material.plan, find_program() if material.truth is not None else None
    whole = len(numbers) == len(plan.reference_map) and not isinstance(plan.input, LightField)
    if ffmpeg is None or not whole or min(plan.height, plan.width) < LEAST_SIDE:
        yield None
        return
    asked = ffmpeg, plan.height, plan.width, material.result.colour.used_matrix
    with Vmaf(*asked) as ours, Vmaf(*asked) as plain:
        yield ours, plain


def _iterate_rows(
    material: FinishedRun,
    numbers: list[int],
    closely: set[int],
    measuring: tuple[Vmaf, Vmaf] | None,
) -> Iterator[Row]:
    before: tuple[int, FramePictures] | None = None
    for number in numbers:
        near = None
        # the view before is not the moment before
        if number in closely and number > 0 and not isinstance(material.plan.input, LightField):
            fresh = before is None or before[0] != number - 1
            near = (
                material.read_pictures(number - 1, reference=False)
                if fresh
                else before and before[1]
            )
        views = material.read_pictures(number, reference=number in closely)
        if measuring is not None and views.original is not None:
            measuring[0].add(views.result, views.original)
            measuring[1].add(views.bicubic, views.original)
        yield _measure_row(material, number, views, near, closely)
        before = number, views


def _measure_row(
    material: FinishedRun,
    number: int,
    views: FramePictures,
    before: FramePictures | None,
    closely: set[int],
) -> Row:
    plan = material.plan
    choice = plan.reference_map[number]
    figures: dict[str, float | None] = {}
    if views.original is not None:
        from crossnetpp.metrics import measure_quality as against

        ours, plain = (against(p, views.original) for p in (views.result, views.bicubic))
        figures |= {"psnr": ours.psnr, "ssim": ours.ssim}
        figures |= {"bicubic_psnr": plain.psnr, "bicubic_ssim": plain.ssim}
    if number in closely and views.reference is not None:
        moved_reference = without_truth.warp_reference(views.reference, views.bicubic)
        figures["agreement"] = without_truth.measure_agreement(views.result, moved_reference)
        figures["bicubic_agreement"] = without_truth.measure_agreement(
            views.bicubic, moved_reference
        )
    if before is not None and choice.pts not in plan.cuts:
        moved = without_truth.estimate_input_motion(before.bicubic, views.bicubic)
        if moved.seen.any():
            figures["temporal"] = without_truth.measure_temporal_error(
                before.result, views.result, moved
            )
            figures["bicubic_temporal"] = without_truth.measure_temporal_error(
                before.bicubic, views.bicubic, moved
            )
    return Row(
        number=number,
        seconds=plan.input.seconds(choice.pts),
        choice=choice,
        borrowed=float(without_truth.measure_borrowing(views.result, views.bicubic).mean()),
        consistency=without_truth.measure_consistency(views.result, views.lr, plan.scale),
        **figures,
    )


def mean_figure(rows: list[Row], name: str) -> float | None:
    """Return the mean of one figure over the rows that have it."""
    found = [value for row in rows if (value := getattr(row, name)) is not None]
    return float(np.mean(found)) if found else None


def drop_given(rows: list[Row], plan: Plan) -> list[Row]:
    """Return the rows of frames that were made, not given as references; all if none was."""
    given = given_frames(plan)
    return [row for row in rows if row.number not in given] or rows


def choose_exhibits(rows: list[Row], plan: Plan) -> dict[int, list[str]]:
    """Return number -> why it is shown, of the frames worth looking at, in order of interest."""
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
