"""Measure the frames of a finished run against its input, references and ground truth."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple

import numpy as np

from pipeline.execution.resize import resize_picture
from pipeline.measuring.means import mean_psnr, mean_ssim
from pipeline.measuring.vmaf import LEAST_SIDE, Vmaf, find_program
from pipeline.pairing.capture import ReferenceFitter, join_capture
from pipeline.pairing.edits.frames import open_edited
from pipeline.pairing.given import list_left_out
from pipeline.pairing.rules import spread_evenly
from pipeline.pairing.upsample import upsample
from pipeline.pixels import Picture, Pixels, match_deeper, to_8_bit
from pipeline.progress import SILENT, Reporter
from pipeline.recording import Source, open_frames
from pipeline.report import without_truth
from pipeline.report.matching import match_output, match_truth, open_matching
from pipeline.schema.clip import LightField, Recording
from pipeline.schema.plan import Plan
from pipeline.schema.reference_map import ReferenceChoice
from pipeline.schema.settings import GridSettings

# Greatest number of frames that get a row; in longer runs, they are spread evenly. All frames are
# compared with a ground truth, whether they have a row or not.
MOST_FRAMES = 240
MOST_PAIRS = 12  # frames measured with optical flow, the slowest measurement


@dataclass(frozen=True)
class Row:
    """The figures of one frame; a figure is None if it was not measured."""

    number: int
    """Index of the frame's entry in the reference map."""
    seconds: float
    choice: ReferenceChoice
    borrowed: float
    """Mean absolute difference from bicubic up-sampling, in 8-bit levels."""
    consistency: float
    """PSNR in dB of the result, downscaled again, against the input."""
    # PSNR is in dB, SSIM at most 1, VMAF 0 to 100, agreement -1 to 1, temporal in 8-bit levels
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
        """The name of the frame or view on the page."""
        view = self.choice.views
        if view is None:
            return f"Frame {self.number}"
        later = f", moment {view.moment}" if view.moment else ""
        return f"View ({view.row}, {view.col}){later}"

    @property
    def figure(self) -> float:
        """The figure by which frames are ranked: PSNR or, without a ground truth, consistency."""
        return self.consistency if self.psnr is None else self.psnr


class TruthFigures(NamedTuple):
    """The quality of a frame and its bicubic up-sampling against the ground truth; PSNR in dB."""

    psnr: float
    ssim: float
    bicubic_psnr: float
    bicubic_ssim: float


@dataclass(frozen=True)
class FramePictures:
    """All versions of one frame: uint8 H x W x 3 RGB, and h x w x 3 RGB for `lr`."""

    lr: Picture
    bicubic: Picture
    result: Picture
    reference: Picture | None
    original: Picture | None
    second: Picture | None = None
    """The second reference, if the frame has several."""


