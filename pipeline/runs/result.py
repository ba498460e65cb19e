"""The results of runs, batches and plans, as `pipeline run` and `plan` print them with `--json`."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import PrivateAttr

from pipeline.measuring.clips import Evaluation
from pipeline.measuring.views import LightFieldQuality
from pipeline.pairing.capture import join_capture
from pipeline.schema.adaptation import Adaptation
from pipeline.schema.capture import Capture
from pipeline.schema.model import Model
from pipeline.schema.plan import Plan


class CaptureResult(Model):
    """The downscaling from HR to LR that was measured or set."""

    kernel: tuple[tuple[float, ...], ...]
    """Weights that sum to 1, in rows; each side has 4 times as many weights as the scale."""
    shift: tuple[float, float]
    """Centroid (x, y) of the kernel in LR pixels."""
    fits_db: float | None
    """PSNR in dB of LR luma against downscaled HR luma; None if it was not measured."""

    @classmethod
    def from_plan(cls, capture: Capture | None) -> Self | None:
        """Return the capture of a plan; None for the bicubic kernel."""
        if capture is None:
            return None
        kernel = join_capture(capture)
        rows = tuple(tuple(round(float(weight), 6) for weight in row) for row in kernel)
        return cls(kernel=rows, shift=capture.shift, fits_db=capture.fits_db)


class AdaptedResult(Model):
    """How the weights were adapted: by training on key frames, or by loading them from a file."""

    seconds: float
    """Training time in seconds; 0 for weights from a file."""
    steps: int
    held_out_db: float | None
    """PSNR in dB on held-out key frames before adaptation; None if it was not measured."""
    held_out_gain_db: float | None
    """PSNR gain in dB on the held-out key frames; None if it was not measured."""
    blend: float
    """Share of the trained weights in the blend of trained and original weights."""
    used: bool
    """Whether the adapted weights were used, because they beat the original ones."""
    shared: bool
    """Whether the weights were adapted to another input of the batch."""

    @classmethod
    def from_plan(cls, adaptation: Adaptation | None) -> Self | None:
        """Return the result of a plan's adaptation; None if there was none or it is not done."""
        if adaptation is None or not adaptation.done:
            return None
        return cls(
            seconds=adaptation.took_seconds,
            steps=adaptation.steps or 0,
            held_out_db=adaptation.held_out_db,
            held_out_gain_db=adaptation.held_out_gain_db,
            blend=adaptation.blend,
            used=adaptation.used,
            shared=bool(adaptation.shared),
        )


class RunResult(Model):
    """The result of a finished run."""

    output: str
    frames: int
    seconds: float
    """Wall-clock time of this run in seconds, from planning to publishing."""
    fps: float
    """Frames per second of this run, not counting the frames of resumed segments."""
    engine: str
    device: str
    model: str
    scale: int | float
    """The ratio of the output's side length to the input's."""
    width: int
    """Stored width of the output in pixels."""
    height: int
    segments: int
    resumed_segments: int
    reference_map: str
    """Path or URL of the plan beside the output, which contains the reference map.

    "" if the output went to stdout."""
    references_per_frame: float
    """Mean number of references per frame, counting 0 for frames without any."""
    capture: CaptureResult | None = None
    """The downscaling from HR to LR; None for the bicubic kernel."""
    adapted: AdaptedResult | None = None
    """The adaptation of the weights; None without one."""
    notes: tuple[str, ...] = ()
    """Assumptions, roundings and omissions, as in the notes of `pipeline plan`."""
    exec_status: int | None = None
    """Exit status of the `--exec` command; None if this run called none."""
    psnr: float | None = None
    ssim: float | None = None
    _quality: Evaluation | LightFieldQuality | None = PrivateAttr(default=None)

    @property
    def quality(self) -> Evaluation | LightFieldQuality | None:
        """Everything that was measured against the ground truth; None without one."""
        return self._quality

    def with_quality(self, quality: Evaluation | LightFieldQuality | None) -> Self:
        """Return a copy that includes the quality measured against the ground truth."""
        figures = {} if quality is None else {"psnr": quality.psnr, "ssim": quality.ssim}
        measured = self.model_copy(update=figures)
        measured._quality = quality
        return measured


class ItemResult(Model):
    """The result of one input of a batch."""

    input: str
    output: str | None
    status: Literal["done", "skipped", "failed", "not run"]
    error: str | None = None
    """Why the input failed or was not run."""
    note: str | None = None
    """Why the input was skipped."""
    result: RunResult | None = None


class PlanResult(Model):
    """The plan of one input of a batch."""

    input: str
    status: Literal["planned", "skipped", "failed"]
    error: str | None = None
    """Why there is no plan."""
    plan: Plan | None = None


class PlansResult(Model):
    """The plans of a batch, as `pipeline plan --json` prints them."""

    items: tuple[PlanResult, ...]
    failed: int


class BatchResult(Model):
    """The result of a batch."""

    items: tuple[ItemResult, ...]
    done: int
    skipped: int
    """Number of inputs that were skipped."""
    failed: int
    """Number of inputs that failed or were not run."""
    frames: int
    seconds: float
    failed_list: str | None
    """Path or URL of a file for `--manifest` that lists the inputs that failed or were not run.

    None if there are none, or if the file could not be written."""
