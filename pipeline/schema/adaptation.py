"""A plan's adaptation: how the weights are fine-tuned on the recording's own key frames."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from pipeline.schema.model import Model
from pipeline.schema.texts import Digest

MOST_STEPS = 10_000  # largest number of training steps that an edited plan may request

Share = Annotated[float, Field(ge=0, le=1)]
Decibels = Annotated[float, Field(allow_inf_nan=False)]


class KeyPair(Model):
    """An LR frame or view, and the reference that shows it at high resolution."""

    pts: int
    """Pts of the LR frame; for a light field, its frame number."""
    ref_pts: int
    """Pts of the reference; for a light field, its frame number."""
    position: int
    """Index of the entry in the reference map."""
    scene: int = 0
    """Scene number; during training, a key frame borrows only from key frames of the same scene."""


class Adaptation(Model):
    """The training before a run's first segment, and its result once it is done.

    The run then uses the adapted weights if they are better on held-out key frames, and the weights
    of the plan's model otherwise.
    """

    request: Literal["auto", "off", "seconds", "file"]
    """The plan's `--adapt`: `auto` or `seconds`, which determine the number of steps; `off`; or
    `file` for weights that were adapted earlier and are now the plan's model."""
    seconds: Annotated[float, Field(gt=0, allow_inf_nan=False)] | None = None
    """The requested training time in seconds; None for other requests."""
    steps: Annotated[int, Field(ge=0, le=MOST_STEPS)] | None = None
    """Number of training steps; 0 if the weights are not adapted, None until the run decides."""
    pairs: tuple[KeyPair, ...] = ()
    """The key frames, in ascending order of position."""
    shared: Digest = ""
    """SHA-256 of weights that were adapted to another input of the same batch and are only tried on
    this one; "" if the weights are trained on this input."""
    done: bool = False
    used: bool = False
    """Whether the run uses the adapted weights, because they are better."""
    weights_sha256: Digest = ""
    """SHA-256 of the adapted weights in the run folder; "" if there are none."""
    held_out_db: Decibels | None = None
    """PSNR in dB of the original weights on the key frames held out from training; it does not
    affect the output."""
    held_out_gain_db: Decibels | None = None
    """How many dB of PSNR the adapted weights gain on the held-out key frames."""
    blend: Share = 0.0
    """Share of the trained weights in the blend of trained and original weights."""
    note: Annotated[str, Field(max_length=1000)] = ""
    """Why the weights are not adapted, or another remark; it does not affect the output."""
    took_seconds: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 0.0
    """How long the training took; it does not affect the output."""

    @model_validator(mode="after")
    def _check_request(self) -> Self:
        if (self.request == "seconds") != (self.seconds is not None):
            raise ValueError(
                f"the request is {self.request} and seconds is {self.seconds}; expected a number "
                "of seconds for the request seconds, and null for any other"
            )
        if self.request == "off" and (self.steps or self.done):
            raise ValueError("the request is off, but steps or done is set; try auto or seconds")
        if self.done and self.steps is None:
            raise ValueError("the training is done, but steps is null; expected a number")
        return self

    @property
    def trains(self) -> bool:
        """Whether the run trains the weights before the first segment, or has already done so."""
        return self.request != "file" and bool(self.steps)

    @property
    def is_decided(self) -> bool:
        """Whether the number of steps is fixed; otherwise the run decides on it when it begins.

        A later run of a plan with shared weights decides again, because a batch deletes its shared
        weights when it ends.
        """
        return self.request == "off" or (self.steps is not None and not self.shared)

    def without_result(self) -> Adaptation:
        """Return the adaptation as it was before training, or unchanged if it is from a file."""
        if self.request == "file" or not self.done:
            return self
        return Adaptation(
            request=self.request, seconds=self.seconds, steps=self.steps, pairs=self.pairs,
            shared=self.shared, note="" if self.steps else self.note,
        )  # fmt: skip

    def without_decision(self) -> Adaptation | None:
        """Return an adaptation that contains only the request, for a plan with other weights.

        The result is None if the request names a file, because the file contains the weights.
        """
        if self.request == "file":
            return None
        return Adaptation(request=self.request, seconds=self.seconds)
