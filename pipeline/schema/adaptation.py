"""The adaptation in a plan: how the weights are adapted to the recording with its key frames."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from pipeline.schema.model import Model
from pipeline.schema.texts import Digest

MOST_STEPS = 10_000  # greatest number of training steps, which an edited plan may request

Share = Annotated[float, Field(ge=0, le=1)]
Decibels = Annotated[float, Field(allow_inf_nan=False)]


class KeyPair(Model):
    """An LR frame or view, and the reference that shows it at high resolution."""

    pts: int
    """LR pts of the frame; for a light field, the number of the frame."""
    ref_pts: int
    """Pts of the reference; for a light field, the number of its frame."""
    position: int
    """Number of the entry in the reference map."""
    scene: int = 0
    """Number of the scene; in training, key frames borrow only from others of their scene."""


class Adaptation(Model):
    """The training before the first segment, and its result once it is done.

    The run then uses the adapted weights if they won, and otherwise those of the plan's model.
    """

    request: Literal["auto", "off", "seconds", "file"]
    """The `--adapt` of the plan: `auto` or a time, from which the steps follow; `off`; `file` for
    weights adapted earlier, which are then the plan's model."""
    seconds: Annotated[float, Field(gt=0, allow_inf_nan=False)] | None = None
    """The time that was requested."""
    steps: Annotated[int, Field(ge=0, le=MOST_STEPS)] | None = None
    """Number of training steps, 0 if the weights are not adapted; None until the run has begun and
    has decided on it."""
    pairs: tuple[KeyPair, ...] = ()
    """The key frames, in ascending order of position."""
    shared: Digest = ""
    """SHA-256 of weights that were adapted to another input of the same batch and are only tried on
    this one; "" if the weights are trained on this input."""
    done: bool = False
    used: bool = False
    """Whether the adapted weights won and are used."""
    weights_sha256: Digest = ""
    """SHA-256 of the adapted weights in the run folder; "" if there are none."""
    held_out_db: Decibels | None = None
    """PSNR in dB of key frames that were held out from training, with the weights before
    adaptation; like a note, it does not affect the output."""
    held_out_gain_db: Decibels | None = None
    """Gain in dB on the key frames that were held out."""
    blend: Share = 0.0
    """Share of the trained weights in those that are used."""
    note: Annotated[str, Field(max_length=1000)] = ""
    """Why the weights are not adapted, or what else was notable."""
    took_seconds: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 0.0
    """Seconds that the training took; like the note, they do not affect the output."""

    @model_validator(mode="after")
    def _check_request(self) -> Self:
        if (self.request == "seconds") != (self.seconds is not None):
            raise ValueError(
                f"found the request {self.request} with {self.seconds} seconds, expected a time "
                "for the request seconds and null for others"
            )
        if self.request == "off" and (self.steps or self.done):
            raise ValueError("found a training with the request off, expected auto or seconds")
        if self.done and self.steps is None:
            raise ValueError("found no steps of a training that is done, expected their number")
        return self

    @property
    def trains(self) -> bool:
        """Whether the weights are trained before the first segment, or have been."""
        return self.request != "file" and bool(self.steps)

    @property
    def is_decided(self) -> bool:
        """Whether the steps are fixed; otherwise the run decides on them when it begins.

        A later run of a plan with shared weights decides again, because a batch deletes the weights
        that it shared when it is done.
        """
        return self.request == "off" or (self.steps is not None and not self.shared)

    def without_result(self) -> Adaptation:
        """Return the same training, still to be done; an adaptation from a file is unchanged."""
        if self.request == "file" or not self.done:
            return self
        return Adaptation(
            request=self.request, seconds=self.seconds, steps=self.steps, pairs=self.pairs,
            shared=self.shared, note="" if self.steps else self.note,
        )  # fmt: skip

    def without_decision(self) -> Adaptation | None:
        """Return the request alone, for a plan with other weights.

        The result is None if the request is for a file, which contains the weights.
        """
        if self.request == "file":
            return None
        return Adaptation(request=self.request, seconds=self.seconds)
