"""The arguments of `pipeline run`, checked for themselves; `plan.py` checks them against files."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, field_validator

from pipeline.schema import Model

ENGINES = ("auto", "torch", "bicubic")
"""Names of engines, known without loading any of them."""


Finite = Annotated[float, Field(allow_inf_nan=False)]
"""A number that a plan's JSON can hold."""


def parse_seconds(text: str) -> float:
    """Return the seconds of "12.5", "1:02.5" or "1:00:02"; ValueError for anything else."""
    seconds = 0.0
    for part in text.split(":"):
        seconds = 60 * seconds + float(part)
    return seconds


class RunSettings(Model):
    """What the user asked for; None means "decide for me"."""

    input: str
    ref_stream: str | None = None
    output: str | None = None
    scale: Literal["auto", "2", "4", "8"] = "auto"
    model: str = "fast"
    engine: str = "auto"
    select: Literal["auto", "time", "view", "content"] = "auto"
    ref_offset: Finite | Literal["auto"] | None = None
    """Seconds added to reference times; "auto" estimates offset and drift from the pictures.

    None is 0, or auto for photographs with a date beside a recording without one."""
    max_ref_distance: Annotated[Finite, Field(gt=0)] = 2.0
    """Seconds beyond which nothing is borrowed: hand-held motion rarely leaves much in common."""
    runner: Literal["auto", "inline", "ray"] = "auto"
    address: str | None = None
    workers: Annotated[int, Field(ge=1)] | None = None
    accelerator: str | None = None
    """GPU type of the nodes to run on, as Ray labels them, for example "H100"."""
    batch: Annotated[int, Field(ge=1)] = 2
    """Frames for each call of the engine; on a CPU they run side by side."""
    segment: Annotated[Finite, Field(gt=0)] = 10.0
    """Seconds."""
    placement: Literal["auto", "fused", "split"] = "auto"
    codec: str | None = None
    crf: Finite | None = None
    preset: str | None = None
    pix_fmt: str | None = None
    start: Finite | None = None
    """Seconds on the input's clock, inclusive."""
    end: Finite | None = None
    """Seconds on the input's clock, exclusive."""
    on_error: Literal["stop", "conceal"] = "stop"
    plan: str | None = None
    ground_truth: str | None = None
    force: bool = False

    @field_validator("scale", mode="before")
    @classmethod
    def _scale_as_text(cls, value: object) -> object:
        return str(value) if isinstance(value, int) else value

    @field_validator("start", "end", mode="before")
    @classmethod
    def _time(cls, value: object) -> object:
        return parse_seconds(value) if isinstance(value, str) else value

    @field_validator("ref_offset", mode="before")
    @classmethod
    def _offset(cls, value: object) -> object:
        return float(value) if isinstance(value, str) and value != "auto" else value
