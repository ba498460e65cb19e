"""The adaptation in a plan: how the weights are trained on the recording's own key frames."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from pipeline.schema.model import Model
from pipeline.schema.texts import Digest

MOST_STEPS = 10_000  # in a plan that was edited

Share = Annotated[float, Field(ge=0, le=1)]
Decibels = Annotated[float, Field(allow_inf_nan=False)]


class KeyPair(Model):
    """An LR frame or view, and the reference that shows the same at high resolution."""

    pts: int
    """LR pts of the frame, or number of the view."""
    ref_pts: int
    """The same of the reference."""
    position: int
    """Number of the frame in the reference map."""
    scene: int = 0
    """Number of the scene; key frames of different scenes are not paired."""


class Adaptation(Model):
    """The training before the first segment, and its result once it is done.

    The weights that are used are then the model's, replaced by the adapted ones if these won.
    """

    request: Literal["auto", "off", "seconds", "file"]
    """The `--adapt` of the plan: `auto` or a time, from which the steps follow; `off`; `file` for
    weights adapted earlier, which are then the plan's model."""
    seconds: Annotated[float, Field(gt=0, allow_inf_nan=False)] | None = None
    """The time that was requested."""
    steps: Annotated[int, Field(ge=0, le=MOST_STEPS)] | None = None
    """Training steps; 0 if the weights are not adapted, None until the run begins, which decides
    on them."""
    pairs: tuple[KeyPair, ...] = ()
    """The key frames, in rising order of their positions."""
    shared: Digest = ""
    """SHA-256 of weights that were adapted to another input of the same batch and are only tried on
    this one; "" for a training of its own."""
    done: bool = False
    used: bool = False
    """Whether the adapted weights won and are used."""
    weights_sha256: Digest = ""
    """SHA-256 of the adapted weights in the run folder; "" if there are none."""
    held_out_db: Decibels | None = None
    """PSNR of key frames that were held out from training, with the weights before adaptation; like
    a note, it does not decide any bits."""
    held_out_gain_db: Decibels | None = None
    """Gain on these key frames."""
    blend: Share = 0.0
    """Share of the trained weights in those that are used."""
    note: Annotated[str, Field(max_length=1000)] = ""
    """Why the weights are not adapted, or what else was notable."""
    took_seconds: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 0.0
    """Time that the training took; like the note, it does not decide any bits."""

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
            raise ValueError("found a training that is done, expected its number of steps")
        return self

    @property
    def trains(self) -> bool:
        """Whether the weights are trained before the first segment, or have been."""
        return self.request != "file" and bool(self.steps)

    @property
    def is_decided(self) -> bool:
        """Whether the steps are fixed; otherwise the run decides on them when it begins.

        Weights of a batch exist only while it runs, so a run of their plan decides again.
        """
        return self.request == "off" or (self.steps is not None and not self.shared)

    def without_result(self) -> Adaptation:
        """Return the same training, still to be done; one from a file stays as it is."""
        if self.request == "file" or not self.done:
            return self
        return Adaptation(
            request=self.request, seconds=self.seconds, steps=self.steps, pairs=self.pairs,
            shared=self.shared, note="" if self.steps else self.note,
        )  # fmt: skip

    def without_decision(self) -> Adaptation | None:
        """Return the request alone, for other weights; None for a file, which is weights itself."""
        if self.request == "file":
            return None
        return Adaptation(request=self.request, seconds=self.seconds)