class FinishedRun:
    """The open recordings of a finished run: input, reference, output and ground truth.

    A context manager that closes the recordings on exit. The constructor raises InputError if the
    output or the ground truth does not belong to the plan.
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

        self._fitter = ReferenceFitter(plan)
        self.kernel = None if plan.capture is None else join_capture(plan.capture)
        """The kernel with which HR was downscaled to LR; None for the bicubic kernel."""

        self._stack = ExitStack()
        # if the reference is trusted, the result is compared with the edited input
        self._lr = self._stack.enter_context(open_edited(plan))
        self._reference = self._open(plan.reference.clip)
        # a light field's second pass deletes its reference, which is the first pass's output
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
        """Return all versions of a frame as 8-bit pixels.

        The first two references are included if `reference` is true and their recording still
        exists.
        """
        choice = self.plan.reference_map[number]
        lr = self._lr.get(choice.pts)

        fitted: list[Picture] = []
        if reference and self._has_reference:
            fitted = [self._fit_reference(pts, lr) for pts in choice.references[:2]]

        original = None
        if self._original is not None and self._partners is not None:
            original = self._original.get(self._partners[number])

        return FramePictures(
            lr=to_8_bit(lr),
            bicubic=to_8_bit(upsample(lr, self.plan.height, self.plan.width)),
            result=to_8_bit(self._sr.get(self._times[number])),
            reference=fitted[0] if fitted else None,
            original=None if original is None else to_8_bit(original),
            second=fitted[1] if len(fitted) > 1 else None,
        )

    def _fit_reference(self, ref_pts: int, lr: Pixels) -> Picture:
        picture = self._fitter.convert(self._reference.get(ref_pts))
        fitted = self._fitter.fit(picture, lr)
        return to_8_bit(resize_picture(fitted, self.plan.height, self.plan.width))

    def measure_against_truth(self, number: int) -> TruthFigures | None:
        """Return the quality of a frame and its bicubic up-sampling; None without a ground truth.

        Each picture is compared with the ground truth at the greater bit depth of the two.
        """
        if self._original is None or self._partners is None:
            return None
        from crossnetpp.metrics import measure_quality  # imports torch

        original: Pixels = self._original.get(self._partners[number])
        lr = self._lr.get(self.plan.reference_map[number].pts)
        made = self._sr.get(self._times[number])
        plain = upsample(lr, self.plan.height, self.plan.width)
        result = measure_quality(*match_deeper(made, original))
        bicubic = measure_quality(*match_deeper(plain, original))
        return TruthFigures(result.psnr, result.ssim, bicubic.psnr, bicubic.ssim)


class _VmafPair(NamedTuple):
    """The running VMAF measurements of the result and of bicubic up-sampling."""

    result: Vmaf
    bicubic: Vmaf


def measure_all_frames(finished: FinishedRun, progress: Reporter = SILENT) -> list[TruthFigures]:
    """Return the quality of every frame against the ground truth, or [] if there is none."""
    if finished.truth is None:
        return []

    found = []
    total = len(finished.plan.reference_map)
    with progress.step("comparing with the ground truth", total) as count:
        for number in range(total):
            figures = finished.measure_against_truth(number)
            assert figures is not None
            found.append(figures)
            count(number + 1)
    return found


def average_figures(
    rows: list[Row], against_truth: Sequence[TruthFigures], plan: Plan
) -> Mapping[str, float | None]:
    """Return the mean of every figure over the frames that the reference does not provide.

    PSNR and SSIM are averaged over all these frames, as in `pipeline evaluate`. All other figures
    are averaged only over the frames in `rows`.
    """
    compared = drop_given(rows, plan)
    means = {name: mean_figure(compared, name) for name in MEASURED}
    left_out = list_left_out(plan)
    counted = [each for number, each in enumerate(against_truth) if number not in left_out]
    if not counted:
        return means
    return means | {
        "psnr": mean_psnr([each.psnr for each in counted]),
        "ssim": mean_ssim([each.ssim for each in counted]),
        "bicubic_psnr": mean_psnr([each.bicubic_psnr for each in counted]),
        "bicubic_ssim": mean_ssim([each.bicubic_ssim for each in counted]),
    }


def measure_rows(
    finished: FinishedRun,
    against_truth: Sequence[TruthFigures] = (),
    progress: Reporter = SILENT,
) -> list[Row]:
    """Return the figures of all frames, or of MOST_FRAMES evenly spread ones if there are more.

    `against_truth` contains the quality of every frame against the ground truth, if that has
    already been measured.
    """
    numbers = spread_evenly(len(finished.plan.reference_map), MOST_FRAMES)
    closely = {numbers[i] for i in spread_evenly(len(numbers), MOST_PAIRS)}

    rows = []
    step = progress.step("measuring frames", len(numbers))
    with step as count, _start_vmaf(finished, numbers) as vmaf:
        for row in _iterate_rows(finished, numbers, closely, vmaf, against_truth):
            rows.append(row)
            count(len(rows))
        if vmaf is None:
            return rows
        result, bicubic = (each.scores() for each in vmaf)

    return [
        replace(row, vmaf=ours, bicubic_vmaf=plain)
        for row, ours, plain in zip(rows, result, bicubic, strict=True)
    ]


@contextmanager
def _start_vmaf(finished: FinishedRun, numbers: list[int]) -> Iterator[_VmafPair | None]:
    """Yield running VMAF measurements, or None if VMAF cannot be measured.

    VMAF takes motion into account, so it needs every frame of a clip.
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
    finished: FinishedRun,
    numbers: list[int],
    closely: set[int],
    vmaf: _VmafPair | None,
    against_truth: Sequence[TruthFigures],
) -> Iterator[Row]:
    """Yield the figures of each frame; frames in `closely` also get figures from optical flow."""
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
        truth = against_truth[number] if against_truth else finished.measure_against_truth(number)
        yield _measure_row(finished, number, pictures, before, truth)

        last_number = number
        last = pictures


def _measure_row(
    finished: FinishedRun,
    number: int,
    pictures: FramePictures,
    before: FramePictures | None,
    truth: TruthFigures | None,
) -> Row:
    """Return the figures of one frame.

    `before` is the preceding frame. If it is None, or if the frame follows a cut, the temporal
    errors are left out.
    """
    plan = finished.plan
    choice = plan.reference_map[number]

    figures: dict[str, float | None] = {}
    if truth is not None:
        figures |= truth._asdict()
    if pictures.reference is not None:
        figures |= _measure_agreement(pictures, pictures.reference)
    if before is not None and choice.pts not in plan.cuts:
        figures |= _measure_temporal_errors(before, pictures)

    return Row(
        number=number,
        seconds=plan.input.seconds(choice.pts),
        choice=choice,
        borrowed=float(without_truth.measure_borrowing(pictures.result, pictures.bicubic).mean()),
        consistency=without_truth.measure_consistency(
            # the kernel from HR to LR is for the network's scale
            np.asarray(resize_picture(pictures.result, *plan.network_size), np.uint8),
            pictures.lr,
            plan.scale,
            finished.kernel,
        ),
        **figures,
    )


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


# The figures of a row that are averaged.
MEASURED = (
    "borrowed",
    "consistency",
    "psnr",
    "ssim",
    "bicubic_psnr",
    "bicubic_ssim",
    "vmaf",
    "bicubic_vmaf",
    "agreement",
    "bicubic_agreement",
    "temporal",
    "bicubic_temporal",
)


def mean_figure(rows: list[Row], name: str) -> float | None:
    """Return the mean of a figure over the rows that have it, or None if no row has it."""
    found = [value for row in rows if (value := getattr(row, name)) is not None]
    return float(np.mean(found)) if found else None


def drop_given(rows: list[Row], plan: Plan) -> list[Row]:
    """Return the rows of frames that the reference does not provide; all rows if none remain."""
    given = list_left_out(plan)
    return [row for row in rows if row.number not in given] or rows
